"""The guard: what it compares, what it chooses, and what it says."""

import warnings

import numpy as np
import pytest
from joblib import parallel_config
from scipy.special import softmax
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sktransfer.domain import SourceDomain
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.instance import (
    BaseWeighting,
    InstanceTransferClassifier,
    InstanceTransferRegressor,
)
from sktransfer.instance._folds import make_folds
from sktransfer.instance._temperature import apply_temperature, fit_temperature


class EqualWeighting(BaseWeighting):
    """Give all source rows the same weight: quick, and known."""

    def _compute_log_weights(self, X_source, X_target):
        return np.zeros(len(X_source))


def make_domains(n_target=40, *, opposite=False, seed=0):
    """Two classes along the first column; the labels of the source may be the wrong ones."""
    rng = np.random.default_rng(seed)
    X, X_source = rng.normal(size=(n_target, 3)), rng.normal(size=(200, 3))
    y, y_source = ((Z[:, 0] + 0.3 * rng.normal(size=len(Z)) > 0).astype(int) for Z in (X, X_source))
    return X, y, SourceDomain(X_source, 1 - y_source if opposite else y_source)


def make_classifier(estimator=None, **parameters):
    return InstanceTransferClassifier(
        estimator, **{"weighting": EqualWeighting(), "random_state": 0, **parameters}
    )


@pytest.mark.parametrize("estimator", [None, LinearSVC()], ids=["probabilities", "classes"])
def test_opposite_source_warns_and_falls_back(estimator):
    X, y, source = make_domains(opposite=True)
    classifier = make_classifier(estimator, source=source, target_weight=0.1)
    with pytest.warns(NegativeTransferWarning, match=r"Transfer loses: the held-out .* has weight"):
        classifier.fit(X, y)
    assert classifier.strategy_ == "target_only"
    assert classifier.weights_ == {"target_only": 1.0}
    gain = classifier.transfer_gain_["target_only"]
    assert gain.mean < -gain.standard_error < 0
    alone = clone(LogisticRegression(max_iter=1000) if estimator is None else estimator).fit(X, y)
    np.testing.assert_array_equal(classifier.estimator_.coef_, alone.coef_)
    assert set(classifier.oof_loss_) == {"target_only", "pooled", "weighted"}


def test_warning_names_the_numbers_and_the_line_of_the_user():
    X, y, source = make_domains(opposite=True)
    with pytest.warns(NegativeTransferWarning) as record:
        classifier = make_classifier(source=source).fit(X, y)
    assert record[0].filename == __file__
    message, gain = str(record[0].message), classifier.transfer_gain_["target_only"]
    for number in (f"{classifier.oof_loss_['target_only']:.3f}", str(gain), "weight 1.00"):
        assert number in message


def test_the_same_concept_is_transferred():
    X, y, source = make_domains(20)
    classifier = make_classifier(source=source).fit(X, y)
    assert classifier.transfer_gain_["target_only"].mean > 0
    assert classifier.weights_.get("target_only", 0) < 0.4
    assert sum(classifier.weights_.values()) == pytest.approx(1)
    assert min(classifier.weights_.values()) >= 0.1
    candidates = {"target_only", "pooled", "weighted", "weighted_pool"}
    assert set(classifier.weights_) <= candidates < set(classifier.oof_loss_)


def test_opposite_source_without_the_guard():
    X, y, source = make_domains(opposite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = make_classifier(source=source, fallback=None).fit(X, y)
    assert classifier.strategy_ == "weighted"
    assert classifier.oof_loss_ == classifier.transfer_gain_ == {}


def test_an_average_is_that_of_its_members():
    X, y, source = make_domains(20)
    classifier = make_classifier(source=source).fit(X, y)
    assert classifier.strategy_ == "average"
    members = classifier.estimator_.named_estimators_
    assert list(members) == list(classifier.weights_)
    temperatures = classifier.estimator_.temperatures
    assert all(0.1 < temperature < 10 for temperature in temperatures)
    expected = sum(
        w * apply_temperature(members[name].predict_proba(X), temperature)
        for (name, w), temperature in zip(classifier.weights_.items(), temperatures, strict=True)
    )
    np.testing.assert_allclose(classifier.predict_proba(X), expected)
    np.testing.assert_array_equal(
        classifier.predict(X), classifier.classes_[expected.argmax(axis=1)]
    )
    odds = np.log(expected[:, 1] / expected[:, 0])
    np.testing.assert_allclose(classifier.decision_function(X), odds)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(expected))


@pytest.mark.parametrize("sureness", [0.4, 1.0, 2.5])
def test_temperature_undoes_false_sureness(sureness):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 3))
    proba = softmax(logits, axis=1)
    y = (proba.cumsum(axis=1) < rng.random((5000, 1))).sum(axis=1)
    too_sure = softmax(sureness * logits, axis=1)

    def loss(probabilities):
        return -np.log(probabilities[np.arange(5000), y]).sum()

    temperature = fit_temperature(too_sure, loss)
    assert temperature == pytest.approx(sureness, rel=0.15)
    assert loss(apply_temperature(too_sure, temperature)) < loss(too_sure) + 1e-6
    np.testing.assert_array_equal(
        apply_temperature(too_sure, temperature).argmax(axis=1), too_sure.argmax(axis=1)
    )
    few = fit_temperature(too_sure[:5], lambda p: -np.log(p[np.arange(5), y[:5]]).sum())
    assert abs(np.log(few)) < abs(np.log(sureness)) + 0.5


