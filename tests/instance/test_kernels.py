"""What kernel methods share: comparable columns, whatever the rows are and their order."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from sktransfer.instance import KLIEP, ULSIF, KernelMeanMatching
from sktransfer.instance._kernels import (
    KernelRows,
    choose_landmarks,
    compute_kernel,
    compute_squared_distances,
    median_squared_distance,
    prepare_rows,
)


def make_rows(seed=0, n_source=30, n_target=20, n_columns=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_source, n_columns)), rng.normal(1, 2, size=(n_target, n_columns))


def stack(rows):
    return np.concatenate([rows.source, rows.target])


def test_columns_are_standardised_over_both_domains():
    rows = prepare_rows(*make_rows(), "KLIEP")
    np.testing.assert_allclose(stack(rows).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(stack(rows).var(axis=0), 1)
    assert abs(rows.source.mean()) > 0.1


def test_order_of_rows_does_not_matter_and_can_be_undone():
    X_source, X_target = make_rows()
    X_source[:10] = X_source[10:20]  # ties
    X_source[:15, 0] = 0.0
    rng = np.random.default_rng(1)
    permuted = rng.permutation(len(X_source))
    rows = prepare_rows(X_source, X_target, "KLIEP")
    again = prepare_rows(X_source[permuted], rng.permutation(X_target), "KLIEP")
    np.testing.assert_array_equal(again.source, rows.source)
    np.testing.assert_array_equal(again.target, rows.target)
    np.testing.assert_array_equal(
        again.in_given_order(again.source[:, 1]), rows.in_given_order(rows.source[:, 1])[permuted]
    )


@pytest.mark.parametrize("n_columns", [3, 40])
def test_rows_that_differ_in_their_last_column_only_are_sorted(n_columns):
    X = np.ones((9, n_columns))
    X[:, -1] = np.random.default_rng(0).permutation(9)
    rows = prepare_rows(X, X[:5], "KLIEP")
    assert (np.diff(rows.source[:, -1]) > 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e-150, 1e150])
def test_scale_of_a_column_does_not_matter(scale):
    X_source, X_target = (np.tanh(X) for X in make_rows())
    rows = prepare_rows(X_source, X_target, "KLIEP")
    factors = np.array([1, scale, 1])
    scaled = prepare_rows(X_source * factors, X_target * factors, "KLIEP")
    np.testing.assert_allclose(stack(scaled), stack(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e8, 1e150])
def test_constant_columns_add_no_distance(value):
    X_source, X_target = make_rows()
    with_constant = [np.c_[X, np.full(len(X), value)] for X in (X_source, X_target)]
    rows = prepare_rows(*with_constant, "KLIEP")
    without = stack(prepare_rows(X_source, X_target, "KLIEP"))
    np.testing.assert_array_equal(stack(rows), np.c_[without, np.zeros(len(without))])


def test_rows_without_any_spread_are_all_in_one_place():
    rows = prepare_rows(np.full((4, 2), 0.1), np.full((3, 2), 0.1), "KLIEP")
    np.testing.assert_array_equal(stack(rows), np.zeros((7, 2)))


def test_order_of_rows_does_not_matter_to_missing_categories():
    rng = np.random.default_rng(0)
    town = rng.choice(np.array(["a", "b", None], dtype=object), size=60)
    X = pd.DataFrame({"town": town, "age": rng.normal(size=60).round(1)})
    permuted = rng.permutation(60)
    rows, again = (prepare_rows(each, X[:20], "KLIEP") for each in (X, X.iloc[permuted]))
    assert rows.source.shape == (60, 4)
    np.testing.assert_array_equal(again.source, rows.source)


@pytest.mark.parametrize("weighting", [KernelMeanMatching(), KLIEP(), ULSIF()])
def test_missing_values_are_an_error_that_says_what_to_do(weighting):
    X = np.eye(4)
    X[1, 1] = np.nan
    message = (
        rf"with missing values \(NaN\) in 2 rows, in the column 1, but {type(weighting).__name__} "
        "compares rows.*impute both domains first, or use DomainClassifierWeighting"
    )
    with pytest.raises(ValueError, match=message):
        weighting.compute_weights(X, X)


def test_kernel_against_distances_by_definition():
    X, centers = make_rows()
    distances = compute_squared_distances(X, centers)
    np.testing.assert_allclose(distances, cdist(X, centers) ** 2)
    np.testing.assert_allclose(
        compute_kernel(distances, 0.3), np.exp(-0.3 * cdist(X, centers) ** 2)
    )
    assert (compute_squared_distances(X, X) >= 0).all()


def test_median_distance():
    rows = KernelRows(np.array([[0.0], [1.0]]), np.array([[0.0], [3.0], [10.0]]), np.arange(2))
    # The nine pairs of distinct rows: 1, 1, 2, 3, 3, 7, 9, 10 and 10.
    assert median_squared_distance(rows, np.random.RandomState(0)) == pytest.approx(9)
    equal = KernelRows(np.ones((3, 1)), np.ones((2, 1)), np.arange(3))
    assert median_squared_distance(equal, np.random.RandomState(0)) == 1


@pytest.mark.parametrize(
    ("n_source", "n_target", "from_target"), [(30, 30, 5), (30, 3, 3), (2, 30, 8), (4, 3, 3)]
)
def test_landmarks_come_from_both_domains(n_source, n_target, from_target):
    rows = KernelRows(np.zeros((n_source, 1)), np.ones((n_target, 1)), np.arange(n_source))
    landmarks = choose_landmarks(rows, 10, np.random.RandomState(0))
    assert landmarks.sum() == from_target
    assert len(landmarks) == min(10, n_source + n_target)
