"""TrAdaBoostClassifier: the paper's algorithm, what the defaults change, and when it stops."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sktransfer.datasets import make_covariate_shift
from sktransfer.domain import SourceDomain
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.instance import TrAdaBoostClassifier

PAPER = {
    "target_weight": None,
    "dynamic": False,
    "voting": "hard",
    "voters": "last_half",
    "fallback": None,
}
STUMP = DecisionTreeClassifier(max_depth=1, random_state=0)


def make_domains(kind, seed=0, n_source=600, n_target=24, n_test=1000, n_features=6):
    """Return a source, target rows and test rows whose rules agree in part."""
    rng = np.random.default_rng(seed)
    rule, other = np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T
    X_source = rng.normal(size=(n_source, n_features))
    X = rng.normal(size=(n_target + n_test, n_features))
    follows = {
        "same": X_source @ rule,
        "rotated": X_source @ (0.17 * rule + 0.98 * other),
        "half wrong": np.where(X_source[:, 1] > 0, -(X_source @ rule), X_source @ rule),
        "opposite": -(X_source @ rule),
    }[kind]
    y_source = (follows + 0.2 * rng.logistic(size=n_source) > 0).astype(int)
    y = (X @ rule + 0.2 * rng.logistic(size=len(X)) > 0).astype(int)
    return (
        SourceDomain(X_source, y_source),
        (X[:n_target], y[:n_target]),
        (X[n_target:], y[n_target:]),
    )


def tradaboost_of_the_paper(
    learner, X_source, y_source, X_target, y_target, n_rounds, X_test, clip=0
):
    """Dai et al. 2007, figure 2, line by line: source rows first, as there."""
    n, m = len(y_source), len(y_target)
    T, c = np.concatenate([X_source, X_target]), np.concatenate([y_source, y_target])
    w = np.ones(n + m)
    beta = 1 / (1 + np.sqrt(2 * np.log(n) / n_rounds))
    h, betas = [], []
    for _ in range(n_rounds):
        p = w / w.sum()
        # Base learners that count rows see weights of a mean of 1, as ours do.
        h_t = clone(learner).fit(T, c, sample_weight=p * (n + m))
        wrong = np.abs(h_t.predict(T) - c)
        epsilon = (w[n:] * wrong[n:]).sum() / w[n:].sum()
        epsilon = np.clip(epsilon, clip, 0.5 - clip)
        assert 0 < epsilon < 0.5, "the paper demands it"
        beta_t = epsilon / (1 - epsilon)
        w[:n] = w[:n] * beta ** wrong[:n]
        w[n:] = w[n:] * beta_t ** -wrong[n:]
        h.append(h_t)
        betas.append(beta_t)
    half = int(np.ceil(n_rounds / 2)) - 1
    left = np.prod(
        [b ** -h_t.predict(X_test) for h_t, b in zip(h[half:], betas[half:], strict=True)], axis=0
    )
    right = np.prod([b**-0.5 for b in betas[half:]])
    return (left >= right).astype(int), w[:n] / w[:n].mean(), np.array(betas)


@pytest.mark.parametrize("n_rounds", [1, 2, 7, 10])
@pytest.mark.parametrize("learner", [STUMP, LogisticRegression(solver="newton-cholesky")])
def test_the_algorithm_of_the_paper(learner, n_rounds):
    source, (X, y), (X_test, _) = make_domains("half wrong", 1, n_source=60, n_target=40)
    predicted, weights, betas = tradaboost_of_the_paper(
        learner, source.X, source.y, X, y, n_rounds, X_test
    )
    ours = TrAdaBoostClassifier(learner, source=source, n_estimators=n_rounds, **PAPER).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X_test), predicted)
    np.testing.assert_allclose(ours.source_weights_, weights, rtol=1e-6)
    np.testing.assert_allclose(ours.estimator_weights_, -np.log(betas), rtol=1e-6)
    np.testing.assert_allclose(ours.estimator_errors_, betas / (1 + betas), rtol=1e-6)


def test_dynamic_updates_are_those_of_the_paper():
    """Al-Stouhi and Reddy 2011: a source row that is right keeps pace, by 2 (1 - epsilon)."""
    source, (X, y), _ = make_domains("half wrong", n_source=60, n_target=40)
    parameters = {**PAPER, "n_estimators": 1}
    static = TrAdaBoostClassifier(STUMP, source=source, **parameters).fit(X, y)
    dynamic = TrAdaBoostClassifier(STUMP, source=source, **{**parameters, "dynamic": True})
    dynamic.fit(X, y)
    error = static.estimator_errors_[0]
    right = static.estimators_[0].predict(source.X) == source.y

    def odds(fitted):
        return fitted.source_share_ / (1 - fitted.source_share_)

    assert odds(dynamic) / odds(static) == pytest.approx(2 * (1 - error))
    # Against the target, rows that are right are worth what they were: one row.
    share_of_right = dynamic.source_weights_[right].sum() / dynamic.source_weights_.sum()
    assert odds(dynamic) * share_of_right * len(y) == pytest.approx(right.sum())


@pytest.mark.parametrize(
    ("kind", "least_gain"), [("rotated", 0.1), ("half wrong", 0.1), ("opposite", 0.3)]
)
def test_equal_weights_at_the_start_are_stuck_at_the_source(kind, least_gain):
    """The error of the paper's learners on the target is clipped, as implementations do."""
    base = LogisticRegression(solver="newton-cholesky")
    gains = []
    for seed in range(3):
        source, (X, y), (X_test, y_test) = make_domains(kind, seed)
        stuck, _, _ = tradaboost_of_the_paper(
            base, source.X, source.y, X, y, 10, X_test, clip=0.001
        )
        balanced = TrAdaBoostClassifier(base, source=source, n_estimators=10, fallback=None).fit(
            X, y
        )
        gains.append(balanced.score(X_test, y_test) - np.mean(stuck == y_test))
    assert np.mean(gains) > least_gain


