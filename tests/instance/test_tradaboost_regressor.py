"""TrAdaBoostRegressor: the two stages of the paper, the step that is chosen, small targets."""

import pickle

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sktransfer.domain import SourceDomain
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.instance import TrAdaBoostRegressor
from sktransfer.instance._two_stage_r2 import (
    RegressionRules,
    boost_r2,
    fade_source,
    weighted_median,
)

TREE = DecisionTreeRegressor(max_depth=3, random_state=0)


def make_domains(kind, seed=0, n_source=300, n_target=20, n_test=500, n_features=5):
    """Return a source, target rows and test rows whose rules agree in part."""
    rng = np.random.default_rng(seed)
    rule, other = np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T
    X_source = rng.normal(size=(n_source, n_features))
    X = rng.normal(size=(n_target + n_test, n_features))
    y_source = {
        "same": X_source @ rule,
        "shifted": 0.7 * X_source @ rule + 1,
        "half wrong": np.where(X_source[:, 1] > 0, X_source @ other, X_source @ rule),
        "opposite": -(X_source @ rule),
    }[kind]
    y_source = y_source + 0.3 * rng.normal(size=n_source)
    y = X @ rule + 0.3 * rng.normal(size=len(X))
    return (
        SourceDomain(X_source, y_source),
        (X[:n_target], y[:n_target]),
        (X[n_target:], y[n_target:]),
    )


def stack(source, X, y):
    return np.concatenate([X, source.X]), np.concatenate([y, source.y])


def schedule_of_the_paper(learner, X_source, y_source, X_target, y_target, n_steps):
    """Pardoe and Stone 2010, algorithm 3, steps 3 to 5: source rows first, as there."""
    n, m = len(y_source), len(y_target)
    T, y = np.concatenate([X_source, X_target]), np.concatenate([y_source, y_target])
    w = np.full(n + m, 1 / (n + m))
    weights = [w]
    for t in range(1, n_steps):
        # One row of the target weighs one in each fit.
        h = clone(learner).fit(T, y, sample_weight=w * (m / w[n:].sum()))
        error = np.abs(y - h.predict(T))
        error = error / error.max()
        wanted = m / (n + m) + t / (n_steps - 1) * (1 - m / (n + m))
        low, high = 0.0, 1.0
        for _ in range(200):
            beta = (low + high) / 2
            source = w[:n] * beta ** error[:n]
            if w[n:].sum() / (w[n:].sum() + source.sum()) > wanted:
                low = beta
            else:
                high = beta
        w = np.append(source, w[n:])
        w = w / w.sum()
        weights.append(w)
    return np.array(weights)


@pytest.mark.parametrize("n_steps", [2, 5])
@pytest.mark.parametrize("learner", [Ridge(), LinearRegression()])
def test_the_schedule_of_the_paper(learner, n_steps):
    source, (X, y), _ = make_domains("half wrong", n_source=60, n_target=12)
    expected = schedule_of_the_paper(learner, source.X, source.y, X, y, n_steps)
    rules = RegressionRules(learner, 1, n_steps, 1.0, "linear")
    faded = fade_source(*stack(source, X, y), np.ones(12), np.ones(60), rules, None)
    ours = np.array([np.append(weights, np.ones(12)) for weights in faded])
    ours = ours / ours.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours[:-1], expected[:-1], rtol=1e-6)
    # No beta takes all weight from a row that is predicted without error; we do in the end.
    assert not ours[-1, :60].any()
    shares = ours[:, 60:].sum(axis=1)
    np.testing.assert_allclose(shares, np.linspace(12 / 72, 1, n_steps))


def adaboost_r2_with_fixed_source(learner, T, y, w, is_target, n_rounds):
    """AdaBoost.R2': Drucker's algorithm, but source rows keep their weights."""
    w, target_mass = w.copy(), w[is_target].sum()
    learners, betas = [], []
    for _ in range(n_rounds):
        h = clone(learner).fit(T, y, sample_weight=w)
        error = np.abs(y - h.predict(T))
        error = error / error.max()
        epsilon = (error * w).sum() / w.sum()
        if epsilon >= 0.5:
            break
        beta = epsilon / (1 - epsilon)
        w[is_target] *= beta ** (1 - error[is_target])
        w[is_target] *= target_mass / w[is_target].sum()
        learners.append(h)
        betas.append(beta)
    return learners, np.array(betas)


