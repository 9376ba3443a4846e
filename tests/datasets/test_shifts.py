"""The toy whose density ratio is known."""

import numpy as np
import pytest

from sktransfer.datasets import make_covariate_shift


@pytest.mark.parametrize("kind", ["mean", "variance", "correlation"])
def test_ratio_turns_source_moments_into_those_of_the_target(kind):
    domains = make_covariate_shift(100_000, 100_000, 3, kind=kind, shift=0.7, random_state=0)
    weights = np.exp(domains.log_ratio)
    assert weights.mean() == pytest.approx(1, abs=0.02)
    mean = np.average(domains.X_source, axis=0, weights=weights)
    np.testing.assert_allclose(mean, domains.X_target.mean(axis=0), atol=0.03)
    covariance = np.cov(domains.X_source, rowvar=False, aweights=weights)
    np.testing.assert_allclose(covariance, np.cov(domains.X_target, rowvar=False), atol=0.05)


def test_no_shift_has_a_ratio_of_one():
    assert not make_covariate_shift(5, 5, shift=0, random_state=0).log_ratio.any()


def test_bad_parameters():
    with pytest.raises(ValueError, match="Got kind='men', but expected one of .*'mean'"):
        make_covariate_shift(kind="men")
    with pytest.raises(ValueError, match="n_features=1, but expected"):
        make_covariate_shift(n_features=1)
