"""What holds for every method, and what `transferability_score` says to wrong input."""

import numpy as np
import pandas as pd
import pytest

from sktransfer import transferability_score
from sktransfer.evaluation import (
    LEEP,
    NCE,
    HScore,
    KNNProbe,
    LogME,
    RidgeProbe,
    TransferabilityMethod,
)

NAMES = ("knn", "ridge", "logme", "hscore", "leep", "nce")
OBJECTS = [
    KNNProbe(3),
    KNNProbe(center=False),
    RidgeProbe(alphas=[0.1, 1.0]),
    LogME(center=False),
    HScore(shrinkage=0.0),
    HScore(shrinkage=0.3),
    LEEP(leave_one_out=True),
    NCE(leave_one_out=True),
]
METHODS = [*NAMES, *OBJECTS]
OF_FEATURES = [m for m in METHODS if m not in ("leep", "nce") and not isinstance(m, LEEP | NCE)]
FOR_NUMBERS = ["knn", "ridge", "logme", "hscore"]


def draw(n=60, d=20, n_classes=3, signal=2.0, seed=0):
    """Classes whose means lie apart; with ``signal=0`` features say nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    means = rng.normal(size=(n_classes, d))
    return rng.normal(size=(n, d)) + signal * means[y], y


def as_probabilities(F):
    weights = np.exp(F - F.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def input_of(method, F):
    takes_proba = method in ("leep", "nce") or isinstance(method, LEEP | NCE)
    return as_probabilities(F) if takes_proba else F


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_features_that_tell_the_classes_score_higher_than_those_that_do_not(method):
    # Enough rows for the scores that are not shrunken.
    (F, y), (noise, _) = draw(n=300), draw(n=300, signal=0.0)
    good = transferability_score(input_of(method, F), y, method=method)
    bad = transferability_score(input_of(method, noise), y, method=method)
    assert isinstance(good, float)
    assert good > bad


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_order_of_rows_and_names_of_classes_do_not_matter(method):
    F, y = draw(signal=0.3)
    F = input_of(method, F)
    order = np.random.default_rng(1).permutation(len(y))
    expected = transferability_score(F, y, method=method)
    names = np.array(["wasp", "ant", "bee"])
    assert transferability_score(F[order], names[y[order]], method=method) == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize("factor", [1e-3, 100.0, 1e180])
@pytest.mark.parametrize("method", OF_FEATURES, ids=str)
def test_scale_of_features_does_not_matter(method, factor):
    F, y = draw(signal=0.3)
    expected = transferability_score(F, y, method=method)
    assert transferability_score(F * factor, y, method=method) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize(
    ("n", "d", "n_classes"), [(2, 1, 2), (4, 1, 2), (6, 50, 3), (5, 8, 3), (40, 40, 2)]
)
def test_few_rows_and_many_columns_give_a_number(method, n, d, n_classes):
    F, y = draw(n, d, n_classes)
    assert np.isfinite(transferability_score(input_of(method, F), y, method=method))


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("value", [0.0, 0.1, 7.3])
def test_features_that_are_all_equal_give_a_number(method, value):
    F, y = np.full((30, 4), value), np.arange(30) % 3
    assert np.isfinite(transferability_score(input_of(method, F), y, method=method))


@pytest.mark.parametrize("method", ["knn", "ridge"])
def test_without_information_accuracy_is_no_better_than_the_largest_class(method):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [75, 25])
    share = transferability_score(rng.normal(size=(100, 400)), y, method=method)
    assert share <= 0.8
    assert transferability_score(np.ones((100, 3)), y, method=method) <= 0.75


# Not shrunken H-scores, which shrink towards one variance for all columns.
@pytest.mark.parametrize("method", ["knn", "ridge", "logme", HScore(shrinkage=0.0)], ids=str)
def test_columns_of_zeros_do_not_matter(method):
    """They are d - n singular values more that are zero."""
    F, y = draw(n=30, d=10, signal=0.3)
    wide = np.hstack([F, np.zeros((30, 90))])
    expected = transferability_score(F, y, method=method)
    assert transferability_score(wide, y, method=method) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("method", FOR_NUMBERS)
def test_numbers(method):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(100, 8))
    y = F[:, 0] + 0.1 * rng.normal(size=100)
    score = transferability_score(F, y, method=method)
    assert score > transferability_score(rng.normal(size=(100, 8)), y, method=method)
    # Their unit and their zero do not matter.
    assert transferability_score(F, 1000 * y + 5, method=method) == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize("method", FOR_NUMBERS)
def test_several_columns_of_numbers(method):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(50, 5))
    Y = F[:, :2] + 0.1 * rng.normal(size=(50, 2))
    assert np.isfinite(transferability_score(F, Y, method=method))
    one = transferability_score(F, Y[:, 0], method=method)
    assert transferability_score(F, Y[:, :1], method=method) == one


@pytest.mark.parametrize("method", ["knn", "ridge"])
def test_r2_without_features_is_zero(method):
    y = np.random.default_rng(0).normal(size=50) + 100
    if method == "ridge":
        assert transferability_score(np.ones((50, 3)), y, method=method) == pytest.approx(0)
    else:
        everyone = KNNProbe(49)
        assert transferability_score(np.ones((50, 3)), y, method=everyone) == pytest.approx(0)


def test_whole_numbers_are_classes_unless_told_otherwise():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 3))
    y = np.round(3 * F[:, 0]).astype(int)
    as_classes = transferability_score(F, y, method="ridge")
    as_numbers = transferability_score(F, y, method="ridge", task="regression")
    assert as_numbers > 0.9 > as_classes


@pytest.mark.parametrize("method", ["leep", "nce"])
def test_methods_for_classes_refuse_numbers(method):
    proba = as_probabilities(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(ValueError, match=r"is for classes"):
        transferability_score(proba, np.linspace(0, 1, 20), method=method)


@pytest.mark.parametrize("method", ["leep", "nce"])
def test_features_in_place_of_probabilities_are_refused(method):
    F, y = draw()
    with pytest.raises(ValueError, match=r"output='proba'"):
        transferability_score(F, y, method=method)


def test_unknown_method_suggests_a_near_one():
    F, y = draw()
    with pytest.raises(ValueError, match=r"Got method='logm', .* Did you mean 'logme'\?"):
        transferability_score(F, y, method="logm")


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "y=None"),
        (np.zeros(60, dtype=int), "one class"),
        (np.full(60, 0.5), "equal numbers"),
        (np.where(np.arange(60) == 3, np.nan, 0.5), "1 missing"),
        (np.eye(3, dtype=int)[np.arange(60) % 3], "task='regression'"),
        (np.arange(59), "inconsistent numbers of samples"),
    ],
)
def test_labels_that_cannot_be_scored(y, match):
    F, _ = draw()
    with pytest.raises(ValueError, match=match):
        transferability_score(F, y)


def test_features_that_cannot_be_scored():
    F, y = draw()
    with pytest.raises(ValueError, match="NaN"):
        transferability_score(np.where(F > 2, np.nan, F), y)
    with pytest.raises(ValueError, match="pool the activations"):
        transferability_score(F.reshape(60, 5, 2, 2), y)


@pytest.mark.parametrize(
    ("method", "match"),
    [
        (KNNProbe(0), "n_neighbors=0"),
        (KNNProbe(temperature=0), "temperature=0"),
        (KNNProbe(center="yes"), "center='yes'"),
        (LogME(center=2), "center=2"),
        (RidgeProbe(alphas=[0.0, 1.0]), "alphas="),
        (RidgeProbe(alphas=1.0), "alphas="),
        (HScore(shrinkage=2), "shrinkage=2"),
        (LEEP(leave_one_out="yes"), "leave_one_out='yes'"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense(method, match):
    F, y = draw()
    with pytest.raises(ValueError, match=match):
        transferability_score(input_of(method, F), y, method=method)


def test_frames_and_float32_are_taken_and_nothing_is_changed():
    F, y = draw()
    F = F.astype(np.float32)
    before = F.copy()
    for method in ("knn", "ridge", "logme", "hscore"):
        score = transferability_score(F, y, method=method)
        assert transferability_score(pd.DataFrame(F), pd.Series(y), method=method) == score
    np.testing.assert_array_equal(F, before)


def test_a_method_of_the_users_own():
    class Spread(TransferabilityMethod):
        def _score(self, F, targets):
            return float(F.std() * len(targets.columns))

    F, y = draw()
    assert transferability_score(F, y, method=Spread()) == pytest.approx(F.std() * 60)
