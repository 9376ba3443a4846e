"""LabelShiftWeighting: the true ratio of class shares, and what it does without any."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from sktransfer.instance import LabelShiftWeighting

CENTRES = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
NAMES = np.array(["low", "middle", "high"])
SOURCE_SHARES, TARGET_SHARES = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])


def draw(n_rows, shares, seed):
    rng = np.random.default_rng(seed)
    y = rng.choice(len(shares), n_rows, p=shares)
    return rng.normal(size=(n_rows, 3)) + CENTRES[y], NAMES[y]


def weigh(weighting, *, n_source=600, n_target=500, shares=TARGET_SHARES, seed=0):
    X_source, y_source = draw(n_source, SOURCE_SHARES, 2 * seed)
    X_target, _ = draw(n_target, shares, 2 * seed + 1)
    return weighting.compute_weights(X_source, X_target, y_source=y_source), y_source


@pytest.mark.parametrize("method", ["em", "bbse"])
@pytest.mark.parametrize(("n_source", "n_target"), [(600, 500), (600, 100), (200, 500)])
def test_weights_follow_the_true_ratio_of_shares(method, n_source, n_target):
    weighting = LabelShiftWeighting(LogisticRegression(), method=method, random_state=0)
    weights, y = weigh(weighting, n_source=n_source, n_target=n_target)
    ratio = dict(zip(NAMES, TARGET_SHARES / SOURCE_SHARES, strict=True))
    expected = np.array([ratio[label] for label in y])
    expected /= expected.mean()
    most = {"em": 0.15, "bbse": 0.3}[method]
    assert np.mean((weights - expected) ** 2) < most * np.mean((1 - expected) ** 2)
    assert weighting.classes_.tolist() == ["high", "low", "middle"]
    shares = dict(zip(weighting.classes_, weighting.target_shares_, strict=True))
    assert shares["high"] == pytest.approx(0.6, abs=0.2)
    assert weighting.target_shares_.sum() == pytest.approx(1)
    # The weight of a row is that of its class.
    assert all(np.ptp(weights[y == label]) == 0 for label in NAMES)


def test_default_classifiers():
    weighting = LabelShiftWeighting(random_state=0)
    weigh(weighting, n_source=200, n_target=100)
    assert weighting.target_shares_[0] == pytest.approx(0.6, abs=0.15)
    assert weighting.classifier_ is not None


def test_calibration_mends_a_classifier_that_is_too_sure():
    sure = LogisticRegression(C=1e6, class_weight={0: 20, 1: 1, 2: 1})
    errors = []
    for calibrate in (True, False):
        weighting = LabelShiftWeighting(sure, calibrate=calibrate, random_state=0)
        weigh(weighting)
        errors.append(np.abs(weighting.target_shares_ - TARGET_SHARES[[2, 0, 1]]).max())
    assert errors[0] < 0.06 < errors[1]


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_without_label_shift_most_weights_are_equal(method):
    sizes = []
    for seed in range(8):
        weighting = LabelShiftWeighting(LogisticRegression(), method=method, random_state=0)
        weigh(weighting, n_source=300, n_target=300, shares=SOURCE_SHARES, seed=seed)
        sizes.append(weighting.effective_sample_size_)
    assert np.median(sizes) == pytest.approx(300)
    assert min(sizes) > 250


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_a_classifier_that_cannot_tell_changes_nothing(method):
    rng = np.random.default_rng(0)
    weighting = LabelShiftWeighting(LogisticRegression(), method=method, random_state=0)
    weights = weighting.compute_weights(
        rng.normal(size=(200, 3)), rng.normal(size=(150, 3)), y_source=np.arange(200) % 3
    )
    np.testing.assert_allclose(weights, np.ones(200))


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_class_that_the_target_lacks(method):
    weighting = LabelShiftWeighting(LogisticRegression(), method=method, random_state=0)
    weights, y = weigh(weighting, shares=[0.0, 0.4, 0.6])
    assert weights[y == "low"].mean() < 0.15
    assert weights[y == "high"].mean() > 2


def test_labels_of_the_target_are_counted():
    X, y = np.zeros((8, 1)), np.repeat(["a", "b"], 4)
    target, y_target = np.zeros((10, 1)), np.repeat(["a", "b", "c"], [6, 2, 2])
    weighting = LabelShiftWeighting(smoothing=0)
    weights = weighting.compute_weights(X, target, y_source=y, y_target=y_target)
    # "c" has no source rows, so 6 and 2 are all there is.
    np.testing.assert_allclose(weighting.target_shares_, [0.75, 0.25])
    np.testing.assert_allclose(weights, np.repeat([1.5, 0.5], 4))
    assert weighting.classifier_ is None
    weighting.set_params(smoothing=2.0)
    weighting.compute_weights(X, target, y_source=y, y_target=y_target)
    np.testing.assert_allclose(weighting.target_shares_, [0.7, 0.3])


@pytest.mark.parametrize("smoothing", [0, 1])
def test_domains_without_a_common_class(smoothing):
    weights = LabelShiftWeighting(smoothing=smoothing).compute_weights(
        np.zeros((3, 1)), np.zeros((2, 1)), y_source=[1, 1, 2], y_target=[3, 4]
    )
    np.testing.assert_allclose(weights, np.ones(3))


def test_labels_of_different_kinds():
    with pytest.raises(ValueError, match="source labels that are numbers.*expected text"):
        LabelShiftWeighting().compute_weights(
            np.zeros((2, 1)), np.zeros((2, 1)), y_source=[0, 1], y_target=["0", "1"]
        )


@pytest.mark.parametrize("y_source", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 1], [0, 0, 1, 1]])
@pytest.mark.parametrize("method", ["em", "bbse"])
def test_few_rows(method, y_source):
    X = np.arange(8.0).reshape(4, 2)
    weights = LabelShiftWeighting(method=method).compute_weights(X, X[:1], y_source=y_source)
    assert np.isfinite(weights).all() and weights.mean() == pytest.approx(1)


def test_tables_with_categories_and_missing_values():
    rng = np.random.default_rng(0)

    def make(n_rows, share_ill):
        ill = rng.random(n_rows) < share_ill
        age = np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows) + 2 * ill)
        symptom = np.where(ill ^ (rng.random(n_rows) < 0.15), "cough", "none")
        return pd.DataFrame({"age": age, "symptom": symptom}), ill

    source, ill = make(300, 0.5)
    target, _ = make(300, 0.1)
    weighting = LabelShiftWeighting(random_state=0)
    weights = weighting.compute_weights(source, target, y_source=ill)
    assert weights[ill].mean() == pytest.approx(0.2, abs=0.15)


@pytest.mark.parametrize(
    ("parameters", "y", "error", "message"),
    [
        ({"method": "mle"}, [0, 1, 1], ValueError, "Got method='mle', but expected one of 'em'"),
        ({"cv": 1}, [0, 1, 1], ValueError, "Got cv=1, but expected an integer >= 2"),
        ({"smoothing": -1}, [0, 1, 1], ValueError, "Got smoothing=-1"),
        ({"classifier": SVC()}, [0, 1, 1], TypeError, "classifier=SVC.*CalibratedClassifierCV"),
        ({}, [0.5, 1.25, 2.5], ValueError, "y_source with floats such as.*expected classes"),
        ({}, None, ValueError, "Got y_source=None, but LabelShiftWeighting needs the labels"),
    ],
)
def test_bad_parameters(parameters, y, error, message):
    with pytest.raises(error, match=message):
        LabelShiftWeighting(**parameters).compute_weights(np.eye(3), np.eye(3), y_source=y)


def test_bound_on_the_rows_of_a_fit_keeps_the_shares():
    counts = []

    class CountingClassifier(LogisticRegression):
        def fit(self, X, y):
            counts.append(np.bincount(y))
            return super().fit(X, y)

    weighting = LabelShiftWeighting(CountingClassifier(), max_fit_rows=100, random_state=0)
    weights, y = weigh(weighting)
    assert len(counts) == 6 and all(count.sum() == 100 for count in counts)
    shares = np.unique(y, return_counts=True)[1] / len(y)
    np.testing.assert_allclose(np.array(counts) / 100, np.tile(shares, (6, 1)), atol=0.03)
    assert weights[y == "high"].mean() > 2
