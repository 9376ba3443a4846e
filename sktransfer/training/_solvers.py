"""Penalised linear models on features of mean squared norm one: what convex heads are solved with.

Both minimise ``C * sum(weight * loss) + |coef|^2 / 2``, the form that scikit-learn has.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

_MAX_ITER = 1000
_TOLERANCE = 1e-6
# On the intercepts, so weak that it only matters for a label that no row has, or every row.
_INTERCEPT_PENALTY = 1e-4


def softmax_loss(logits, targets):
    """Return cross-entropy of each row and its gradient in the logits, for one-hot targets."""
    log_proba = log_softmax(logits, axis=1)
    return -(targets * log_proba).sum(1), np.exp(log_proba) - targets


def sigmoid_loss(logits, targets):
    """Return the sum of binary cross-entropies of each row, and its gradient in the logits."""
    losses = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)).sum(1)
    return losses, expit(logits) - targets


def solve_logistic(loss, features, targets, weight, penalties, offset=0.0):
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

    Returns
    -------
    solutions : list of (coef of shape (k, d), intercept of shape (k,))
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

    flat, solutions = np.zeros(n_outputs * (width + 1)), []
    options = {"maxiter": _MAX_ITER, "gtol": _TOLERANCE, "ftol": 1e-12}
    for C in penalties:
        flat = minimize(objective, flat, (C,), method="L-BFGS-B", jac=True, options=options).x
        coef = flat.reshape(n_outputs, width + 1)
        solutions.append((coef[:, :-1].copy(), coef[:, -1].copy()))
    return solutions


def solve_ridge(features, targets, weight, penalties, offset=0.0):
    """Minimise the squared error, in closed form; parameters as in `solve_logistic`."""
    targets = targets - offset
    feature_mean = np.average(features, axis=0, weights=weight)
    target_mean = np.average(targets, axis=0, weights=weight)
    root = np.sqrt(weight)[:, None]
    left, singular, basis = np.linalg.svd(root * (features - feature_mean), full_matrices=False)
    projected = left.T @ (root * (targets - target_mean))
    solutions = []
    for C in penalties:
        coef = (basis.T @ ((singular / (singular**2 + 1 / C))[:, None] * projected)).T
        solutions.append((coef, target_mean - coef @ feature_mean))
    return solutions