@pytest.mark.parametrize("learner", [Ridge(), LinearRegression()])
def test_boosting_of_the_first_stage(learner):
    source, (X, y), (X_test, _) = make_domains("shifted", n_source=60, n_target=20)
    weights = np.append(np.ones(20), np.full(60, 0.5))
    rows = stack(source, X, y)
    learners, betas = adaboost_r2_with_fixed_source(learner, *rows, weights, np.arange(80) < 20, 6)
    rules = RegressionRules(learner, 6, 10, 1.0, "linear")
    ours = boost_r2(*rows, weights[:20], weights[20:], rules, None)
    assert len(learners) > 1
    np.testing.assert_allclose(ours.weights, np.log(1 / betas), rtol=1e-6)
    for mine, theirs in zip(ours.estimators, learners, strict=True):
        np.testing.assert_allclose(mine.predict(X_test), theirs.predict(X_test))


def test_weighted_median():
    predictions = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]])
    np.testing.assert_array_equal(weighted_median(predictions, np.ones(3)), [2, 5])
    np.testing.assert_array_equal(weighted_median(predictions, np.array([5.0, 1, 1])), [3, 0])


@pytest.mark.filterwarnings("ignore:Transfer loses")  # on some seeds
@pytest.mark.parametrize(
    ("kind", "base"),
    [("same", None), ("same", DecisionTreeRegressor(max_depth=4)), ("half wrong", None)],
)
def test_a_related_source_helps(kind, base):
    gains = []
    for seed in range(3):
        source, target, test = make_domains(kind, seed, n_target=10)
        transfer = TrAdaBoostRegressor(
            base, source=source, n_estimators=3, n_steps=6, cv=3, random_state=0
        )
        alone = clone(base or Ridge()).fit(*target)
        gains.append(transfer.fit(*target).score(*test) - alone.score(*test))
    assert np.mean(gains) > 0


def test_a_source_that_harms_is_left_out():
    source, (X, y), (X_test, _) = make_domains("opposite", n_target=30)
    regressor = TrAdaBoostRegressor(source=source, n_estimators=2, n_steps=3, random_state=0)
    with pytest.warns(NegativeTransferWarning, match="The source is left out") as record:
        fitted = regressor.fit(X, y)
    assert record[0].filename == __file__
    assert (fitted.strategy_, fitted.step_) == ("target_only", 2)
    assert fitted.transfer_gain_["target_only"].mean < 0
    assert fitted.source_share_ == 0
    assert not fitted.source_weights_.any()
    with pytest.warns(UserWarning, match="Got source=None"):
        alone = TrAdaBoostRegressor(n_estimators=2).fit(X, y)
    np.testing.assert_allclose(fitted.predict(X_test), alone.predict(X_test))


def test_what_the_fit_tells():
    source, (X, y), _ = make_domains("half wrong")
    fitted = TrAdaBoostRegressor(source=source, n_estimators=3, random_state=0).fit(X, y)
    np.testing.assert_allclose(fitted.target_shares_, np.linspace(20 / 320, 1, 10))
    assert fitted.step_ == fitted.cv_errors_.argmin()
    assert 0 < fitted.step_ < 9
    assert fitted.strategy_ == "transfer"
    assert fitted.transfer_gain_["target_only"].mean == pytest.approx(
        fitted.cv_errors_[-1] - fitted.cv_errors_[fitted.step_]
    )
    assert fitted.source_share_ == pytest.approx(1 - fitted.target_shares_[fitted.step_])
    assert fitted.source_weights_.mean() == pytest.approx(1)
    wrong = source.X[:, 1] > 0
    assert fitted.source_weights_[wrong].mean() < fitted.source_weights_[~wrong].mean()
    assert 0 < fitted.effective_sample_size_ < 300
    assert len(fitted.estimators_) == len(fitted.estimator_weights_) == 3
    assert (fitted.estimator_errors_ < 0.5).all()


