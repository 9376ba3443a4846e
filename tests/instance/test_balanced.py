"""BalancedWeighting."""

import numpy as np

from sktransfer.instance import BalancedWeighting


def test_all_rows_weigh_the_same():
    weighting = BalancedWeighting()
    X = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(weighting.compute_weights(X, 100 + X[:2]), np.ones(5))
    assert weighting.effective_sample_size_ == 5
    assert weighting.max_share_ == 0.2
    assert weighting.get_params() == {}
