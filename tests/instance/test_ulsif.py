"""ULSIF: its leave-one-out, and the plain and relative ratios that it is meant to follow."""

import numpy as np
import pytest

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import ULSIF
from sktransfer.instance._kernels import compute_kernel, compute_squared_distances, prepare_rows
from sktransfer.instance._ulsif import _leave_one_out_risks, _solve


def normalized_error(weights, log_ratio):
    ratio = np.exp(log_ratio)
    ratio /= ratio.mean()
    return np.mean((weights - ratio) ** 2) / np.mean(ratio**2)


def make_kernels(n_source, n_target, n_centers):
    domains = make_covariate_shift(n_source, n_target, shift=1.5, random_state=0)
    rows = prepare_rows(domains.X_source, domains.X_target, "ULSIF")
    centers = np.concatenate([rows.target, rows.source])[:n_centers]
    return [compute_kernel(compute_squared_distances(X, centers), 0.8) for X in rows[:2]]


def fit_by_definition(kernel_source, kernel_target, alpha, ridge):
    n_centers = kernel_source.shape[1]
    moment = sum((1 - alpha) * np.outer(k, k) for k in kernel_source) / len(kernel_source)
    moment = moment + sum(alpha * np.outer(k, k) for k in kernel_target) / len(kernel_target)
    return np.linalg.solve(moment + ridge * np.eye(n_centers), kernel_target.mean(axis=0))


def leave_one_out_by_definition(kernel_source, kernel_target, alpha, ridge):
    at_source, at_target = [], []
    for i, k in enumerate(kernel_source):
        rest = np.delete(kernel_source, i, axis=0)
        at_source.append(max(k @ fit_by_definition(rest, kernel_target, alpha, ridge), 0))
    for j, k in enumerate(kernel_target):
        rest = np.delete(kernel_target, j, axis=0)
        at_target.append(max(k @ fit_by_definition(kernel_source, rest, alpha, ridge), 0))
    squares = alpha * np.mean(np.square(at_target)) + (1 - alpha) * np.mean(np.square(at_source))
    return squares / 2 - np.mean(at_target)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("n_source", "n_target", "n_centers"), [(30, 30, 10), (40, 17, 25), (12, 33, 45), (2, 2, 4)]
)
def test_leave_one_out_against_brute_force(alpha, n_source, n_target, n_centers):
    kernels = make_kernels(n_source, n_target, n_centers)
    ridges = np.array([1e-3, 0.05, 2.0])
    risks = _leave_one_out_risks(*kernels, alpha, ridges)
    expected = [leave_one_out_by_definition(*kernels, alpha, ridge) for ridge in ridges]
    np.testing.assert_allclose(risks, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_coefficients_against_their_definition(alpha):
    kernels = make_kernels(30, 20, 10)
    np.testing.assert_allclose(
        _solve(*kernels, alpha, 0.01), fit_by_definition(*kernels, alpha, 0.01)
    )


def test_the_parameters_of_least_risk_are_chosen():
    domains = make_covariate_shift(200, 100, shift=1.0, random_state=0)
    rows = domains.X_source, domains.X_target
    chosen = ULSIF(random_state=0)
    chosen.compute_weights(*rows)
    assert chosen.risk_ < -0.5
    for factor in (0.25, 4.0):
        for parameters in ({"gamma": chosen.gamma_ * factor}, {"gamma": "median"}):
            other = ULSIF(random_state=0, **parameters)
            other.compute_weights(*rows)
            assert other.risk_ >= chosen.risk_ - 0.02


@pytest.mark.parametrize("n_target", [1000, 300])
@pytest.mark.parametrize(("n_features", "most"), [(2, 0.25), (10, 0.35)])
def test_error_against_the_true_ratio(n_features, most, n_target):
    errors = []
    for seed in range(3):
        domains = make_covariate_shift(1000, n_target, n_features, random_state=seed)
        weights = ULSIF(random_state=0).compute_weights(domains.X_source, domains.X_target)
        errors.append(normalized_error(weights, domains.log_ratio))
    assert np.mean(errors) < most


def test_error_with_one_column():
    rng = np.random.default_rng(0)
    X_source, X_target = rng.normal(size=(1000, 1)), rng.normal(0.8, 0.6, size=(400, 1))
    weights = ULSIF(random_state=0).compute_weights(X_source, X_target)
    log_ratio = (0.5 * X_source**2 - 0.5 * ((X_source - 0.8) / 0.6) ** 2)[:, 0]
    assert normalized_error(weights, log_ratio) < 0.05


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_relative_ratio_is_bounded_and_right(alpha):
    domains = make_covariate_shift(1000, 700, shift=1.5, random_state=0)
    weighting = ULSIF(alpha=alpha, random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    estimated, ratio = np.exp(weighting.log_ratio_), np.exp(domains.log_ratio)
    relative = ratio / (alpha * ratio + 1 - alpha)
    assert estimated.max() < 1.3 / alpha
    assert np.mean((estimated - relative) ** 2) < 0.05 * np.mean(relative**2)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("n_features", [2, 10])
def test_without_shift_weights_are_nearly_equal(alpha, n_features):
    sizes = []
    for seed in range(3):
        domains = make_covariate_shift(300, 300, n_features, shift=0, random_state=seed)
        weighting = ULSIF(alpha=alpha, random_state=0)
        weighting.compute_weights(domains.X_source, domains.X_target)
        sizes.append(weighting.effective_sample_size_)
    assert np.mean(sizes) > 285


def test_a_relative_ratio_to_the_target_itself_is_one():
    domains = make_covariate_shift(100, 100, random_state=0)
    weights = ULSIF(alpha=1.0, random_state=0).compute_weights(domains.X_source, domains.X_target)
    np.testing.assert_allclose(weights, 1, atol=0.2)


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize("ridge", [1e-300, 1e300])
def test_any_ridge_gives_weights(ridge):
    domains = make_covariate_shift(60, 40, random_state=0)
    weights = ULSIF(ridge=ridge).compute_weights(domains.X_source, domains.X_target)
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)


def test_given_parameters_are_taken():
    domains = make_covariate_shift(100, 100, random_state=0)
    weighting = ULSIF(gamma=0.7, ridge=0.02, random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert (weighting.gamma_, weighting.ridge_, weighting.risk_) == (0.7, 0.02, None)


def test_nothing_can_be_left_out_of_one_row():
    weighting = ULSIF(random_state=0)
    np.testing.assert_array_equal(weighting.compute_weights(np.eye(3), np.eye(3)[:1]), np.ones(3))
    assert weighting.gamma_ == 0
    weights = ULSIF(gamma=0.5, ridge=0.01).compute_weights(np.eye(3), np.eye(3)[:1])
    assert weights[0] > 1.5


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"alpha": -0.1}, ValueError, "Got alpha=-0.1"),
        ({"alpha": 1.1}, ValueError, "Got alpha=1.1"),
        ({"gamma": "wide"}, ValueError, "Got gamma='wide'"),
        ({"gamma": 0.0}, ValueError, "Got gamma=0.0"),
        ({"ridge": "cv"}, ValueError, "Got ridge='cv'"),
        ({"ridge": 0}, ValueError, "Got ridge=0"),
        ({"n_centers": 0}, ValueError, "Got n_centers=0"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        ULSIF(**parameters).compute_weights(np.eye(3), np.eye(3))
