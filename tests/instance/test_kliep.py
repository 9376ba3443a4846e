"""KLIEP: its objective, its choice of the width, and the ratio that it is meant to follow."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from sklearn.exceptions import ConvergenceWarning

from sktransfer.datasets import make_covariate_shift
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import KLIEP
from sktransfer.instance._kernels import compute_kernel, compute_squared_distances, prepare_rows
from sktransfer.instance._kliep import _maximize, _score_held_out


def normalized_error(weights, log_ratio):
    ratio = np.exp(log_ratio)
    ratio /= ratio.mean()
    return np.mean((weights - ratio) ** 2) / np.mean(ratio**2)


def make_kernels(n_source, n_target, gamma=0.5):
    domains = make_covariate_shift(n_source, n_target, shift=1.5, random_state=0)
    rows = prepare_rows(domains.X_source, domains.X_target, "KLIEP")
    return [compute_kernel(compute_squared_distances(X, rows.target[:12]), gamma) for X in rows[:2]]


def test_objective_never_falls():
    domains = make_covariate_shift(200, 150, shift=1.5, random_state=0)
    weighting = KLIEP(gamma=1.0, tol=1e-7, max_iter=10_000, random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert len(weighting.objective_) > 100
    assert (np.diff(weighting.objective_) >= -1e-12).all()
    assert weighting.objective_[0] < weighting.objective_[-1]


@pytest.mark.parametrize(("n_source", "n_target"), [(60, 60), (20, 60), (60, 20)])
def test_reaches_the_largest_likelihood(n_source, n_target):
    kernel_source, kernel_target = make_kernels(n_source, n_target)
    means = kernel_source.mean(axis=0)
    coefficients, objective = _maximize(
        kernel_target, np.ones((n_target, 1)), means[:, None], 100_000, 1e-12
    )
    assert coefficients.min() >= 0
    assert coefficients[:, 0] @ means == pytest.approx(1)
    assert np.log(kernel_target @ coefficients).mean() == pytest.approx(objective[-1])
    exact = minimize(
        lambda a: -np.log(kernel_target @ (a / means)).mean(),
        np.full(12, 1 / 12),
        bounds=[(1e-12, 1)] * 12,
        constraints=LinearConstraint(np.ones((1, 12)), 1, 1),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert objective[-1] == pytest.approx(-exact.fun, abs=1e-5)


def test_held_out_score_is_that_of_fits_without_the_fold():
    kernel_source, kernel_target = make_kernels(50, 40)
    rng = np.random.default_rng(0)
    source_folds, target_folds = rng.permutation(50) % 3, rng.permutation(40) % 3
    score = _score_held_out(kernel_source, kernel_target, source_folds, target_folds, 3, 200, 1e-99)
    log_ratios, ratios = [], []
    for fold in range(3):
        coefficients, _ = _maximize(
            kernel_target[target_folds != fold],
            np.ones((np.sum(target_folds != fold), 1)),
            kernel_source[source_folds != fold].mean(axis=0)[:, None],
            200,
            1e-99,
        )
        log_ratios.append(np.log(kernel_target[target_folds == fold] @ coefficients))
        ratios.append(kernel_source[source_folds == fold] @ coefficients)
    expected = np.concatenate(log_ratios).mean() - np.log(np.concatenate(ratios).mean())
    assert score == pytest.approx(expected)


def test_score_estimates_the_divergence():
    """Of the target from the source, which is half the squared distance of the means here."""
    domains = make_covariate_shift(1500, 1500, shift=1.0, random_state=0)
    weighting = KLIEP(random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert weighting.score_ == pytest.approx(0.5, abs=0.1)


def test_width_follows_the_shape_of_the_ratio():
    rng = np.random.default_rng(0)
    X_source = rng.uniform(-1, 1, size=(600, 1))
    smooth = rng.normal(0.5, 0.7, size=(600, 1))
    two_peaks = rng.choice([-0.6, 0.6], size=(600, 1)) + rng.normal(0, 0.08, size=(600, 1))
    gammas = []
    for X_target in (smooth, two_peaks):
        weighting = KLIEP(random_state=0)
        weighting.compute_weights(X_source, X_target)
        gammas.append(weighting.gamma_)
    assert gammas[0] < gammas[1] / 2


@pytest.mark.parametrize("n_target", [600, 200])
@pytest.mark.parametrize(("n_features", "most"), [(2, 0.25), (10, 0.45)])
def test_error_against_the_true_ratio(n_features, most, n_target):
    errors = []
    for seed in range(2):
        domains = make_covariate_shift(600, n_target, n_features, random_state=seed)
        weights = KLIEP(random_state=0).compute_weights(domains.X_source, domains.X_target)
        errors.append(normalized_error(weights, domains.log_ratio))
    assert np.mean(errors) < most


def test_error_with_one_column():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(1000, 1)), rng.normal(0.8, 0.6, size=(400, 1))
    weights = KLIEP(random_state=0).compute_weights(X_source, X_target)
    log_ratio = (0.5 * X_source**2 - 0.5 * ((X_source - 0.8) / 0.6) ** 2)[:, 0]
    assert normalized_error(weights, log_ratio) < 0.05


@pytest.mark.parametrize("n_features", [2, 10])
def test_without_shift_weights_are_nearly_equal(n_features):
    sizes = []
    for seed in range(3):
        domains = make_covariate_shift(300, 300, n_features, shift=0, random_state=seed)
        weighting = KLIEP(random_state=0)
        weighting.compute_weights(domains.X_source, domains.X_target)
        sizes.append(weighting.effective_sample_size_)
    assert np.mean(sizes) > 280


def test_target_rows_without_a_source_row_nearby_change_little():
    domains = make_covariate_shift(200, 150, random_state=0)
    far = np.concatenate([domains.X_target, [[8.0, 8.0], [9.0, -9.0]]])
    weighting = KLIEP(n_centers=1000, gamma=2.0, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    with_far = weighting.compute_weights(domains.X_source, far)
    assert np.corrcoef(weights, with_far)[0, 1] > 0.98
    assert weighting.max_share_ < 0.1


def test_a_kernel_that_reaches_no_source_row_warns():
    X = np.arange(6.0).reshape(3, 2)
    with pytest.warns(LowOverlapWarning, match="Got gamma=100, but no source row lies within"):
        weights = KLIEP(gamma=100).compute_weights(X, X + 50)
    np.testing.assert_array_equal(weights, np.ones(3))


def test_given_and_median_width():
    domains = make_covariate_shift(100, 100, random_state=0)
    weighting = KLIEP(gamma=0.7, random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert (weighting.gamma_, weighting.score_) == (0.7, None)
    weighting.set_params(gamma="median").compute_weights(domains.X_source, domains.X_target)
    # The median squared distance of standard normal pairs with two columns is about 2.8.
    assert weighting.gamma_ == pytest.approx(0.5 / 2.8, rel=0.2)
    assert weighting.score_ is None


def test_nothing_can_be_held_out_of_one_row():
    weighting = KLIEP(random_state=0)
    np.testing.assert_array_equal(weighting.compute_weights(np.eye(3), np.eye(3)[:1]), np.ones(3))
    assert weighting.gamma_ == 0
    weights = KLIEP(gamma=0.5).compute_weights(np.eye(3), np.eye(3)[:1])
    assert weights[0] > 1.5


def test_too_few_steps_warn():
    domains = make_covariate_shift(100, 100, random_state=0)
    weighting = KLIEP(gamma=1.0, max_iter=3, tol=1e-9, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=3 steps"):
        weighting.compute_weights(domains.X_source, domains.X_target)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"gamma": "wide"}, ValueError, "Got gamma='wide'"),
        ({"gamma": -1.0}, ValueError, "Got gamma=-1.0"),
        ({"n_centers": 0}, ValueError, "Got n_centers=0"),
        ({"cv": 1}, ValueError, "Got cv=1"),
        ({"max_iter": 0}, ValueError, "Got max_iter=0"),
        ({"tol": "small"}, TypeError, "Got tol='small'"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        KLIEP(**parameters).compute_weights(np.eye(3), np.eye(3))
