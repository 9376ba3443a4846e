"""Penalised linear models on features of mean squared norm one: what convex heads are solved with.

Both minimise ``C * sum(weight * loss) + |coef|^2 / 2``, the form that scikit-learn has, for several
weightings of the same rows at once: a fold of a cross-validation is a weighting that is zero on
the rows held out.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

_MAX_ITER = 1000
# Of the gradient: for a solution that is kept, and for one that is only compared with others.
EXACT, ROUGH = 1e-6, 1e-4
# On the intercepts, so weak that it only matters for a label that no row has, or every row.
_INTERCEPT_PENALTY = 1e-4


def softmax_loss(logits, targets):
    """Return cross-entropy of each row and its gradient in the logits, for one-hot targets.

    Logits and gradient have shape (m, k, n), outputs before rows, which makes the sums over few
    outputs fast; targets (k, n); losses (m, n).
    """
    shifted = logits - logits.max(1, keepdims=True)
    proba = np.exp(shifted)
    total = proba.sum(1, keepdims=True)
    losses = np.log(total[:, 0]) - (targets * shifted).sum(1)
    proba /= total
    proba -= targets
    return losses, proba


def sigmoid_loss(logits, targets):
    """Return the sum of binary cross-entropies of each row and its gradient in the logits.

    Shapes are those of `softmax_loss`.
    """
    losses = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)).sum(1)
    return losses, expit(logits) - targets


def solve_logistic(loss, features, targets, weights, penalties, offset=0.0, tolerance=EXACT):
    """Minimise by L-BFGS, each penalty from the solution of the one before.

    Parameters
    ----------
    loss : callable
        `softmax_loss` or `sigmoid_loss`.
    features : ndarray of shape (n, d)
    targets : ndarray of shape (n, k)
    weights : ndarray of shape (m, n)
        Of the rows in each of the m problems; all are solved together.
    penalties : sequence of float
        Values of C.
    offset : ndarray of shape (n, k), default=0.0
        Added to the logits.
    tolerance : float
        Of the gradient.

    Yields
    ------
    solution : (coef of shape (m, k, d), intercept of shape (m, k))
        For each penalty in turn, when it is asked for.
    """
    n_problems, n_outputs, width = len(weights), targets.shape[1], features.shape[1]
    total = weights.sum(1, keepdims=True)
    shares = weights / total
    rows = np.hstack([features, np.ones((len(features), 1))])
    columns, targets = np.ascontiguousarray(rows.T), np.ascontiguousarray(targets.T)
    offset = np.transpose(offset)

    def objective(flat, strength):
        coef = flat.reshape(n_problems, n_outputs, width + 1)
        losses, residuals = loss(coef @ columns + offset, targets)
        residuals *= shares[:, None]
        penalty = strength * coef
        value = np.vdot(shares, losses) + 0.5 * np.vdot(penalty, coef)
        return value, (residuals @ rows + penalty).ravel()

    flat = np.zeros(n_problems * n_outputs * (width + 1))
    options = {"maxiter": _MAX_ITER, "gtol": tolerance, "ftol": tolerance**2}
    for C in penalties:
        strength = np.ones((n_problems, 1, width + 1)) / (C * total[..., None])
        strength[..., -1] *= _INTERCEPT_PENALTY
        result = minimize(objective, flat, strength, method="L-BFGS-B", jac=True, options=options)
        flat = result.x
        coef = flat.reshape(n_problems, n_outputs, width + 1)
        yield coef[..., :-1].copy(), coef[..., -1].copy()


def solve_ridge(features, targets, weights, penalties, offset=0.0, tolerance=None):
    """Minimise the squared error, in closed form; parameters as of `solve_logistic`."""
    paths = [_ridge_path(features, targets - offset, weight, penalties) for weight in weights]
    for solutions in zip(*paths, strict=True):
        yield tuple(np.stack(parts) for parts in zip(*solutions, strict=True))


def _ridge_path(features, targets, weight, penalties):
    used = weight > 0
    features, targets, weight = features[used], targets[used], weight[used]
    feature_mean = np.average(features, axis=0, weights=weight)
    target_mean = np.average(targets, axis=0, weights=weight)
    root = np.sqrt(weight)[:, None]
    left, singular, basis = np.linalg.svd(root * (features - feature_mean), full_matrices=False)
    projected = left.T @ (root * (targets - target_mean))
    for C in penalties:
        coef = (basis.T @ ((singular / (singular**2 + 1 / C))[:, None] * projected)).T
        yield coef, target_mean - coef @ feature_mean
