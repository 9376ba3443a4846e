"""Normalisation and clipping of weights."""

import numpy as np
import pytest

from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import BaseWeighting
from sktransfer.instance._base import normalize_log_weights


class GivenWeighting(BaseWeighting):
    """Give the first column of the source as log weights."""

    def _compute_log_weights(self, X_source, X_target):
        return X_source[:, 0]


@pytest.mark.parametrize("clip", [None, 1, 1.5, 3, 10, 1000])
@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 50.0])
def test_clip_and_mean_hold_together(clip, scale):
    log_weights = scale * np.random.default_rng(0).normal(size=200) + 700
    weights = normalize_log_weights(log_weights, clip)
    assert weights.mean() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(log_weights)]) >= 0).all()
    n_positive = np.count_nonzero(weights)
    if clip is not None and n_positive * clip >= 200:
        assert weights.max() <= clip * (1 + 1e-9)
        below = (weights < weights.max() * (1 - 1e-9)) & (weights > 1e-200)
        if below.sum() > 1:  # unclipped weights keep their ratios
            shift = np.log(weights[below]) - log_weights[below]
            np.testing.assert_allclose(shift, shift[0], atol=1e-6)


def test_too_few_weights_for_the_clip_are_equal():
    weights = normalize_log_weights(np.array([0.0, 1.0, -np.inf, -np.inf, -np.inf, -np.inf]), 2)
    np.testing.assert_array_equal(weights, [3, 3, 0, 0, 0, 0])


def test_no_weight_at_all_gives_equal_weights():
    np.testing.assert_array_equal(normalize_log_weights(np.full(3, -np.inf)), np.ones(3))


def test_few_effective_rows_warn_with_the_numbers():
    X = np.zeros((100, 1))
    X[0] = 20.0
    weighting = GivenWeighting()
    with pytest.warns(LowOverlapWarning, match="effective sample size is 1.0 of 100.*carries 100%"):
        weighting.compute_weights(X, X)
    assert weighting.max_share_ == pytest.approx(1, abs=1e-6)
    assert weighting.domain_auc_ is None