@pytest.mark.parametrize("kind", ["rotated", "opposite"])
def test_equal_weights_at_the_start_are_not_stuck_with_our_stopping_rule(kind):
    """Learners that are worse than chance on the target are discarded, not clipped."""
    source, target, test = make_domains(kind, 1)
    fitted = TrAdaBoostClassifier(source=source, n_estimators=10, **PAPER).fit(*target)
    assert fitted.score(*test) > 0.7


@pytest.mark.parametrize("base", [None, DecisionTreeClassifier(max_depth=2)])
def test_a_source_of_the_same_rule_helps(base):
    gains = []
    for seed in range(3):
        source, target, test = make_domains("same", seed, n_target=20)
        transfer = TrAdaBoostClassifier(
            base, source=source, n_estimators=10, fallback=None, random_state=0
        )
        with pytest.warns(UserWarning, match="Got source=None"):
            alone = TrAdaBoostClassifier(base, n_estimators=10, random_state=0).fit(*target)
        gains.append(transfer.fit(*target).score(*test) - alone.score(*test))
    assert np.mean(gains) > 0


def test_source_rows_that_are_wrong_lose_weight():
    source, (X, y), _ = make_domains("half wrong", n_target=100)
    fitted = TrAdaBoostClassifier(source=source, fallback=None).fit(X, y)
    wrong = source.X[:, 1] > 0
    assert fitted.source_weights_.mean() == pytest.approx(1)
    assert fitted.source_weights_[wrong].mean() < 0.7 * fitted.source_weights_[~wrong].mean()
    assert 0 < fitted.effective_sample_size_ < len(source.y)


def test_without_a_source_it_is_adaboost():
    _, (X, y), (X_test, _) = make_domains("same", n_target=80)
    with pytest.warns(UserWarning, match="Got source=None") as record:
        ours = TrAdaBoostClassifier(STUMP, voting="hard", n_estimators=8).fit(X, y)
    assert record[0].filename == __file__
    peer = AdaBoostClassifier(STUMP, n_estimators=8, random_state=0).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X_test), peer.predict(X_test))
    np.testing.assert_allclose(ours.estimator_weights_, peer.estimator_weights_)
    np.testing.assert_allclose(ours.estimator_errors_, peer.estimator_errors_)
    assert ours.strategy_ == "target_only"
    assert ours.source_weights_.shape == (0,)
    assert ours.source_share_ == 0


