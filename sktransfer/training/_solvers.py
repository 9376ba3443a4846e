"""Penalised linear models on features of mean squared norm one: what convex heads are solved with.

Both minimise ``C * sum(weight * loss) + |coef|^2 / 2``, the form that scikit-learn has.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

_MAX_ITER = 1000
# Of the gradient: for a solution that is kept, and for one that is only compared with others.
EXACT, ROUGH = 1e-6, 1e-5
# On the intercepts, so weak that it only matters for a label that no row has, or every row.
_INTERCEPT_PENALTY = 1e-4


def softmax_loss(logits, targets):
    """Return cross-entropy of each row and its gradient in the logits, for one-hot targets."""
    # In plain numpy, which for a few columns takes half the time of scipy's.
    shifted = logits - logits.max(1, keepdims=True)
    proba = np.exp(shifted)
    total = proba.sum(1, keepdims=True)
    return np.log(total[:, 0]) - (targets * shifted).sum(1), proba / total - targets


def sigmoid_loss(logits, targets):
    """Return the sum of binary cross-entropies of each row, and its gradient in the logits."""
    losses = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)).sum(1)
    return losses, expit(logits) - targets


def solve_logistic(loss, features, targets, weight, penalties, offset=0.0, tolerance=EXACT):
    """Minimise by L-BFGS, each penalty from the solution of the one before.

    Parameters
    ----------
    loss : callable
        `softmax_loss` or `sigmoid_loss`.
    features : ndarray of shape (n, d)
    targets : ndarray of shape (n, k)
    weight : ndarray of shape (n,)
    penalties : sequence of float
        Values of C.
    offset : ndarray of shape (n, k), default=0.0
        Added to the logits.
    tolerance : float
        Of the gradient.

    Yields
    ------
    solution : (coef of shape (k, d), intercept of shape (k,))
        For each penalty in turn, when it is asked for.
    """
    n_outputs, width = targets.shape[1], features.shape[1]
    total = weight.sum()
    rows = np.hstack([features, np.ones((len(features), 1))])

    def objective(flat, C):
        coef = flat.reshape(n_outputs, width + 1)
        losses, residuals = loss(rows @ coef.T + offset, targets)
        strength = np.full(width + 1, 1 / (C * total))
        strength[-1] *= _INTERCEPT_PENALTY
        value = weight @ losses / total + 0.5 * (strength * coef**2).sum()
        gradient = (residuals * (weight / total)[:, None]).T @ rows + strength * coef
        return value, gradient.ravel()

    flat = np.zeros(n_outputs * (width + 1))
    options = {"maxiter": _MAX_ITER, "gtol": tolerance, "ftol": tolerance**2}
    for C in penalties:
        flat = minimize(objective, flat, (C,), method="L-BFGS-B", jac=True, options=options).x
        coef = flat.reshape(n_outputs, width + 1)
        yield coef[:, :-1].copy(), coef[:, -1].copy()


def solve_ridge(features, targets, weight, penalties, offset=0.0, tolerance=None):
    """Minimise the squared error, in closed form; parameters as of `solve_logistic`."""
    targets = targets - offset
    feature_mean = np.average(features, axis=0, weights=weight)
    target_mean = np.average(targets, axis=0, weights=weight)
    root = np.sqrt(weight)[:, None]
    left, singular, basis = np.linalg.svd(root * (features - feature_mean), full_matrices=False)
    projected = left.T @ (root * (targets - target_mean))
    for C in penalties:
        coef = (basis.T @ ((singular / (singular**2 + 1 / C))[:, None] * projected)).T
        yield coef, target_mean - coef @ feature_mean