def test_held_out_rows_do_not_touch_their_fold():
    """Changing a held-out label changes its own error only, in the fold that holds it out."""
    source, (X, y), _ = make_domains("same", n_target=6)
    regressor = TrAdaBoostRegressor(
        source=source, n_estimators=2, n_steps=3, cv=[(np.arange(5), np.array([5]))], random_state=0
    )
    first = clone(regressor).fit(X, y).cv_errors_
    # Residuals of the one held-out row: predictions do not depend on its label.
    moved = clone(regressor).fit(X, np.append(y[:5], y[5] + 1)).cv_errors_
    residuals = np.sqrt(first)
    closest = np.minimum(np.abs(residuals + 1), np.abs(residuals - 1))
    farthest = np.maximum(np.abs(residuals + 1), np.abs(residuals - 1))
    moved = np.sqrt(moved)
    assert (np.isclose(moved, closest) | np.isclose(moved, farthest)).all()


@pytest.mark.filterwarnings("ignore:Transfer loses")  # one row decides
@pytest.mark.parametrize("n_target", [1, 2, 3])
def test_the_smallest_targets(n_target):
    source, (X, y), (X_test, y_test) = make_domains("same")
    fitted = TrAdaBoostRegressor(source=source, n_estimators=3, random_state=0)
    fitted.fit(X[:n_target], y[:n_target])
    assert np.isfinite(fitted.predict(X_test)).all()
    if n_target == 1:
        assert fitted.cv_errors_ is None
        assert fitted.score(X_test, y_test) > 0.2
        assert fitted.target_shares_[fitted.step_] == pytest.approx(0.5, abs=0.06)


def test_without_cross_validation():
    source, (X, y), _ = make_domains("same")
    fitted = TrAdaBoostRegressor(source=source, cv=None, n_steps=10).fit(X, y)
    assert np.abs(fitted.target_shares_ - 0.5).argmin() == fitted.step_
    assert fitted.cv_errors_ is None
    assert fitted.transfer_gain_ == {}
    one = TrAdaBoostRegressor(source=source, n_steps=1, n_estimators=1).fit(X, y)
    assert (one.step_, one.source_share_) == (0, pytest.approx(300 / 320))
    pooled = Ridge().fit(*stack(source, X, y))
    np.testing.assert_allclose(one.predict(X), pooled.predict(X))


def test_stopping_rules():
    X = np.arange(10.0).reshape(-1, 1)
    exact = TrAdaBoostRegressor(LinearRegression(), source=SourceDomain(X, X[:, 0]), cv=None)
    assert len(exact.fit(X[:3], np.zeros(3)).estimators_) > 1
    perfect = TrAdaBoostRegressor(DecisionTreeRegressor(), source=SourceDomain(X, X[:, 0]), cv=None)
    fitted = perfect.fit(X[::3] + 0.5, X[::3, 0])
    assert len(fitted.estimators_) == 1
    assert fitted.estimator_errors_[0] == 0
    # Errors of which most are the largest: the first learner is as bad as can be, and stays.
    with pytest.warns(UserWarning, match="Got source=None"):
        bad = TrAdaBoostRegressor().fit(np.zeros((4, 1)), [0, 0, 1, 1])
    assert len(bad.estimators_) == 1
    assert bad.estimator_errors_[0] >= 0.5


@pytest.mark.parametrize("loss", ["linear", "square", "exponential"])
def test_the_last_stage_is_the_result(loss):
    source, (X, y), (X_test, y_test) = make_domains("shifted")
    fitted = TrAdaBoostRegressor(TREE, source=source, n_estimators=4, cv=None, loss=loss)
    fitted.fit(X, y)
    staged = list(fitted.staged_predict(X_test))
    assert len(staged) == len(fitted.estimators_) > 1
    np.testing.assert_array_equal(staged[0], fitted.estimators_[0].predict(X_test))
    np.testing.assert_array_equal(staged[-1], fitted.predict(X_test))
    assert list(fitted.staged_score(X_test, y_test))[-1] == fitted.score(X_test, y_test)


def test_several_sources_are_one():
    source, (X, y), (X_test, _) = make_domains("half wrong")
    parts = [
        SourceDomain(source.X[:100], source.y[:100]),
        SourceDomain(source.X[100:], source.y[100:]),
    ]
    parameters = {"n_estimators": 2, "n_steps": 4, "cv": 3, "random_state": 0}
    one = TrAdaBoostRegressor(source=source, **parameters).fit(X, y)
    several = TrAdaBoostRegressor(source=parts, **parameters).fit(X, y)
    np.testing.assert_allclose(one.predict(X_test), several.predict(X_test))
    assert [len(weights) for weights in several.source_weights_] == [100, 200]