def test_three_classes_are_boosted_in_the_manner_of_samme():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 2], [2, -1], [-2, -1]])
    y_source, y, y_test = (rng.integers(3, size=n) for n in (300, 15, 300))
    X_source, X, X_test = (centers[v] + rng.normal(size=(len(v), 2)) for v in (y_source, y, y_test))
    source = SourceDomain(X_source, y_source)
    for voting in ("soft", "hard"):
        fitted = TrAdaBoostClassifier(
            STUMP, source=source, voting=voting, n_estimators=30, fallback=None, dynamic=False
        ).fit(X, y)
        # Errors between 1/2 and 2/3 are no reason to stop: a stump knows two of three classes.
        assert (fitted.estimator_errors_ < 2 / 3).all()
        assert (fitted.estimator_weights_ > 0).all()
        floored = np.maximum(fitted.estimator_errors_, 0.5 / 16)
        np.testing.assert_allclose(
            fitted.estimator_weights_, np.log((1 - floored) / floored) + np.log(2)
        )
        assert fitted.score(X_test, y_test) > STUMP.fit(X_source, y_source).score(X_test, y_test)
        assert fitted.predict_proba(X_test).shape == (300, 3)


def test_sources_are_tried_in_each_round_and_the_better_one_is_used():
    good, (X, y), (X_test, y_test) = make_domains("same", 0)
    bad = SourceDomain(good.X, 1 - good.y)
    both = TrAdaBoostClassifier(source=[bad, good], fallback=None).fit(X, y)
    only_bad = TrAdaBoostClassifier(source=bad, fallback=None).fit(X, y)
    assert both.score(X_test, y_test) > only_bad.score(X_test, y_test)
    assert [len(weights) for weights in both.source_weights_] == [len(bad.y), len(good.y)]
    assert both.source_share_[0] < both.source_share_[1]
    assert both.effective_sample_size_.shape == (2,)
    one = TrAdaBoostClassifier(source=[good], fallback=None).fit(X, y)
    np.testing.assert_array_equal(
        one.predict_proba(X_test),
        TrAdaBoostClassifier(source=good, fallback=None).fit(X, y).predict_proba(X_test),
    )


def test_first_round_with_two_sources():
    """Yao and Doretto 2010: all sources are updated by the learner that errs least."""
    first, (X, y), _ = make_domains("opposite", n_source=50, n_target=40)
    second, _, _ = make_domains("half wrong", n_source=70, n_target=40)
    fitted = TrAdaBoostClassifier(STUMP, source=[first, second], n_estimators=1, **PAPER).fit(X, y)
    learners = [
        clone(STUMP).fit(np.concatenate([X, s.X]), np.concatenate([y, s.y]))
        for s in (first, second)
    ]
    errors = [np.mean(learner.predict(X) != y) for learner in learners]
    assert fitted.estimator_errors_[0] == pytest.approx(min(errors))
    step = np.log1p(np.sqrt(2 * np.log(120)))
    for source, weights in zip((first, second), fitted.source_weights_, strict=True):
        wrong = learners[int(np.argmin(errors))].predict(source.X) != source.y
        expected = np.exp(-step * wrong)
        np.testing.assert_allclose(weights, expected / expected.mean())


