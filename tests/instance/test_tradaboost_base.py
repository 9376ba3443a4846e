"""What holds for boosted classes and boosted numbers alike: containers, copies, errors."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sktransfer.domain import SourceDomain
from sktransfer.instance import TrAdaBoostClassifier, TrAdaBoostRegressor

RNG = np.random.default_rng(0)
X, X_SOURCE = RNG.normal(size=(30, 3)), RNG.normal(size=(80, 3))
WEIGHT = RNG.uniform(0.5, 2, size=30)
LABELS = {  # of the target and of the source
    "classifier": (
        (X[:, 0] + 0.3 * RNG.normal(size=30) > 0).astype(int),
        (X_SOURCE[:, 0] + 0.3 * RNG.normal(size=80) > 0).astype(int),
    ),
    "regressor": (
        X @ [1.0, 2, 0] + 0.3 * RNG.normal(size=30),
        X_SOURCE @ [1.0, 2, 0] + 0.3 * RNG.normal(size=80),
    ),
}
STAGED = {
    "classifier": ["predict", "predict_proba", "decision_function"],
    "regressor": ["predict"],
}
each_kind = pytest.mark.parametrize("kind", ["classifier", "regressor"])
pytestmark = pytest.mark.filterwarnings("ignore:Transfer loses")


def make(kind, estimator=None, **parameters):
    defaults = {"n_estimators": 3, "random_state": 0, "cv": 2}
    if "source" not in parameters:
        defaults["source"] = make_source(kind)
    if kind == "classifier":
        return TrAdaBoostClassifier(estimator, **{"fallback": None, **defaults, **parameters})
    return TrAdaBoostRegressor(estimator, **{"n_steps": 3, **defaults, **parameters})


def make_source(kind, rows=slice(None), container=None):
    rows_of_X = X_SOURCE if container is None else in_columns(X_SOURCE, container)
    return SourceDomain(rows_of_X[rows], LABELS[kind][1][rows])


def plain(kind):
    return LogisticRegression() if kind == "classifier" else Ridge()


def in_columns(rows, container):
    return container({name: rows[:, i] for i, name in enumerate("abc")})


def outputs(kind, fitted, X=X):
    """Return all that a fitted estimator predicts."""
    whole = [getattr(fitted, method)(X) for method in STAGED[kind]]
    staged = [stage for method in STAGED[kind] for stage in getattr(fitted, f"staged_{method}")(X)]
    return np.concatenate([np.ravel(values) for values in whole + staged])


@pytest.mark.parametrize(
    "convert",
    [
        list,
        lambda y: y.astype(object),
        pd.Series,
        lambda y: pd.Series(y, dtype="string"),
        lambda y: pd.Series(y, dtype="category"),
        lambda y: pl.Series(y.tolist()),
        lambda y: pl.Series(y.tolist(), dtype=pl.Categorical),
    ],
    ids=["list", "object", "pandas", "string", "category", "polars", "polars category"],
)
def test_labels_of_text_in_any_container(convert):
    y, y_source = LABELS["classifier"]
    names = np.array(["ill", "well"])
    source = SourceDomain(X_SOURCE, convert(names[y_source]))
    fitted = make("classifier", source=source).fit(X, convert(names[y]))
    numbers = make("classifier").fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X), numbers.predict_proba(X))
    assert list(fitted.classes_) == ["ill", "well"]
    assert list(fitted.predict(X)) == list(names[numbers.predict(X)])
    assert list(fitted.staged_score(X, convert(names[y])))[-1] == numbers.score(X, y)


@pytest.mark.parametrize(
    "convert",
    [
        list,
        pd.Series,
        pl.Series,
        lambda y: y.astype(object),
        lambda y: pd.Series(y, dtype="Float64"),
        lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
    ],
    ids=["list", "pandas", "polars", "object", "nullable", "index"],
)
def test_numbers_in_any_container(convert):
    y, y_source = LABELS["regressor"]
    source = SourceDomain(X_SOURCE, convert(y_source))
    fitted = make("regressor", source=source).fit(X, convert(y))
    np.testing.assert_array_equal(fitted.predict(X), make("regressor").fit(X, y).predict(X))


def test_numbers_in_single_precision():
    y, y_source = (labels.astype(np.float32) for labels in LABELS["regressor"])
    fitted = make("regressor", source=SourceDomain(X_SOURCE, y_source)).fit(X, y)
    plain_fit = make("regressor").fit(X, LABELS["regressor"][0])
    np.testing.assert_allclose(fitted.predict(X), plain_fit.predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.where(X[:, 0] > 0, "high", "low"), r"Got y with labels that are text, such as '(h|l)"),
        (np.where(X[:, 0] > 0, "high", "low").astype(object), "TrAdaBoostClassifier predicts"),
        (X[:, 0].astype(str), r"y\.astype\(float\) reads numbers that are text"),
        ((100 * X[:, 0]).astype("datetime64[D]"), r"Got y with labels that are of dtype=datetime"),
    ],
    ids=["text", "objects", "numbers as text", "dates"],
)
@pytest.mark.parametrize("has_source", [True, False])
def test_labels_that_are_no_numbers(y, message, has_source):
    source = make_source("regressor") if has_source else None
    with pytest.raises(ValueError, match=message):
        make("regressor", source=source).fit(X, y)


@pytest.mark.parametrize("dtype", [str, "datetime64[D]"])
def test_source_labels_that_are_no_numbers(dtype):
    source = SourceDomain(X_SOURCE, LABELS["regressor"][1].round().astype(int).astype(dtype))
    with pytest.raises(ValueError, match="Got source y with labels that are .* expected numbers"):
        make("regressor", source=source).fit(X, LABELS["regressor"][0])


@each_kind
@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_frames(kind, container):
    y = LABELS[kind][0]
    frame = in_columns(X, container)
    pipeline = make_pipeline(StandardScaler(), plain(kind))
    sources = [make_source(kind, container=container), make_source(kind, slice(40), container)]
    arrays = [make_source(kind), make_source(kind, slice(40))]
    series = (pd if container is pd.DataFrame else pl).Series(WEIGHT)
    fitted = make(kind, pipeline, source=sources).fit(frame, y, sample_weight=series)
    expected = make(kind, pipeline, source=arrays).fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_allclose(
        outputs(kind, fitted, frame), outputs(kind, expected), rtol=1e-10, atol=1e-12
    )
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[["c", "b", "a"]])


@each_kind
@pytest.mark.parametrize("several", [list, tuple, None])
def test_pickles_without_source_rows(kind, several):
    y = LABELS[kind][0]
    source = make_source(kind) if several is None else several([make_source(kind)] * 2)
    fitted = make(kind, source=source, drop_source=True).fit(X, y)
    loaded = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(fitted))))
    np.testing.assert_array_equal(outputs(kind, loaded), outputs(kind, fitted))
    assert X_SOURCE.tobytes() not in pickle.dumps(fitted)
    assert X_SOURCE.tobytes() in pickle.dumps(clone(fitted).set_params(drop_source=False))
    assert "80 rows" in repr(loaded.source)
    with pytest.raises(ValueError, match="were left out when this estimator was saved"):
        loaded.fit(X, y)
    np.testing.assert_array_equal(outputs(kind, loaded), outputs(kind, fitted))
    loaded.set_params(source=source).fit(X, y)
    np.testing.assert_array_equal(outputs(kind, loaded), outputs(kind, fitted))


@each_kind
def test_clone_after_fit_can_be_fitted_again(kind):
    y = LABELS[kind][0]
    fitted = make(kind, plain(kind), drop_source=True).fit(X, y)
    again = clone(fitted)
    assert again.source is fitted.source
    assert not hasattr(again, "estimators_")
    np.testing.assert_array_equal(outputs(kind, again.fit(X, y)), outputs(kind, fitted))


@each_kind
def test_nested_parameters_in_a_parallel_search(kind):
    name = "estimator__C" if kind == "classifier" else "estimator__alpha"
    grid = {name: [1e-3, 1.0]}
    searches = [
        GridSearchCV(
            make(kind, plain(kind), drop_source=True, n_estimators=1),
            grid,
            cv=2,
            n_jobs=n_jobs,
            error_score="raise",
        ).fit(X, LABELS[kind][0], sample_weight=WEIGHT)
        for n_jobs in (1, 2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    assert len(np.unique(scores[0])) > 1
    assert isinstance(searches[1].best_estimator_.source, SourceDomain)


@each_kind
def test_without_a_source(kind):
    with pytest.warns(UserWarning, match="Got source=None") as record:
        fitted = make(kind, source=None, drop_source=True).fit(X, LABELS[kind][0])
    assert [warning.filename for warning in record] == [__file__]
    assert fitted.strategy_ == "target_only"
    assert fitted.source_weights_.shape == (0,)
    assert (fitted.source_share_, fitted.effective_sample_size_) == (0, 0)
    assert fitted.transfer_gain_ == {}
    loaded = pickle.loads(pickle.dumps(fitted))
    assert loaded.source is None
    np.testing.assert_array_equal(outputs(kind, loaded), outputs(kind, fitted))


@each_kind
def test_nothing_is_predicted_before_fit(kind):
    for method in STAGED[kind]:
        with pytest.raises(NotFittedError):
            getattr(make(kind), method)(X)
        with pytest.raises(NotFittedError):
            next(getattr(make(kind), f"staged_{method}")(X))


@each_kind
def test_staged_scores_take_weights(kind):
    y = LABELS[kind][0]
    fitted = make(kind).fit(X, y)
    scores = list(fitted.staged_score(X, y, sample_weight=WEIGHT))
    assert scores[-1] == fitted.score(X, y, sample_weight=WEIGHT)
    assert len(scores) == len(fitted.estimators_)


@each_kind
@pytest.mark.parametrize("learning_rate", [1e6, 10.5, np.inf])
def test_learning_rates_beyond_the_bound(kind, learning_rate):
    with pytest.raises(ValueError, match=r"Got learning_rate=.*, but expected .* > 0 and <= 10"):
        make(kind, learning_rate=learning_rate).fit(X, LABELS[kind][0])


@each_kind
@pytest.mark.parametrize("learning_rate", [1e-300, 10])
@pytest.mark.parametrize("tree", [True, False])
def test_learning_rates_at_the_bounds(kind, learning_rate, tree):
    trees = {"classifier": DecisionTreeClassifier, "regressor": DecisionTreeRegressor}
    base = trees[kind](max_depth=2, random_state=0) if tree else None
    fitted = make(kind, base, learning_rate=learning_rate, n_estimators=12)
    fitted.fit(X, LABELS[kind][0])
    assert np.isfinite(outputs(kind, fitted)).all()
    assert np.isfinite(fitted.estimator_weights_).all()
    assert fitted.score(X, LABELS[kind][0]) > 0.3


@each_kind
@pytest.mark.parametrize("scale", [1e-300, 1e300, 8e307])
def test_weights_of_an_absurd_scale(kind, scale):
    with pytest.raises(ValueError, match="Got sample_weight with a sum of .*; scale the weights"):
        make(kind).fit(X, LABELS[kind][0], sample_weight=WEIGHT * scale)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_numbers_of_an_absurd_scale(scale):
    y, y_source = (labels * scale for labels in LABELS["regressor"])
    fitted = make("regressor", source=SourceDomain(X_SOURCE, y_source)).fit(X, y)
    expected = make("regressor").fit(X, LABELS["regressor"][0]).predict(X)
    np.testing.assert_allclose(fitted.predict(X) / scale, expected)


@each_kind
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("routing", [True, False])
def test_members_of_ensembles_and_searches(kind, weight, routing):
    """Voting, stacking and searches pass weights on to us; with routing, if we ask for them."""
    y = LABELS[kind][0]
    voting, stacking = {
        "classifier": (VotingClassifier, StackingClassifier),
        "regressor": (VotingRegressor, StackingRegressor),
    }[kind]
    keywords = {} if weight is None else {"sample_weight": weight}
    with config_context(enable_metadata_routing=routing):
        ours, other = make(kind, plain(kind)), plain(kind)
        if routing and weight is not None:
            ours.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            other.set_fit_request(sample_weight=True)
        members = [("ours", ours), ("other", other)]
        fitted = [
            voting(members).fit(X, y, **keywords).named_estimators_["ours"],
            stacking(members, clone(other), cv=2).fit(X, y, **keywords).named_estimators_["ours"],
            GridSearchCV(ours, {"learning_rate": [1.0]}, cv=2, error_score="raise")
            .fit(X, y, **keywords)
            .best_estimator_,
        ]
    expected = outputs(kind, make(kind, plain(kind)).fit(X, y, **keywords))
    for each in fitted:
        np.testing.assert_array_equal(outputs(kind, each), expected)


@each_kind
def test_folds_in_other_threads_route_as_this_one_does(kind):
    voting = {"classifier": VotingClassifier, "regressor": VotingRegressor}[kind]
    # Without routing it could not pass weights to a pipeline.
    base = voting([("pipeline", make_pipeline(StandardScaler(), plain(kind)))])
    if kind == "classifier":
        base.set_params(voting="soft")
    guarded = {"fallback": "target_only"} if kind == "classifier" else {}
    with config_context(enable_metadata_routing=True), parallel_config("threading"):
        fitted = make(kind, base, n_jobs=2, n_estimators=1, **guarded).fit(X, LABELS[kind][0])
    assert fitted.transfer_gain_