def test_losses_are_those_of_cross_validation():
    X, y, source = make_domains(40, opposite=True)
    folds = list(StratifiedKFold(4, shuffle=True, random_state=1).split(X, y))
    classifier = make_classifier(source=source, cv=folds)
    with pytest.warns(NegativeTransferWarning):
        classifier.fit(X, y)
    alone = cross_val_predict(
        LogisticRegression(max_iter=1000), X, y, cv=folds, method="predict_proba"
    )
    # Calibrated, and so a little lower.
    loss = log_loss(y, alone)
    assert 0.8 * loss < classifier.oof_loss_["target_only"] < loss + 0.02


def test_same_seed_same_result_in_parallel():
    X, y, source = make_domains(20)
    classifier = make_classifier(source=source, cv=3)
    with parallel_config(backend="threading"):
        one, two = (clone(classifier).set_params(n_jobs=n).fit(X, y) for n in (None, 2))
    assert one.weights_ == two.weights_ and one.oof_loss_ == two.oof_loss_
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_members_whose_classes_differ():
    X, y, source = make_domains(40)
    y_source = np.where(source.X[:, 1] > 1.5, 2, source.y)
    classifier = make_classifier(source=SourceDomain(source.X, y_source), cv=3).fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, [0, 1, 2])
    proba = classifier.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert classifier.decision_function(X).shape == (40, 3)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (slice(None), np.zeros(40, dtype=int)),  # a constant would beat everything
        (slice(2), np.array([0, 1])),  # no class has two rows
    ],
)
def test_no_comparison_where_nothing_can_be_held_out(rows, labels):
    X, _, source = make_domains()
    classifier = make_classifier(source=source).fit(X[rows], labels)
    assert classifier.strategy_ == "weighted" and classifier.oof_loss_ == {}


def test_folds_keep_the_only_row_of_a_class_and_hold_out_each_other_row():
    y = np.array([0] * 7 + [1] * 5 + [2])
    X = np.zeros((13, 1))
    folds = make_folds(5, X, y, by_class=True, random_state=np.random.RandomState(0))
    assert len(folds) == 15
    for train, test in folds:
        assert 12 in train and not set(train) & set(test)
        assert sorted([*train, *test]) == list(range(13))
        assert np.bincount(y[test], minlength=2).max() <= 2
    counts = np.bincount(np.concatenate([test for _, test in folds]), minlength=13)
    assert list(counts) == [3] * 12 + [0]
    assert (
        len(
            make_folds(
                5,
                np.zeros(100),
                np.arange(100) % 2,
                by_class=True,
                random_state=np.random.RandomState(0),
            )
        )
        == 5
    )
    splitter = KFold(3)
    assert len(make_folds(splitter, X, y, by_class=True, random_state=None)) == 3


def test_an_estimator_that_fails_in_a_fold_says_where():
    class Picky(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            if len(X) < 35:
                raise ValueError("too few rows")
            return super().fit(X, y, sample_weight)

    X, y, source = make_domains()
    with pytest.raises(ValueError, match="too few rows") as error:
        make_classifier(Picky(), source=source).fit(X, y)
    assert "While 'target_only' was fitted to 32 target rows" in error.value.__notes__[0]


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.NegativeTransferWarning")
def test_row_weights_count_in_the_comparison():
    X, y, source = make_domains(60)
    y[:30] = 1 - y[:30]  # half of the target agrees with the source, the other half does not
    classifier = make_classifier(source=source, cv=3)
    heavy = np.arange(60) < 30
    disagreeing, agreeing = (
        clone(classifier)
        .fit(X, y, sample_weight=np.where(rows, 1.0, 0.01))
        .transfer_gain_["target_only"]
        .mean
        for rows in (heavy, ~heavy)
    )
    assert disagreeing < 0 < agreeing + 0.05


def test_random_estimators_and_pipelines():
    X, y, source = make_domains(20)
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
    fitted = make_classifier(forest, source=source, cv=2).fit(X, y)
    assert fitted.score(X, y) > 0.7


def make_numbers(n_target=30, *, opposite=False):
    rng = np.random.default_rng(0)
    X, X_source = rng.normal(size=(n_target, 3)), rng.normal(size=(200, 3))
    y, y_source = (Z @ [1.0, 2.0, 0.0] + 0.1 * rng.normal(size=len(Z)) for Z in (X, X_source))
    return X, y, SourceDomain(X_source, -y_source if opposite else y_source)


def test_regressor_transfers_or_falls_back():
    X, y, source = make_numbers(10)
    regressor = InstanceTransferRegressor(source=source, weighting=EqualWeighting(), random_state=0)
    regressor.fit(X, y)
    assert regressor.transfer_gain_["target_only"].mean > 0
    assert "target_only" not in regressor.weights_
    X, y, opposite = make_numbers(opposite=True)
    regressor.set_params(source=opposite)
    with pytest.warns(NegativeTransferWarning, match="held-out squared error"):
        regressor.fit(X, y)
    np.testing.assert_allclose(regressor.predict(X), Ridge().fit(X, y).predict(X))


def test_regressor_averages_predictions():
    X, y, source = make_numbers(10)
    y = y + 0.3 * X[:, 2]
    regressor = InstanceTransferRegressor(source=source, weighting=EqualWeighting(), random_state=0)
    regressor.fit(X, y)
    members = (
        regressor.estimator_.named_estimators_
        if regressor.strategy_ == "average"
        else {regressor.strategy_: regressor.estimator_}
    )
    expected = sum(w * members[name].predict(X) for name, w in regressor.weights_.items())
    np.testing.assert_allclose(regressor.predict(X), expected)