@pytest.mark.parametrize("voters", ["all", "last_half"])
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_the_last_stage_is_the_result(voting, voters):
    source, (X, y), (X_test, y_test) = make_domains("rotated")
    fitted = TrAdaBoostClassifier(
        STUMP, source=source, voting=voting, voters=voters, n_estimators=9, fallback=None
    ).fit(X, y)
    n_learners = len(fitted.estimators_)
    assert n_learners > 3
    for staged, final in [
        (fitted.staged_predict(X_test), fitted.predict(X_test)),
        (fitted.staged_predict_proba(X_test), fitted.predict_proba(X_test)),
        (fitted.staged_decision_function(X_test), fitted.decision_function(X_test)),
        (fitted.staged_score(X_test, y_test), fitted.score(X_test, y_test)),
    ]:
        staged = list(staged)
        assert len(staged) == n_learners
        np.testing.assert_array_equal(staged[-1], final)
    first = fitted.estimators_[0]
    np.testing.assert_array_equal(next(fitted.staged_predict(X_test)), first.predict(X_test))
    if voting == "soft":
        voting_from = 0 if voters == "all" else int(np.ceil(n_learners / 2)) - 1
        by_hand = np.average(
            [h.predict_proba(X_test) for h in fitted.estimators_[voting_from:]],
            axis=0,
            weights=fitted.estimator_weights_[voting_from:],
        )
        np.testing.assert_allclose(fitted.predict_proba(X_test), by_hand)


def test_it_stops_where_nothing_is_wrong():
    X = np.arange(20.0).reshape(-1, 1)
    y = (X[:, 0] > 9).astype(int)
    fitted = TrAdaBoostClassifier(
        STUMP, source=SourceDomain(X, y), voting="hard", fallback=None
    ).fit(X[::2], y[::2])
    assert len(fitted.estimators_) == 1
    assert fitted.estimator_errors_[0] == 0
    # Ten rows without an error are no proof: as if half a row of eleven were wrong.
    assert fitted.estimator_weights_[0] == pytest.approx(np.log(10.5 / 0.5))


def test_it_goes_on_where_only_source_rows_are_wrong():
    X = np.arange(20.0).reshape(-1, 1)
    y = (X[:, 0] > 9).astype(int)
    y_source = y.copy()
    y_source[:3] = 1
    fitted = TrAdaBoostClassifier(
        STUMP, source=SourceDomain(X, y_source), voting="hard", n_estimators=5, fallback=None
    ).fit(X[::2], y[::2])
    assert len(fitted.estimators_) == 5
    assert not fitted.estimator_errors_.any()
    assert fitted.source_weights_[:3].max() < fitted.source_weights_[3:].min()


def test_learners_worse_than_chance_are_discarded_and_the_source_halved():
    source, (X, y), (X_test, y_test) = make_domains("opposite")
    fitted = TrAdaBoostClassifier(
        source=source, target_weight=None, n_estimators=20, fallback=None
    ).fit(X, y)
    assert (fitted.estimator_errors_ < 0.5).all()
    assert 0 < len(fitted.estimators_) < 20
    assert fitted.score(X_test, y_test) > 0.5
    few = TrAdaBoostClassifier(
        source=source, target_weight=None, n_estimators=1, fallback=None
    ).fit(X, y)
    assert len(few.estimators_) == 1, "one learner there must be"
    assert few.estimator_errors_[0] >= 0.5


def test_noise_without_a_source_gives_one_learner():
    X = np.zeros((6, 2))
    with pytest.warns(UserWarning, match="Got source=None"):
        fitted = TrAdaBoostClassifier(STUMP, voting="hard").fit(X, [0, 1, 0, 1, 0, 1])
    assert len(fitted.estimators_) == 1
    assert fitted.predict_proba(X).shape == (6, 2)


def test_the_guard_leaves_out_a_source_that_harms():
    source, (X, y), (X_test, _) = make_domains("opposite", n_target=60)
    classifier = TrAdaBoostClassifier(source=source, n_estimators=5, random_state=0)
    with pytest.warns(NegativeTransferWarning, match=r"gain of transfer -0\.\d+ ±") as record:
        guarded = classifier.fit(X, y)
    assert record[0].filename == __file__
    assert guarded.strategy_ == "target_only"
    gain = guarded.transfer_gain_["target_only"].mean
    assert gain < 0
    assert guarded.oof_loss_["target_only"] - guarded.oof_loss_["transfer"] == pytest.approx(gain)
    assert len(guarded.source_weights_) == len(source.y)
    base = LogisticRegression(solver="newton-cholesky", max_iter=1000).fit(X, y)
    np.testing.assert_allclose(guarded.predict_proba(X_test), base.predict_proba(X_test))
    assert len(guarded.estimators_) == 1

    unguarded = clone(classifier).set_params(fallback=None).fit(X, y)
    assert unguarded.strategy_ == "transfer"
    assert unguarded.transfer_gain_ == unguarded.oof_loss_ == {}


