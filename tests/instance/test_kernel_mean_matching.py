"""KernelMeanMatching: the exact program, and the ratio that it is meant to follow."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from sklearn.exceptions import ConvergenceWarning

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import KernelMeanMatching
from sktransfer.instance import _kernel_mean_matching as module
from sktransfer.instance._kernel_mean_matching import _project
from sktransfer.instance._kernels import compute_kernel, compute_squared_distances, prepare_rows


def normalized_error(weights, log_ratio):
    ratio = np.exp(log_ratio)
    ratio /= ratio.mean()
    return np.mean((weights - ratio) ** 2) / np.mean(ratio**2)


def solve_exactly(X_source, X_target, gamma, ridge, bound):
    rows = prepare_rows(X_source, X_target, "KernelMeanMatching")
    n = len(X_source)

    def kernel(A, B):
        return compute_kernel(compute_squared_distances(A, B), gamma)

    P = kernel(rows.source, rows.source) / n**2 + ridge / n * np.eye(n)
    q = -kernel(rows.source, rows.target).mean(axis=1) / n - ridge / n
    solution = minimize(
        lambda w: n * (0.5 * w @ P @ w + q @ w),
        np.ones(n),
        jac=lambda w: n * (P @ w + q),
        bounds=[(0, bound)] * n,
        constraints=LinearConstraint(np.ones((1, n)) / n, 1, 1),
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    return rows.in_given_order(solution.x)


@pytest.mark.parametrize(("n_source", "n_target"), [(40, 40), (40, 15), (15, 40)])
@pytest.mark.parametrize("bound", [1.5, 4.0, 50.0])
@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_solves_the_quadratic_program(n_source, n_target, bound, ridge, monkeypatch):
    monkeypatch.setattr(module, "MOST_WITHIN_REACH", 0)  # all rows, as in the paper
    domains = make_covariate_shift(n_source, n_target, shift=1.5, random_state=0)
    rows = domains.X_source, domains.X_target
    weighting = KernelMeanMatching(gamma=0.5, ridge=ridge, bound=bound, tol=1e-10, random_state=0)
    weights = weighting.compute_weights(*rows)
    assert weights.max() <= bound + 1e-9
    assert weighting.n_iter_ < 20
    np.testing.assert_allclose(weights, solve_exactly(*rows, 0.5, ridge, bound), atol=1e-4)


def test_bounds_are_active_where_they_should_be():
    domains = make_covariate_shift(200, 200, shift=2.5, random_state=0)
    weighting = KernelMeanMatching(ridge=1e-3, bound=3, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    assert (weights == 0).sum() > 20
    assert (weights > 3 - 1e-9).sum() > 5
    np.testing.assert_array_equal(np.isneginf(weighting.log_ratio_), weights == 0)


@pytest.mark.parametrize("ridge", [1e-6, 1e300])
def test_any_ridge_gives_weights(ridge):
    domains = make_covariate_shift(60, 40, random_state=0)
    weighting = KernelMeanMatching(ridge=ridge, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)


def test_a_bound_of_one_leaves_equal_weights():
    domains = make_covariate_shift(50, 50, random_state=0)
    weighting = KernelMeanMatching(bound=1, ridge=0.01, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    np.testing.assert_allclose(weights, 1)


@pytest.mark.parametrize("bound", [1.0, 1.3, 5.0, 1000.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_projection_is_the_nearest_point(bound, scale):
    values = scale * np.random.default_rng(0).normal(size=200) + 3
    weights = _project(values, bound)
    assert weights.mean() == pytest.approx(1)
    assert weights.min() >= 0
    assert weights.max() <= bound
    free = (weights > 0) & (weights < bound)
    shift = (weights - values)[free]
    # Moved by one shift, unless a bound is in the way.
    if free.any():
        np.testing.assert_allclose(shift, shift[0], atol=1e-9)
        assert (values[weights == 0] + shift[0] <= 1e-9).all()
        assert (values[weights == bound] + shift[0] >= bound - 1e-9).all()


def test_the_means_come_closer():
    domains = make_covariate_shift(300, 200, shift=1.0, random_state=0)
    weighting = KernelMeanMatching(random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    unweighted = KernelMeanMatching(ridge=1e9, random_state=0)
    unweighted.compute_weights(domains.X_source, domains.X_target)
    assert weighting.discrepancy_ < 0.2 * unweighted.discrepancy_


def test_approximation_is_near_the_exact_kernel():
    domains = make_covariate_shift(400, 400, 4, shift=1.2, random_state=0)
    exact, near = (
        KernelMeanMatching(ridge=0.003, n_components=n, random_state=0).compute_weights(
            domains.X_source, domains.X_target
        )
        for n in (800, 150)
    )
    assert np.abs(exact - near).mean() < 0.02


def test_chunks_cover_every_row(monkeypatch):
    domains = make_covariate_shift(101, 53, random_state=0)
    rows = domains.X_source, domains.X_target
    weights = KernelMeanMatching(random_state=0).compute_weights(*rows)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)
    again = KernelMeanMatching(random_state=0).compute_weights(*rows)
    np.testing.assert_allclose(again, weights, rtol=1e-6)


@pytest.mark.parametrize("n_target", [1000, 300])
@pytest.mark.parametrize(("n_features", "most"), [(2, 0.25), (10, 0.3)])
def test_error_against_the_true_ratio(n_features, most, n_target):
    errors = []
    for seed in range(3):
        domains = make_covariate_shift(1000, n_target, n_features, random_state=seed)
        weights = KernelMeanMatching(random_state=0).compute_weights(
            domains.X_source, domains.X_target
        )
        errors.append(normalized_error(weights, domains.log_ratio))
    assert np.mean(errors) < most


def test_error_with_one_column():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(1000, 1)), rng.normal(0.8, 0.6, size=(400, 1))
    weights = KernelMeanMatching(random_state=0).compute_weights(X_source, X_target)
    log_ratio = (0.5 * X_source**2 - 0.5 * ((X_source - 0.8) / 0.6) ** 2)[:, 0]
    assert normalized_error(weights, log_ratio) < 0.05


def test_a_ridge_of_its_own_choice_stands_against_chance():
    """Without shift, whatever the means differ by is chance."""
    domains = make_covariate_shift(300, 300, 10, shift=0, random_state=0)
    chosen, none = (KernelMeanMatching(ridge=ridge, random_state=0) for ridge in ("auto", 1e-6))
    for weighting in (chosen, none):
        weighting.compute_weights(domains.X_source, domains.X_target)
    assert chosen.effective_sample_size_ > 290
    assert none.effective_sample_size_ < 150


def test_nothing_can_be_held_out_of_one_row():
    weighting = KernelMeanMatching(random_state=0)
    np.testing.assert_array_equal(weighting.compute_weights(np.eye(3), np.eye(3)[:1]), np.ones(3))
    assert weighting.ridge_ == np.inf
    given = KernelMeanMatching(ridge=0.1, random_state=0)
    weights = given.compute_weights(np.eye(3), np.eye(3)[:1])
    assert weights[0] > 1.5


def test_too_few_steps_warn():
    domains = make_covariate_shift(200, 200, shift=2.0, random_state=0)
    weighting = KernelMeanMatching(ridge=1e-3, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1 steps"):
        weighting.compute_weights(domains.X_source, domains.X_target)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"gamma": "wide"}, ValueError, "Got gamma='wide'"),
        ({"gamma": 0}, ValueError, "Got gamma=0"),
        ({"gamma": None}, TypeError, "Got gamma=None"),
        ({"ridge": 0}, ValueError, "Got ridge=0, but expected a number >= 1e-06"),
        ({"ridge": "cv"}, ValueError, "Got ridge='cv'"),
        ({"bound": 0.5}, ValueError, "Got bound=0.5"),
        ({"n_components": 0}, ValueError, "Got n_components=0"),
        ({"cv": 1}, ValueError, "Got cv=1"),
        ({"max_iter": 1.5}, TypeError, "Got max_iter=1.5"),
        ({"tol": 0}, ValueError, "Got tol=0"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        KernelMeanMatching(**parameters).compute_weights(np.eye(3), np.eye(3))
