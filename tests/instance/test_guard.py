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
from sktransfer.instance._adjustment import fit_adjustments
from sktransfer.instance._folds import make_folds
from sktransfer.instance._held_out import Probabilities


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
        classifier = make_classifier(source=source, target_weight=0.1).fit(X, y)
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
    adjustments = classifier.estimator_.adjustments
    assert all(0.1 < adjustment.slope < 10 for adjustment in adjustments)
    expected = sum(
        w * adjustment.apply(members[name].predict_proba(X))
        for (name, w), adjustment in zip(classifier.weights_.items(), adjustments, strict=True)
    )
    np.testing.assert_allclose(classifier.predict_proba(X), expected)
    np.testing.assert_array_equal(
        classifier.predict(X), classifier.classes_[expected.argmax(axis=1)]
    )
    odds = np.log(expected[:, 1] / expected[:, 0])
    np.testing.assert_allclose(classifier.decision_function(X), odds)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(expected))


def draw_labels(logits, rng):
    return (softmax(logits, axis=1).cumsum(axis=1) < rng.random((len(logits), 1))).sum(axis=1)


def test_classes_become_as_frequent_as_in_held_out_rows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 3))
    y = draw_labels(logits + [1.0, 0.0, -1.0], rng)
    probabilities = softmax(logits, axis=1)
    adjustment = fit_adjustments({"one": probabilities}, y, np.ones(5000))[0]["one"]
    np.testing.assert_allclose(adjustment.biases, [1.0, 0.0, -1.0], atol=0.15)
    frequencies = adjustment.apply(probabilities).mean(axis=0)
    np.testing.assert_allclose(frequencies, np.bincount(y) / 5000, atol=0.01)
    few = fit_adjustments({"one": probabilities[:3]}, y[:3], np.ones(3))[0]["one"]
    assert abs(few.biases).max() < 0.5


def test_all_become_equally_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 2))
    y = draw_labels(2 * logits, rng)
    outputs = {"bold": softmax(3 * logits, axis=1), "timid": softmax(0.1 * logits, axis=1)}
    adjustments, _ = fit_adjustments(outputs, y, np.ones(200))
    bold, timid = (adjustments[name].apply(outputs[name]) for name in outputs)
    np.testing.assert_allclose(bold, timid, atol=0.04)
    assert log_loss(y, bold) < min(log_loss(y, each) for each in outputs.values())


def test_a_classifier_that_is_wrong_stays_so():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 2))
    y = draw_labels(3 * logits, rng)
    outputs = {"right": softmax(logits, axis=1), "wrong": softmax(-logits, axis=1)}
    adjustments, _ = fit_adjustments(outputs, y, np.ones(40))
    right, wrong = (log_loss(y, adjustments[name].apply(outputs[name])) for name in outputs)
    assert right < np.log(2) < wrong - 0.5


def test_a_classifier_that_knows_nothing_stays_so():
    y = np.arange(10) % 2
    outputs = {"knows": 0.8 * np.eye(2)[y] + 0.1, "knows nothing": np.full((10, 2), 0.5)}
    adjustments, _ = fit_adjustments(outputs, y, np.ones(10))
    np.testing.assert_allclose(adjustments["knows nothing"].apply(np.full((1, 2), 0.5)), 0.5)
    assert adjustments["knows"].apply(outputs["knows"]).argmax(axis=1).tolist() == y.tolist()


def test_evidence_of_many_classes_is_in_the_units_of_two():
    for n_classes in (2, 10):
        kind, y = Probabilities(np.arange(n_classes)), np.arange(20) % n_classes
        chance = kind.losses(np.full((20, n_classes), 1 / n_classes), y)
        assert kind.log_likelihood(chance, np.ones(20)) == pytest.approx(-20 * np.log(2))


def test_transfer_into_other_class_frequencies():
    rng = np.random.default_rng(1)
    y, y_source = (rng.random(560) < 0.9).astype(int), np.arange(600) % 2
    X, X_source = (rng.normal(size=(len(z), 2)) + z[:, None] for z in (y, y_source))
    source = SourceDomain(X_source, y_source)
    classifier = make_classifier(source=source).fit(X[:60], y[:60])
    pooled = classifier.estimator_.named_estimators_["pooled"]
    assert pooled.predict(X[60:]).mean() < 0.8 < classifier.predict(X[60:]).mean()
    assert classifier.score(X[60:], y[60:]) > pooled.score(X[60:], y[60:]) + 0.05


def test_losses_are_those_of_cross_validation():
    X, y, source = make_domains(40, opposite=True)
    folds = list(StratifiedKFold(4, shuffle=True, random_state=1).split(X, y))
    classifier = make_classifier(source=source, cv=folds)
    with pytest.warns(NegativeTransferWarning):
        classifier.fit(X, y)
    alone = cross_val_predict(
        LogisticRegression(max_iter=1000), X, y, cv=folds, method="predict_proba"
    )
    # Adjusted, and so lower.
    loss = log_loss(y, alone)
    assert 0.5 * loss < classifier.oof_loss_["target_only"] < loss + 0.02


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
