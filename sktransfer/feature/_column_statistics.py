"""Means, scales and principal axes of weighted rows."""

import numpy as np
from sklearn.utils.extmath import svd_flip

__all__ = ["as_share", "column_statistics", "divide_by_scale", "principal_axes"]


def as_share(weight):
    """Return weights that sum to 1."""
    return weight / weight.sum()


def column_statistics(X, weight):
    """Return the mean and the standard deviation of each column.

    The latter is exactly 0 where a column differs by rounding errors only, and NaN where one
    row says nothing of it.
    """
    share = as_share(weight)
    mean = share @ X
    scale = np.sqrt(share @ (X - mean) ** 2 / _degrees_of_freedom(share))
    # Rounding grows with the size of the values, and with their number.
    noise = 10 * np.finfo(np.float64).eps * np.abs(X).max(axis=0) * np.sqrt(len(X))
    return mean, np.where(scale <= noise, 0.0, scale)


def divide_by_scale(X, scale):
    """Divide columns by their scales; those without one stay as they are."""
    return X / np.where(scale > 0, scale, 1.0)


def principal_axes(X, weight):
    """Return the principal axes of centred rows, and the variance along each, largest first.

    Parameters
    ----------
    X : float64 array of shape (n_rows, n_columns)
        Rows with a weighted mean of zero.
    weight : float64 array of shape (n_rows,)

    Returns
    -------
    axes : float64 array of shape (n_columns, rank)
        Orthonormal columns, each with its largest entry positive.
    variance : float64 array of shape (rank,)
    """
    share = as_share(weight)
    weighted = X * np.sqrt(share / _degrees_of_freedom(share))[:, None]
    if len(X) < X.shape[1]:
        _, singular, rows = np.linalg.svd(weighted, full_matrices=False)
        variance, axes = singular**2, rows.T
    else:
        variance, axes = np.linalg.eigh(weighted.T @ weighted)
        variance, axes = variance[::-1], axes[:, ::-1]
    tolerance = 10 * max(X.shape) * np.finfo(np.float64).eps
    rank = int(np.count_nonzero(variance > tolerance * variance[0])) if variance[0] > 0 else 0
    _, rows = svd_flip(None, axes[:, :rank].T, u_based_decision=False)
    return rows.T, variance[:rank]


def _degrees_of_freedom(share):
    """Return what makes the variance unbiased: (n - 1) / n for n equal shares; NaN for one row."""
    rest = 1 - share @ share
    return rest if len(share) > 1 and rest > 0 else np.nan