def test_the_guard_boosts_the_target_alone_where_one_learner_is_too_weak():
    source, (X, y), (X_test, _) = make_domains("opposite", n_target=200)
    classifier = TrAdaBoostClassifier(STUMP, source=source, n_estimators=10, random_state=0)
    with pytest.warns(NegativeTransferWarning):
        guarded = classifier.fit(X, y)
    with pytest.warns(UserWarning, match="Got source=None"):
        alone = TrAdaBoostClassifier(STUMP, n_estimators=10, random_state=0).fit(X, y)
    assert guarded.strategy_ == "target_only"
    assert len(guarded.estimators_) > 1
    np.testing.assert_array_equal(guarded.predict_proba(X_test), alone.predict_proba(X_test))


@pytest.mark.parametrize("voters", ["all", "last_half"])
def test_the_guard_pools_where_the_source_follows_the_rule_of_the_target(voters):
    source, (X, y), (X_test, y_test) = make_domains("same", 3, n_source=300, n_target=20)
    source_weight = np.resize([1.0, 3.0], len(source.y))
    source = SourceDomain(source.X, source.y, sample_weight=source_weight)
    weight = np.resize([2.0, 4.0], len(y))
    base = LogisticRegression(C=0.1, solver="newton-cholesky")
    classifier = TrAdaBoostClassifier(
        base, source=source, n_estimators=4, learning_rate=0.5, voters=voters, random_state=0
    )
    fitted = clone(classifier).fit(X, y, sample_weight=weight)
    assert fitted.strategy_ == "pooled"
    assert set(fitted.oof_loss_) == {"transfer", "pooled", "target_only"}
    assert fitted.oof_loss_["pooled"] == min(fitted.oof_loss_.values())
    for name, gain in fitted.transfer_gain_.items():
        difference = fitted.oof_loss_[name] - fitted.oof_loss_["transfer"]
        assert gain.mean == pytest.approx(difference)
    # Source rows count as much as target rows, in the mean.
    weights = np.concatenate([weight, source_weight / source_weight.mean() * weight.mean()])
    pooled = clone(base).fit(
        np.concatenate([X, source.X]), np.concatenate([y, source.y]), sample_weight=weights
    )
    expected = pooled.predict_proba(X_test)
    np.testing.assert_allclose(fitted.predict_proba(X_test), expected, rtol=1e-6)
    assert len(fitted.estimators_) == 1
    assert fitted.estimator_weights_.shape == fitted.estimator_errors_.shape == (1,)
    (staged,) = fitted.staged_predict_proba(X_test)
    np.testing.assert_array_equal(staged, fitted.predict_proba(X_test))
    # Two halves of a source, pooled, are the source, where both halves bring equal weights.
    parts = [
        SourceDomain(source.X[first::2], source.y[first::2], sample_weight=source_weight[first::2])
        for first in (0, 1)
    ]
    several = clone(classifier).set_params(source=parts).fit(X, y, sample_weight=weight)
    assert several.strategy_ == "pooled"
    unweighted = SourceDomain(source.X, source.y)
    one = clone(classifier).set_params(source=unweighted).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(several.predict_proba(X_test), one.predict_proba(X_test), rtol=1e-4)
    assert fitted.score(X_test, y_test) > 0.8
    # What boosting made of the source can be seen all the same.
    assert len(fitted.source_weights_) == len(source.y)
    assert 0 < fitted.source_share_ < 1


