"""How well two domains can be told apart, at little cost."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.metrics import roc_auc_score

from sktransfer.domain import stack_rows, take_rows
from sktransfer.instance._cross_fitting import assign_folds, identify_rows
from sktransfer.instance._kernels import compute_kernel, compute_squared_distances
from sktransfer.instance._matrix import as_matrix
from sktransfer.instance._standard_columns import names_of_columns, standardize_columns
from sktransfer.utils._threads import single_threaded_algebra

__all__ = ["measure_domain_auc"]

MOST_ROWS = 200  # of each domain
LEAST_ROWS = 10  # of each domain: fewer are told apart by chance
N_FOLDS = 5
RIDGE = 0.1  # on kernels of which each has a mean of about 1 on the diagonal


def measure_domain_auc(X_source, X_target):
    """Return how well the domains of held-out rows are told, or None where there are too few.

    Least squares with a linear and a Gaussian kernel, on at most 200 rows of each
    domain: enough to see that domains do not overlap, for some milliseconds.

    Parameters
    ----------
    X_source, X_target : array or DataFrame
        Rows of the two domains. Missing numbers count as the mean of their column.

    Returns
    -------
    auc : float or None
    """
    if min(len(X_source), len(X_target)) < LEAST_ROWS:
        return None
    X_source, X_target = _take_some(X_source), _take_some(X_target)
    matrix, is_category = as_matrix(stack_rows(X_target, X_source))
    is_target = np.arange(len(matrix)) < len(X_target)
    folds = assign_folds(identify_rows(matrix), is_target, N_FOLDS, np.random.RandomState(0))
    if folds is None:
        return None
    matrix[:, ~is_category] = _fill_with_means(matrix[:, ~is_category])
    columns = standardize_columns(
        matrix, is_category, "measure_domain_auc", names_of_columns(X_target)
    )
    with single_threaded_algebra():
        scores = _predict_held_out(_compute_kernel(columns), is_target, folds)
    return float(roc_auc_score(is_target, scores))


def _take_some(X):
    steps = np.linspace(0, len(X) - 1, min(len(X), MOST_ROWS))
    return take_rows(X, steps.astype(int))


def _fill_with_means(matrix):
    is_missing = np.isnan(matrix)
    n_present = np.maximum((~is_missing).sum(axis=0), 1)
    means = np.where(is_missing, 0, matrix / n_present).sum(axis=0)
    return np.where(is_missing, means, matrix)


def _compute_kernel(columns):
    distances = compute_squared_distances(columns, columns)
    median = np.median(distances)
    linear = columns @ columns.T
    scale = np.trace(linear) / len(linear)
    gaussian = compute_kernel(distances, 0.5 / median if median > 0 else 1.0)
    return 1 + linear / (scale if scale > 0 else 1.0) + gaussian


def _predict_held_out(kernel, is_target, folds):
    scores = np.empty(len(kernel))
    signs = np.where(is_target, 1.0, -1.0)
    for fold in range(folds.max() + 1):
        rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        of_rest = kernel[np.ix_(rest, rest)]
        of_rest[np.diag_indices_from(of_rest)] += RIDGE
        coefficients = cho_solve(cho_factor(of_rest), signs[rest])
        scores[held_out] = kernel[np.ix_(held_out, rest)] @ coefficients
    return scores
