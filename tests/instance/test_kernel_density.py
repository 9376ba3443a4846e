"""KernelDensityWeighting: its densities, bandwidth and calibration."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.neighbors import KernelDensity

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import KernelDensityWeighting


def test_plain_ratio_is_that_of_two_densities():
    domains = make_covariate_shift(40, 30, 3, shift=1.0, random_state=0)
    pooled = np.vstack([domains.X_source, domains.X_target])
    source, target = (
        (X - pooled.mean(axis=0)) / pooled.std(axis=0) for X in (domains.X_source, domains.X_target)
    )
    weighting = KernelDensityWeighting(bandwidth=0.7, calibrate=False)
    weighting.compute_weights(domains.X_source, domains.X_target)
    log_target = KernelDensity(bandwidth=0.7).fit(target).score_samples(source)
    log_source = [
        KernelDensity(bandwidth=0.7).fit(np.delete(source, i, axis=0)).score_samples([row])[0]
        for i, row in enumerate(source)
    ]
    np.testing.assert_allclose(weighting.log_ratio_, log_target - log_source, rtol=1e-8)
    assert weighting.bandwidth_ == 0.7


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize("n_features", [2, 10, 50])
def test_calibrated_weights_beat_the_plain_ratio(n_features):
    domains = make_covariate_shift(400, 300, n_features, random_state=0)
    ratio = np.exp(domains.log_ratio)
    ratio /= ratio.mean()
    errors = []
    for parameters in ({}, {"bandwidth": 1.0, "calibrate": False}):
        weights = KernelDensityWeighting(**parameters).compute_weights(
            domains.X_source, domains.X_target
        )
        errors.append(np.mean((weights - ratio) ** 2) / np.mean((1 - ratio) ** 2))
    assert errors[0] < min(0.7, errors[1])


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize("calibrate", [True, False])
def test_two_thousand_columns_give_numbers(calibrate):
    domains = make_covariate_shift(60, 50, 2000, shift=4.0, random_state=0)
    weighting = KernelDensityWeighting(bandwidth=0.2, calibrate=calibrate)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    assert np.isfinite(weights).all() and np.isfinite(weighting.log_ratio_).all()


def test_one_isolated_source_row_does_not_take_all_weight():
    domains = make_covariate_shift(300, 300, kind="correlation", shift=1.2, random_state=3)
    weighting = KernelDensityWeighting()
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert weighting.max_share_ < 0.05


def test_drawn_rows_do_nearly_as_well():
    domains = make_covariate_shift(600, 500, shift=1.0, random_state=0)
    rows = domains.X_source, domains.X_target
    weighting = KernelDensityWeighting(max_rows=200, random_state=0)
    weights = weighting.compute_weights(*rows)
    assert spearmanr(weights, domains.log_ratio).statistic > 0.95
    # Drawn by content: whatever the order of the rows.
    order = np.random.default_rng(0).permutation(600)
    again = weighting.compute_weights(rows[0][order], rows[1])
    np.testing.assert_allclose(again, weights[order], rtol=1e-9)


def test_diagnostics():
    domains = make_covariate_shift(300, 300, shift=1.5, random_state=0)
    weighting = KernelDensityWeighting()
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert 0.8 < weighting.domain_auc_ < 0.9
    assert 0.3 < weighting.log_loss_ < np.log(2)
    weighting.compute_weights(domains.X_source[:1], domains.X_target)
    assert weighting.bandwidth_ is None and weighting.domain_auc_ is None


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"bandwidth": 0.0}, ValueError, "Got bandwidth=0.0, but expected a number > 0"),
        ({"bandwidth": "scott"}, TypeError, "Got bandwidth='scott'"),
        ({"max_rows": 1}, ValueError, "Got max_rows=1, but expected an integer >= 2"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        KernelDensityWeighting(**parameters).compute_weights(np.eye(3), np.eye(3))
