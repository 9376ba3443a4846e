"""Toy data with a covariate shift whose density ratio is known."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["CovariateShift", "make_covariate_shift"]

KINDS = ("mean", "variance", "correlation")


class CovariateShift(NamedTuple):
    """Two domains with the same ``p(y | x)``, and the log density ratio of the source rows."""

    X_source: np.ndarray
    y_source: np.ndarray
    X_target: np.ndarray
    y_target: np.ndarray
    log_ratio: np.ndarray


def make_covariate_shift(
    n_source=1000, n_target=1000, n_features=2, *, kind="mean", shift=1.0, random_state=None
):
    r"""Make two Gaussian domains that share the rule from rows to labels.

    The source is standard normal. The target differs in its first columns, and
    ``log_ratio`` holds :math:`\log p_{target}(x) / p_{source}(x)` at the source rows.

    Parameters
    ----------
    n_source, n_target : int, default=1000
        Numbers of rows.

    n_features : int, default=2
        Number of columns, at least 2.

    kind : {"mean", "variance", "correlation"}, default="mean"
        What differs: the mean, by ``shift`` along the diagonal of the first (at most four)
        columns; the standard deviation of the first (at most three) columns, which is
        ``exp(-shift / 2)``; or the correlation of the first two columns, ``tanh(shift)``.

    shift : float, default=1.0
        Size of the difference; 0 makes the domains equal.

    random_state : int, RandomState instance or None, default=None
        Seed of the rows and labels.

    Returns
    -------
    CovariateShift
        ``X_source``, ``y_source``, ``X_target``, ``y_target`` and ``log_ratio``.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> domains = make_covariate_shift(500, 20, kind="mean", random_state=0)
    >>> domains.X_source.shape, domains.log_ratio.shape
    ((500, 2), (500,))
    """
    if min(n_source, n_target) < 1 or n_features < 2:
        raise ValueError(
            f"Got n_source={n_source!r}, n_target={n_target!r} and n_features={n_features!r}, but "
            "expected at least one row in each domain and two columns."
        )
    if kind not in KINDS:
        raise ValueError(f"Got kind={kind!r}, but expected one of {KINDS}.")
    random_state = check_random_state(random_state)

    mean, covariance = _target_moments(n_features, kind, shift)
    X_source = random_state.normal(size=(n_source, n_features))
    root = np.linalg.cholesky(covariance)
    X_target = random_state.normal(size=(n_target, n_features)) @ root.T + mean
    return CovariateShift(
        X_source,
        _draw_labels(X_source, random_state),
        X_target,
        _draw_labels(X_target, random_state),
        _log_ratio(X_source, mean, root),
    )


def _target_moments(n_features, kind, shift):
    mean, covariance = np.zeros(n_features), np.eye(n_features)
    if kind == "mean":
        n_shifted = min(n_features, 4)
        mean[:n_shifted] = shift / np.sqrt(n_shifted)
    elif kind == "variance":
        n_shifted = min(n_features, 3)
        covariance[range(n_shifted), range(n_shifted)] = np.exp(-shift)
    else:
        covariance[0, 1] = covariance[1, 0] = np.tanh(shift)
    return mean, covariance


def _log_ratio(X, mean, root):
    whitened = np.linalg.solve(root, (X - mean).T)
    log_target = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(root)).sum()
    return log_target + 0.5 * (X**2).sum(axis=1)


def _draw_labels(X, random_state):
    margin = X[:, 0] + X[:, 1] ** 2 - 1  # curved, so that a linear learner gains from weights
    return (random_state.logistic(scale=0.25, size=len(X)) < margin).astype(int)
