import numpy as np
import pytest

from sktransfer.training._objectives import Multiclass, Multilabel, Regression


@pytest.mark.parametrize("objective", [Multiclass(3), Multilabel(3), Regression(3)])
def test_weightings_that_are_solved_together_do_not_mix(objective):
    rng = np.random.default_rng(0)
    X, targets = rng.normal(size=(40, 5)), np.eye(3)[np.arange(40) % 3]
    offset = rng.normal(size=(40, 3))
    weights = rng.uniform(0.5, 2, size=(4, 40))
    weights[np.arange(40) % 4, np.arange(40)] = 0
    together = list(objective.solve(X, targets, weights, [1.0, 30.0], offset=offset))
    for fold, weight in enumerate(weights):
        rows = weight > 0
        alone = objective.solve(
            X[rows], targets[rows], weight[None, rows], [1.0, 30.0], offset=offset[rows]
        )
        for (coef, intercept), (expected, expected_intercept) in zip(together, alone, strict=True):
            np.testing.assert_allclose(coef[fold], expected[0], atol=1e-4)
            np.testing.assert_allclose(intercept[fold], expected_intercept[0], atol=1e-4)
