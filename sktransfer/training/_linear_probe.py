"""A logistic regression on features: the convex head of a frozen backbone."""

import dataclasses

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from sktransfer.training._heads import measure_scale

# Inverse penalties that cross-validation chooses from, for features of mean squared norm one.
PENALTIES = np.logspace(0, 4, 9)
# The choice where no class has two members, so that nothing can be held out.
_FALLBACK = 100.0
_MAX_ITER = 1000


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted linear head: logits are ``((features - center) / scale) @ coef.T + intercept``.

    Parameters
    ----------
    center : ndarray of shape (d,)
    scale : float
        One number for all features, so that their proportions stay as the backbone made them.
    coef : ndarray of shape (n_classes, d)
    intercept : ndarray of shape (n_classes,)
    C : float
        The inverse penalty that was chosen, for features of mean squared norm one.
    """

    center: np.ndarray
    scale: float
    coef: np.ndarray
    intercept: np.ndarray
    C: float

    def compute_logits(self, features):
        """Return logits of shape (n, n_classes)."""
        return (features - self.center) / self.scale @ self.coef.T + self.intercept


def fit_linear_probe(features, y, n_classes, *, sample_weight=None, random_state=0):
    """Fit multinomial logistic regression, its penalty chosen by stratified cross-validation.

    Parameters
    ----------
    features : ndarray of shape (n, d)
    y : ndarray of shape (n,)
        Encoded classes 0 … n_classes - 1, each of them present.
    n_classes : int
    sample_weight : ndarray of shape (n,), default=None
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    probe : LinearProbe
    """
    features = np.asarray(features, dtype=np.float64)
    weight = np.ones(len(features)) if sample_weight is None else sample_weight
    center, scale = measure_scale(features, weight)
    # Small systems are slower with BLAS threads, by far on a busy machine.
    with threadpool_limits(1):
        rotated, basis = _rotate((features - center) / scale)
        unit = np.sqrt(features.shape[1])
        C = _choose_penalty(rotated / unit, y, n_classes, weight, random_state)
        ((coef, intercept),) = _solve(rotated / unit, y, weight, [C])
    coef = coef / unit if basis is None else coef @ basis / unit
    return LinearProbe(center, scale, coef, intercept, C)


def _rotate(features):
    """Drop the dimensions in which no row lies: exact, since the penalty is rotation-invariant."""
    n_rows, width = features.shape
    if width <= n_rows:
        return features, None
    left, singular, basis = np.linalg.svd(features, full_matrices=False)
    return left * singular, basis


def _choose_penalty(features, y, n_classes, weight, random_state):
    counts = np.bincount(y, minlength=n_classes)
    repeated = counts[y] > 1
    if not repeated.any():
        return _FALLBACK
    # A class with one member stays in every training part.
    single, splittable = np.flatnonzero(~repeated), np.flatnonzero(repeated)
    folds = StratifiedKFold(
        min(5, counts[counts > 1].min()), shuffle=True, random_state=random_state
    )
    losses = np.zeros(len(PENALTIES))
    for train, test in folds.split(splittable, y[splittable]):
        train, test = np.concatenate([single, splittable[train]]), splittable[test]
        if not weight[train].any():
            continue
        solutions = _solve(features[train], y[train], weight[train], PENALTIES)
        for i, (coef, intercept) in enumerate(solutions):
            log_proba = log_softmax(features[test] @ coef.T + intercept, axis=1)
            losses[i] -= weight[test] @ log_proba[np.arange(len(test)), y[test]]
    return float(PENALTIES[losses.argmin()])


def _solve(features, y, weight, penalties):
    """Return (coef, intercept) for each penalty, each solution starting from the one before."""
    solver = LogisticRegression(max_iter=_MAX_ITER, warm_start=True)
    solutions = []
    for C in penalties:
        solver.set_params(C=C).fit(features, y, sample_weight=weight)
        coef, intercept = solver.coef_.copy(), solver.intercept_.copy()
        if len(coef) == 1:
            # Two classes: one logit becomes two that differ by it.
            coef = np.vstack([-coef, coef]) / 2
            intercept = np.concatenate([-intercept, intercept]) / 2
        solutions.append((coef, intercept))
    return solutions