def test_weights_of_rows():
    source, (X, y), (X_test, _) = make_domains("shifted")
    weights = np.resize([1, 2, 0, 3], len(y))
    copies = np.repeat(np.arange(len(y)), weights)
    regressor = TrAdaBoostRegressor(TREE, source=source, n_estimators=3, cv=None)
    weighted = clone(regressor).fit(X, y, sample_weight=weights).predict(X_test)
    np.testing.assert_allclose(weighted, clone(regressor).fit(X[copies], y[copies]).predict(X_test))
    left_out = SourceDomain(source.X, source.y, sample_weight=np.resize([1.0, 0.0], 300))
    fitted = regressor.set_params(source=left_out).fit(X, y)
    assert not fitted.source_weights_[1::2].any()


def test_frames_pipelines_and_searches():
    source, (X, y), (X_test, y_test) = make_domains("same")
    columns = list("abcde")
    frames = [pd.DataFrame(rows, columns=columns) for rows in (source.X, X, X_test)]
    regressor = TrAdaBoostRegressor(
        make_pipeline(StandardScaler(), Ridge()), source=source, n_estimators=2, n_steps=3, cv=2
    ).set_params(random_state=0)
    arrays = clone(regressor).fit(X, y)
    with_frames = clone(regressor).set_params(source=SourceDomain(frames[0], source.y))
    with_frames.fit(frames[1], y)
    assert list(with_frames.feature_names_in_) == columns
    np.testing.assert_allclose(with_frames.predict(frames[2]), arrays.predict(X_test))
    grid = {"estimator__ridge__alpha": [0.1, 10], "loss": ["linear"]}
    search = GridSearchCV(regressor, grid, cv=2).fit(X, y)
    assert search.best_estimator_.score(X_test, y_test) > 0.5
    assert clone(regressor).source is source
    assert np.isfinite(cross_val_score(regressor, X, y, cv=3)).all()


def test_same_seed_same_result():
    source, (X, y), (X_test, _) = make_domains("same")
    base = DecisionTreeRegressor(max_depth=3, splitter="random")
    regressor = TrAdaBoostRegressor(
        base, source=source, n_estimators=2, n_steps=3, cv=2, random_state=0
    )
    first = clone(regressor).fit(X, y)
    with parallel_config("threading"):
        again = clone(regressor).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(first.predict(X_test), again.predict(X_test))
    np.testing.assert_array_equal(first.cv_errors_, again.cv_errors_)
    loaded = pickle.loads(pickle.dumps(first.set_params(drop_source=True)))
    assert "300 rows" in repr(loaded.source)
    np.testing.assert_array_equal(loaded.predict(X_test), first.predict(X_test))


def test_splitter():
    source, (X, y), _ = make_domains("same", n_target=4)
    fitted = TrAdaBoostRegressor(source=source, n_estimators=1, n_steps=3, cv=LeaveOneOut())
    by_number = clone(fitted).set_params(cv=4, random_state=0).fit(X, y)
    np.testing.assert_allclose(fitted.fit(X, y).cv_errors_, by_number.cv_errors_)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_estimators": 0}, ValueError, "Got n_estimators=0"),
        ({"n_steps": 0}, ValueError, "Got n_steps=0"),
        ({"learning_rate": -1}, ValueError, "Got learning_rate=-1"),
        ({"loss": "squared"}, ValueError, "Did you mean 'square'"),
        ({"cv": 1}, ValueError, "Got cv=1"),
        ({"estimator": KNeighborsRegressor()}, TypeError, "use InstanceWeightingSampler"),
        ({"estimator": StandardScaler()}, TypeError, "expected a regressor"),
        (
            {"source": SourceDomain(np.zeros((2, 5)), ["a", "b"])},
            ValueError,
            "labels that are text",
        ),
    ],
)
def test_wrong_parameters(parameters, error, message):
    source, (X, y), _ = make_domains("same", n_source=30)
    with pytest.raises(error, match=message):
        TrAdaBoostRegressor(**{"source": source, **parameters}).fit(X, y)