def test_the_guard_predicts_no_worse_than_the_better_of_pooled_and_target_only():
    base = LogisticRegression(solver="newton-cholesky")
    gaps = []
    for kind in ("same", "opposite"):
        for seed in range(2):
            source, (X, y), test = make_domains(kind, seed, n_source=300, n_target=40)
            X_both, y_both = np.concatenate([X, source.X]), np.concatenate([y, source.y])
            alone = clone(base).fit(X, y).score(*test)
            pooled = clone(base).fit(X_both, y_both).score(*test)
            guarded = TrAdaBoostClassifier(base, source=source, n_estimators=3, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NegativeTransferWarning)
                gaps.append(guarded.fit(X, y).score(*test) - max(alone, pooled))
    assert np.mean(gaps) > -0.01


def test_the_guard_keeps_boosting_where_a_part_of_the_source_helps():
    source, (X, y), _ = make_domains("same", 3, n_source=300, n_target=30)
    wrong = source.X[:, 1] > 0.3
    source = SourceDomain(source.X, np.where(wrong, 1 - source.y, source.y))
    fitted = TrAdaBoostClassifier(source=source, n_estimators=5, random_state=0).fit(X, y)
    assert fitted.strategy_ == "transfer"
    assert len(fitted.estimators_) > 1
    assert min(gain.mean for gain in fitted.transfer_gain_.values()) > 0


def test_a_comparison_of_several_splits_of_the_same_rows():
    source, (X, y), _ = make_domains("same", n_target=20)
    classifier = TrAdaBoostClassifier(source=source, n_estimators=2, random_state=0)
    splits = list(StratifiedKFold(4).split(X, y))
    once = clone(classifier).set_params(cv=splits).fit(X, y)
    twice = clone(classifier).set_params(cv=splits + splits).fit(X, y)
    assert twice.oof_loss_ == pytest.approx(once.oof_loss_)
    # The same rows twice are no more evidence.
    for name, gain in once.transfer_gain_.items():
        assert twice.transfer_gain_[name] == pytest.approx(gain)


def test_the_guard_keeps_a_source_that_helps():
    source, (X, y), _ = make_domains("same", n_target=20)
    classifier = TrAdaBoostClassifier(source=source, n_estimators=4, random_state=0)
    fitted = clone(classifier).fit(X, y)
    assert fitted.strategy_ in ("transfer", "pooled")
    assert fitted.transfer_gain_["target_only"].mean > 0
    by_splitter = clone(classifier).set_params(cv=StratifiedKFold(3))
    assert by_splitter.fit(X, y).transfer_gain_["target_only"].mean > 0
    with parallel_config("threading"):
        again = clone(classifier).set_params(n_jobs=2).fit(X, y)
    assert again.transfer_gain_ == fitted.transfer_gain_


def test_source_rows_can_stay_out_of_pickles():
    source, (X, y), (X_test, _) = make_domains("same", n_source=3000)
    classifier = TrAdaBoostClassifier(
        source=[source, source], n_estimators=2, fallback=None, drop_source=True
    )
    assert clone(classifier).source[0] is source, "before fit nothing is dropped"
    fitted = classifier.fit(X, y)
    fitted.source_weights_ = None
    saved = pickle.dumps(fitted)
    assert len(saved) < source.X.nbytes / 10
    loaded = pickle.loads(saved)
    np.testing.assert_array_equal(loaded.predict_proba(X_test), fitted.predict_proba(X_test))
    assert "3000 rows" in repr(loaded.source)
    with pytest.raises((TypeError, ValueError), match="source"):
        loaded.fit(X, y)
    assert fitted.source[0] is source


def test_the_smallest_targets():
    source, (X, y), _ = make_domains("same")
    one_of_each = [int(np.argmax(y == label)) for label in (0, 1)]
    fitted = TrAdaBoostClassifier(source=source, random_state=0).fit(X[one_of_each], [0, 1])
    assert fitted.strategy_ == "transfer"
    assert fitted.oof_loss_ == {}, "without its only row nothing is known of a class"
    for rows in ([0], np.flatnonzero(y == 0)[:4]):  # one row, one class
        fitted = TrAdaBoostClassifier(source=source, random_state=0).fit(X[rows], y[rows])
        assert fitted.transfer_gain_ == {}
        np.testing.assert_array_equal(fitted.classes_, [0, 1])
        np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


