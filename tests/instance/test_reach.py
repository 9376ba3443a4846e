"""Source rows beyond the target: left out where that is no chance, whatever the rows are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import ULSIF, KernelMeanMatching
from sktransfer.instance import _reach as module
from sktransfer.instance._reach import prepare_rows_within_reach

LEAST_SQUARES = [
    ULSIF(random_state=0),
    ULSIF(alpha=0.2, random_state=0),
    KernelMeanMatching(random_state=0),
]
each_method = pytest.mark.parametrize("weighting", LEAST_SQUARES, ids=repr)


def make_narrow_target(n_columns, n_source=1000, n_target=500, seed=0):
    """Return a wide source, a target in the middle of it, and their log ratio."""
    rng = np.random.default_rng(seed)
    X_source = 2 * rng.normal(size=(n_source, n_columns))
    X_target = 0.5 * rng.normal(size=(n_target, n_columns))
    log_ratio = n_columns * np.log(4) - 0.5 * (X_source**2).sum(axis=1) * (4 - 0.25)
    return X_source, X_target, log_ratio


@each_method
@pytest.mark.parametrize("n_target", [500, 50])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_no_weight_comes_back_far_from_the_target(weighting, n_columns, n_target):
    for seed in range(2):
        X_source, X_target, _ = make_narrow_target(n_columns, n_target=n_target, seed=seed)
        weights = clone(weighting).compute_weights(X_source, X_target)
        size = np.linalg.norm(X_source, axis=1)
        assert weights[size > 2 * np.linalg.norm(X_target, axis=1).max()].max() == 0
        nearest = np.argsort(size)[: 1000 // 4**n_columns]
        assert weights[nearest].mean() > 2


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize(
    ("weighting", "most"), [(ULSIF(random_state=0), 0.6), (KernelMeanMatching(random_state=0), 0.7)]
)
def test_many_far_rows_do_not_take_the_weight(weighting, most):
    """Without leaving them out, two thirds of the weight, and an error of 0.7 and 0.9."""
    errors = []
    for seed in range(3):
        X_source, X_target, log_ratio = make_narrow_target(5, n_target=50, seed=seed)
        weights = weighting.compute_weights(X_source, X_target)
        ratio = np.exp(log_ratio)
        ratio /= ratio.mean()
        errors.append(np.sum((weights - ratio) ** 2) / np.sum(ratio**2))
    assert np.mean(errors) < most


@each_method
def test_the_level_of_the_ratio_is_that_over_all_source_rows(weighting):
    X_source, X_target, log_ratio = make_narrow_target(1, n_source=2000, n_target=1000)
    weighting = clone(weighting)
    weighting.compute_weights(X_source, X_target)
    near = np.abs(X_source[:, 0]) < 0.3
    alpha = getattr(weighting, "alpha", 0)
    expected = np.exp(log_ratio[near])
    expected = expected / (alpha * expected + 1 - alpha)
    found = np.exp(weighting.log_ratio_[near])
    assert found.mean() == pytest.approx(expected.mean(), rel=0.1)


@pytest.mark.parametrize(("n_source", "n_target"), [(1000, 1000), (2000, 20), (30, 1000), (3, 2)])
@pytest.mark.parametrize("n_columns", [2, 10])
def test_no_row_is_left_out_without_shift(n_source, n_target, n_columns):
    for seed in range(5):
        domains = make_covariate_shift(
            n_source, n_target, n_columns, kind="variance", shift=0, random_state=seed
        )
        reach = prepare_rows_within_reach(domains.X_source, domains.X_target, "ULSIF")
        assert reach.share == 1


def test_domains_apart_keep_all_rows():
    rng = np.random.default_rng(0)
    reach = prepare_rows_within_reach(
        rng.normal(size=(50, 2)), rng.normal(size=(40, 2)) + 20, "ULSIF"
    )
    assert reach.share == 1


def test_rows_are_put_back_in_the_order_in_which_they_came():
    X_source, X_target, _ = make_narrow_target(2)
    frames = [pd.DataFrame(X, columns=["a", "b"]) for X in (X_source, X_target)]
    for rows in ((X_source, X_target), frames):
        reach = prepare_rows_within_reach(*rows, "ULSIF")
        assert 0 < reach.share < 0.6
        first = reach.in_given_order(reach.rows.source[:, 0])
        left_out = np.isneginf(first)
        assert left_out.mean() == pytest.approx(1 - reach.share)
        assert np.corrcoef(first[~left_out], X_source[~left_out, 0])[0, 1] == pytest.approx(1)
        kept = np.concatenate([reach.rows.source, reach.rows.target])
        np.testing.assert_allclose(kept.std(axis=0), 1)


def test_chunks_make_no_difference(monkeypatch):
    X_source, X_target, _ = make_narrow_target(2, 300, 150)
    before = prepare_rows_within_reach(X_source, X_target, "ULSIF").kept
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    after = prepare_rows_within_reach(X_source, X_target, "ULSIF").kept
    np.testing.assert_array_equal(after, before)


def test_the_bound_of_kernel_mean_matching_holds():
    X_source, X_target, _ = make_narrow_target(2)
    free = KernelMeanMatching(random_state=0).compute_weights(X_source, X_target)
    for bound in (1.0, 2.0, 5.0):
        weights = KernelMeanMatching(bound=bound, random_state=0).compute_weights(
            X_source, X_target
        )
        assert free.max() > 6 > bound + 1e-9 >= weights.max()
        assert weights.mean() == pytest.approx(1)
