"""Weights reach all that an estimator predicts with, or an error says what they miss."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sktransfer.instance._weighted_fit import check_takes_weights, fit_weighted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] + 0.5 * RNG.normal(size=60) > 0).astype(int)
WEIGHT = RNG.uniform(0.1, 2, size=60)
TREE = DecisionTreeClassifier(max_depth=2, random_state=0)
each_routing = pytest.mark.parametrize("routing", [True, False])


def scaled(estimator):
    return make_pipeline(StandardScaler(), estimator)


def vote(*members):
    return VotingClassifier([(f"m{i}", member) for i, member in enumerate(members)], voting="soft")


def stack(*members, final_estimator=None):
    named = [(f"m{i}", member) for i, member in enumerate(members)]
    return StackingClassifier(named, final_estimator, cv=2)


def search(estimator, **parameters):
    return GridSearchCV(estimator, {}, cv=2, error_score="raise", **parameters)


class RecordingClassifier(ClassifierMixin, BaseEstimator):
    """Remember the weights."""

    def fit(self, X, y, sample_weight=None):
        self.sample_weight_, self.classes_ = sample_weight, np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@each_routing
@pytest.mark.parametrize("ensemble", [vote, stack])
def test_members_of_ensembles_have_the_weights(ensemble, routing):
    estimator = ensemble(LogisticRegression(), RecordingClassifier(), "drop", vote(TREE))
    by_hand = clone(estimator).fit(X, Y, sample_weight=WEIGHT)
    with config_context(enable_metadata_routing=routing):
        fitted = fit_weighted(estimator, X, Y, WEIGHT)
    np.testing.assert_array_equal(fitted.predict_proba(X), by_hand.predict_proba(X))
    np.testing.assert_array_equal(fitted.named_estimators_["m1"].sample_weight_, WEIGHT)
    unweighted = clone(estimator).fit(X, Y)
    assert (fitted.predict_proba(X) != unweighted.predict_proba(X)).any()


@each_routing
@pytest.mark.parametrize("ensemble", [VotingRegressor, StackingRegressor])
def test_members_of_ensembles_of_regressors_have_the_weights(ensemble, routing):
    estimator = ensemble([("ridge", Ridge()), ("transformed", TransformedTargetRegressor())])
    by_hand = clone(estimator).fit(X, X[:, 0] ** 2, sample_weight=WEIGHT)
    with config_context(enable_metadata_routing=routing):
        fitted = fit_weighted(estimator, X, X[:, 0] ** 2, WEIGHT)
    np.testing.assert_allclose(fitted.predict(X), by_hand.predict(X))


@pytest.mark.parametrize(
    ("estimator", "missed"),
    [
        (vote(TREE, KNeighborsClassifier()), r"'m1' \(KNeighborsClassifier\)"),
        (stack(KNeighborsClassifier(), TREE), r"'m0' \(KNeighborsClassifier\)"),
        (
            stack(TREE, final_estimator=KNeighborsClassifier()),
            r"'final_estimator' \(KNeighborsClassifier\)",
        ),
        (vote(TREE, scaled(KNeighborsClassifier())), r"'m1' \(Pipeline\)"),
        (search(vote(TREE, KNeighborsClassifier())), r"'m1' \(KNeighborsClassifier\)"),
        (scaled(vote(TREE, KNeighborsClassifier())), r"'m1' \(KNeighborsClassifier\)"),
        (vote(TREE, vote(KNeighborsClassifier())), r"'m1' \(VotingClassifier\)"),
        (
            VotingRegressor([("knn", KNeighborsRegressor()), ("ridge", Ridge())]),
            r"'knn' \(KNeighborsRegressor\)",
        ),
    ],
)
@each_routing
def test_members_that_weights_cannot_reach_are_named(estimator, missed, routing):
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(
            TypeError, match=rf"no way to give weights to {missed}, .*sample_weight; use"
        ),
    ):
        check_takes_weights(estimator)


def test_pipelines_in_ensembles_need_metadata_routing():
    estimator = vote(scaled(LogisticRegression()), TREE)
    with pytest.raises(TypeError, match=r"'m0' \(Pipeline\).*enable_metadata_routing=True"):
        check_takes_weights(estimator)
    with config_context(enable_metadata_routing=True):
        fitted = fit_weighted(estimator, X, Y, WEIGHT)
        pipeline = fit_weighted(scaled(LogisticRegression()), X, Y, WEIGHT)
    np.testing.assert_array_equal(
        fitted.named_estimators_["m0"].predict_proba(X), pipeline.predict_proba(X)
    )


@each_routing
@pytest.mark.parametrize(
    "estimator",
    [
        search(scaled(KNeighborsClassifier())),
        TransformedTargetRegressor(scaled(KNeighborsRegressor())),
    ],
    ids=["search", "transformed target"],
)
def test_weights_of_a_scaler_alone_are_not_enough(estimator, routing):
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(TypeError, match="sample_weight; use InstanceWeightingSampler"),
    ):
        check_takes_weights(estimator)


def test_members_that_the_user_leaves_without_weights():
    with config_context(enable_metadata_routing=True):
        without = RecordingClassifier().set_fit_request(sample_weight=False)
        fitted = fit_weighted(vote(without, RecordingClassifier()), X, Y, WEIGHT)
    assert fitted.estimators_[0].sample_weight_ is None
    np.testing.assert_array_equal(fitted.estimators_[1].sample_weight_, WEIGHT)


def count_right(y, predicted):
    """Score without weights."""
    return float(np.sum(y == predicted))


@pytest.mark.parametrize(
    "estimator",
    [
        search(LogisticRegression(), scoring="roc_auc"),
        search(LogisticRegression(), scoring=["accuracy", "roc_auc"], refit="roc_auc"),
        search(LogisticRegression(), scoring={"mine": make_scorer(accuracy_score)}, refit="mine"),
        search(LogisticRegression(), scoring=make_scorer(count_right)),
        vote(search(LogisticRegression(), scoring="roc_auc"), TREE),
        RidgeClassifierCV(scoring="accuracy"),
        TunedThresholdClassifierCV(LogisticRegression(), cv=2),
    ],
    ids=["name", "names", "dict", "without weights", "in an ensemble", "ridge", "threshold"],
)
def test_scorers_inside_take_the_weights_that_they_can(estimator):
    with config_context(enable_metadata_routing=True):
        fitted = fit_weighted(estimator, X, Y, WEIGHT)
    assert fitted.score(X, Y) > 0.6


@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn")  # of defaults that will change
def test_a_logistic_regression_that_searches():
    with config_context(enable_metadata_routing=True):
        fitted = fit_weighted(LogisticRegressionCV(cv=2), X, Y, WEIGHT)
    assert fitted.score(X, Y) > 0.6


def test_estimators_that_route_nothing_take_weights_without_routing():
    assert hasattr(fit_weighted(AdaBoostClassifier(n_estimators=2), X, Y, WEIGHT), "estimators_")
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(TypeError, match=r"AdaBoostClassifier.*enable_metadata_routing=False"),
    ):
        check_takes_weights(AdaBoostClassifier())


@each_routing
@pytest.mark.parametrize("inner", [None, LinearRegression(), RidgeCV()])
def test_transformed_labels(inner, routing):
    with config_context(enable_metadata_routing=routing):
        fitted = fit_weighted(TransformedTargetRegressor(inner), X, X[:, 0] ** 2, WEIGHT)
    by_hand = clone(inner or LinearRegression()).fit(X, X[:, 0] ** 2, sample_weight=WEIGHT)
    np.testing.assert_allclose(fitted.predict(X), by_hand.predict(X))


def test_what_is_passed_is_not_changed():
    estimator = vote(LogisticRegression(), search(TREE, scoring="roc_auc"))
    before = repr(estimator)
    with config_context(enable_metadata_routing=True):
        fit_weighted(estimator, X, Y, WEIGHT)
        assert estimator.estimators[0][1].get_metadata_routing().fit.requests == {
            "sample_weight": None
        }
    assert repr(estimator) == before