def test_classes_of_both_domains():
    source, (X, y), _ = make_domains("same")
    names = np.array(["ill", "well", "unknown"])
    y_source = names[source.y]
    y_source[:30] = "unknown"
    y_target = np.where(np.arange(len(y)) < 4, "new", names[y])
    fitted = TrAdaBoostClassifier(
        source=SourceDomain(source.X, y_source), n_estimators=5, fallback=None, random_state=0
    ).fit(X, y_target)
    assert list(fitted.classes_) == ["ill", "new", "unknown", "well"]
    assert fitted.n_classes_ == 4
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)
    assert fitted.decision_function(X).shape == (len(y), 4)
    # Each of several sources may lack classes of the others.
    several = [
        SourceDomain(source.X[source.y == k], names[source.y[source.y == k]]) for k in (0, 1)
    ]
    fitted = TrAdaBoostClassifier(source=several, n_estimators=5, fallback=None).fit(X, names[y])
    assert fitted.score(X, names[y]) > 0.7
    with pytest.raises(ValueError, match=r"Got one class, .*0.*at least two"):
        TrAdaBoostClassifier(source=SourceDomain(X, np.zeros(len(X), int))).fit(X, 0 * y)
    with pytest.raises(ValueError, match="source labels that are text .* expected numbers"):
        TrAdaBoostClassifier(source=several).fit(X, y)


def test_weights_of_rows():
    source, (X, y), (X_test, _) = make_domains("same")
    weights = np.resize([1, 2, 0, 3], len(y))
    copies = np.repeat(np.arange(len(y)), weights)
    classifier = TrAdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2, random_state=0), fallback=None
    )
    classifier.set_params(source=source)
    weighted = clone(classifier).fit(X, y, sample_weight=weights).predict_proba(X_test)
    repeated = clone(classifier).fit(X[copies], y[copies]).predict_proba(X_test)
    np.testing.assert_allclose(weighted, repeated)

    source_weights = np.resize([1.0, 0.0], len(source.y))
    half = SourceDomain(source.X, source.y, sample_weight=source_weights)
    fitted = classifier.set_params(source=half).fit(X, y)
    assert not fitted.source_weights_[1::2].any()
    with pytest.raises(ValueError, match="at least one non-zero"):
        classifier.fit(X, y, sample_weight=np.zeros(len(y)))


def test_pipelines_and_frames():
    source, (X, y), (X_test, y_test) = make_domains("same")
    columns = [f"c{i}" for i in range(X.shape[1])]
    frames = [pd.DataFrame(rows, columns=columns) for rows in (source.X, X, X_test)]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    with_frames = TrAdaBoostClassifier(
        pipeline, source=SourceDomain(frames[0], source.y), n_estimators=3, random_state=0
    ).fit(frames[1], y)
    with_arrays = TrAdaBoostClassifier(pipeline, source=source, n_estimators=3, random_state=0)
    with_arrays.fit(X, y)
    assert list(with_frames.feature_names_in_) == columns
    np.testing.assert_allclose(
        with_frames.predict_proba(frames[2]), with_arrays.predict_proba(X_test)
    )
    assert with_arrays.score(X_test, y_test) > 0.7


