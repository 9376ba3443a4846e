import sys

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sktransfer import OptimalTransportAlignment, SourceDomain
from sktransfer.feature._optimal_transport_alignment import compute_plan


def problem(n_source=30, n_target=20, seed=0):
    rng = np.random.default_rng(seed)
    X_source, X_target = rng.normal(size=(n_source, 2)), rng.normal(size=(n_target, 2)) + 2
    cost = ((X_source[:, None] - X_target) ** 2).sum(axis=2)
    a, b = rng.uniform(0.5, 2, size=n_source), rng.uniform(0.5, 2, size=n_target)
    return a / a.sum(), b / b.sum(), cost / cost.mean(), rng.integers(3, size=n_source)


@pytest.mark.parametrize("regularization", [0, 5e-3, 0.05, 1.0])
@pytest.mark.parametrize("with_classes", [False, True])
def test_plan_has_the_masses_of_both_domains(regularization, with_classes):
    a, b, cost, labels = problem()
    options = (labels, 0.2) if with_classes and regularization else ()
    plan = compute_plan(a, b, cost, regularization, *options)
    assert (plan >= 0).all()
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-4)
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-3)


def test_plan_without_regularization_is_the_cheapest():
    a, b, cost, _ = problem()
    costs = [(compute_plan(a, b, cost, r) * cost).sum() for r in (0, 0.01, 0.1, 1.0)]
    assert costs == sorted(costs)
    assert costs[0] < costs[1]


def test_rows_far_apart_do_not_break_the_plan():
    a, b, cost, labels = problem()
    cost = cost.copy()
    cost[3] += 1e4
    cost[:, 5] += 1e6
    plan = compute_plan(a, b, cost, 0.01, labels, 0.2)
    assert np.isfinite(plan).all()
    np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-2)


@pytest.mark.parametrize("n_target", [20, 200])
def test_classes_are_kept_apart(n_target):
    """Whatever the number of rows: the penalty is on shares, not on masses."""
    rng = np.random.default_rng(0)
    X_source = np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + [1.5, 0]])
    labels = np.repeat([0, 1], 40)
    X_target = rng.normal(size=(n_target, 2)) + 1
    cost = ((X_source[:, None] - X_target) ** 2).sum(axis=2)
    a, b = np.full(80, 1 / 80), np.full(n_target, 1 / n_target)

    def impurity(plan):
        return np.minimum(plan[:40].sum(axis=0), plan[40:].sum(axis=0)).sum()

    plain = impurity(compute_plan(a, b, cost / cost.mean(), 0.1))
    apart = impurity(compute_plan(a, b, cost / cost.mean(), 0.1, labels, 0.5))
    assert apart < plain / 3


def test_a_permuted_copy_that_moved_is_found():
    rng = np.random.default_rng(0)
    X_source = rng.normal(size=(30, 3))
    order = rng.permutation(30)
    alignment = OptimalTransportAlignment(SourceDomain(X_source), regularization=0)
    alignment.fit(X_source[order] + [5, -2, 0])
    np.testing.assert_allclose(alignment.transform_source(), X_source + [5, -2, 0], atol=1e-9)


def test_target_stays_and_new_source_rows_move_with_the_nearest():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 3
    alignment = OptimalTransportAlignment(SourceDomain(X_source)).fit(X_target)
    np.testing.assert_array_equal(alignment.transform(X_target), X_target)
    near = X_source + 1e-6
    np.testing.assert_allclose(
        alignment.transform_source(near), alignment.transform_source() + 1e-6, atol=1e-9
    )


def test_aligned_rows_are_means_of_target_rows():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(30, 2)) * 10, rng.uniform(size=(20, 2))
    aligned = OptimalTransportAlignment(SourceDomain(X_source)).fit(X_target).transform_source()
    assert (aligned >= X_target.min(axis=0) - 1e-9).all()
    assert (aligned <= X_target.max(axis=0) + 1e-9).all()
    np.testing.assert_allclose(aligned.mean(axis=0), X_target.mean(axis=0), atol=1e-3)


def test_float_labels_are_no_classes():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    labels = rng.integers(2, size=30)
    plain, numbers, classes = (
        OptimalTransportAlignment(SourceDomain(X_source, y)).fit(X_target).source_
        for y in (None, labels.astype(float), labels)
    )
    np.testing.assert_array_equal(numbers, plain)
    assert np.abs(classes - plain).max() > 0.01


def test_classes_need_regularization():
    source = SourceDomain(np.eye(3), ["a", "b", "b"])
    with pytest.raises(ValueError, match="expected regularization > 0, without which"):
        OptimalTransportAlignment(source, regularization=0).fit(np.eye(3))


def test_a_plan_that_is_not_found_is_told(monkeypatch):
    module = sys.modules["sktransfer.feature._optimal_transport_alignment"]
    monkeypatch.setattr(module, "MOST_ITERATIONS", 1)
    rng = np.random.default_rng(0)
    source = SourceDomain(rng.normal(size=(30, 2)))
    with pytest.warns(ConvergenceWarning, match="misses the target by") as caught:
        OptimalTransportAlignment(source, regularization=0.01).fit(rng.normal(size=(20, 2)) * 3)
    assert caught[0].filename == __file__


def test_without_pot(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)  # codespell:ignore ot
    alignment = OptimalTransportAlignment(SourceDomain(np.eye(3)))
    with pytest.raises(ImportError, match=r'pip install "sktransfer\[alignment\]"'):
        alignment.fit(np.eye(3))