def test_search_scores_the_target_and_shares_the_source():
    source, (X, y), _ = make_domains("same", n_target=40)
    classifier = TrAdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1),
        source=source,
        n_estimators=4,
        fallback=None,
        random_state=0,
    )
    grid = {"estimator__max_depth": [1, 2], "target_weight": [0.3, None]}
    search = GridSearchCV(classifier, grid, cv=3, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.7
    assert clone(classifier).source is source
    several = TrAdaBoostClassifier(source=[source, source])
    assert clone(several).source[0] is source
    scores = cross_val_score(classifier, X, y, cv=4, scoring="neg_log_loss")
    assert np.isfinite(scores).all()


def test_same_seed_same_result_and_no_trace_elsewhere():
    source, (X, y), (X_test, _) = make_domains("same")
    base = DecisionTreeClassifier(max_depth=2, splitter="random", random_state=5)
    classifier = TrAdaBoostClassifier(
        base, source=source, n_estimators=5, fallback=None, random_state=1
    )
    before = np.random.get_state()[1].copy()
    first = clone(classifier).fit(X, y).predict_proba(X_test)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(clone(classifier).fit(X, y).predict_proba(X_test), first)
    other = clone(classifier).set_params(random_state=2).fit(X, y).predict_proba(X_test)
    assert (other != first).any()
    own_seed = clone(classifier).set_params(random_state=None).fit(X, y)
    assert {learner.random_state for learner in own_seed.estimators_} == {5}


def test_learners_without_probabilities_or_weights():
    source, (X, y), (X_test, y_test) = make_domains("same")
    hard = TrAdaBoostClassifier(LinearSVC(), source=source, n_estimators=3, random_state=0)
    hard.fit(X, y)
    assert hard.score(X_test, y_test) > 0.7
    with pytest.raises(ValueError, match=r"voting='soft' with estimator=LinearSVC.*\"hard\""):
        TrAdaBoostClassifier(LinearSVC(), source=source, voting="soft").fit(X, y)
    with pytest.raises(TypeError, match="use InstanceWeightingSampler"):
        TrAdaBoostClassifier(KNeighborsClassifier(), source=source).fit(X, y)


def test_later_changes_of_parameters_wait_for_the_next_fit():
    source, (X, y), (X_test, _) = make_domains("same")
    fitted = TrAdaBoostClassifier(STUMP, source=source, fallback=None).fit(X, y)
    before = fitted.predict_proba(X_test)
    fitted.set_params(voting="hard", voters="last_half", source=None)
    np.testing.assert_array_equal(fitted.predict_proba(X_test), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X_test), before)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_estimators": 0}, ValueError, "Got n_estimators=0"),
        ({"learning_rate": 0}, ValueError, "Got learning_rate=0"),
        ({"target_weight": 1}, ValueError, "Got target_weight=1, .*source=None"),
        ({"target_weight": "uniform"}, TypeError, "Got target_weight='uniform'"),
        ({"voting": "sof"}, ValueError, "Did you mean 'soft'"),
        ({"voters": "half"}, ValueError, "Got voters='half'"),
        ({"fallback": "pooled"}, ValueError, "Got fallback='pooled'"),
        ({"cv": 1}, ValueError, "Got cv=1"),
        ({"source": []}, ValueError, r"Got source=\[\]"),
        ({"source": [None]}, TypeError, "Got source of type NoneType"),
        ({"source": "cleveland"}, TypeError, "Got source of type str"),
        ({"source": SourceDomain(np.zeros((3, 2)), [0, 1, 0])}, ValueError, "2 columns"),
        ({"source": SourceDomain(np.zeros((3, 6)))}, ValueError, "a source with labels"),
        ({"estimator": LogisticRegression}, TypeError, "expected a classifier"),
        ({"estimator": StandardScaler()}, TypeError, "expected a classifier"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    source, (X, y), _ = make_domains("same", n_source=30)
    with pytest.raises(error, match=message):
        TrAdaBoostClassifier(**{"source": source, **parameters}).fit(X, y)


def test_weights_under_covariate_shift_stay_sound():
    domains = make_covariate_shift(300, 20, 4, shift=1.5, random_state=0)
    source = SourceDomain(domains.X_source, domains.y_source)
    fitted = TrAdaBoostClassifier(source=source, n_estimators=200, fallback=None)
    fitted.fit(domains.X_target, domains.y_target)
    assert np.isfinite(fitted.source_weights_).all()
    assert (fitted.source_weights_ >= 0).all()
    assert 0 <= fitted.source_share_ < 1
