"""What methods that measure rows by a Gaussian kernel share."""

from typing import NamedTuple

import numpy as np

from sktransfer.domain import stack_rows
from sktransfer.instance._matrix import as_matrix
from sktransfer.instance._standard_columns import names_of_columns, standardize_columns
from sktransfer.utils._validation import check_number, check_option

__all__ = [
    "WIDTHS",
    "KernelRows",
    "assign_folds",
    "check_gamma",
    "choose_landmarks",
    "choose_rows",
    "compute_kernel",
    "compute_squared_distances",
    "log_of",
    "median_squared_distance",
    "prepare_rows",
]

WIDTHS = (0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5)  # of kernels to try, as shares of the median
MISSING = -1  # code of a category that is missing; the others are not negative
ROWS_FOR_MEDIAN = 500  # of each domain


class KernelRows(NamedTuple):
    """Rows of both domains with comparable columns, in an order that depends on content only."""

    source: np.ndarray
    target: np.ndarray
    source_order: np.ndarray

    def in_given_order(self, values):
        """Return one value a source row, in the order in which the rows were given."""
        given = np.empty_like(values)
        given[self.source_order] = values
        return given


def prepare_rows(X_source, X_target, method):
    """Give all columns the same spread, over the rows of both domains, and sort the rows.

    What is then computed, drawn at random included, does not depend on the order in which rows
    were given.

    Parameters
    ----------
    X_source, X_target : array or DataFrame
        Rows of the two domains.

    method : str
        Name of the class that asks, for errors.

    Returns
    -------
    KernelRows
    """
    matrix, is_category = as_matrix(stack_rows(X_target, X_source))
    matrix[:, is_category] = np.nan_to_num(matrix[:, is_category], nan=MISSING)
    target, source = matrix[: len(X_target)], matrix[len(X_target) :]
    source_order = _order_by_content(source)
    matrix = np.concatenate([target[_order_by_content(target)], source[source_order]])
    columns = standardize_columns(matrix, is_category, method, names_of_columns(X_target))
    return KernelRows(columns[len(target) :], columns[: len(target)], source_order)


def _order_by_content(matrix):
    """Sort rows by their first column, those that tie by the next, and so on."""
    n_columns = matrix.shape[1]
    n_keys = min(4, n_columns)
    while True:
        keys = matrix[:, :n_keys]
        order = np.lexsort(keys.T[::-1])
        has_ties = (keys[order[1:]] == keys[order[:-1]]).all(axis=1).any()
        if n_keys == n_columns or not has_ties:
            return order
        n_keys = min(8 * n_keys, n_columns)


def compute_squared_distances(rows, centers):
    """Return the squared distance of each row to each center."""
    distances = rows @ (-2 * centers.T)
    distances += (rows**2).sum(axis=1)[:, None]
    distances += (centers**2).sum(axis=1)
    return np.maximum(distances, 0, out=distances)


def compute_kernel(squared_distances, gamma, out=None):
    """Return ``exp(-gamma * squared_distances)``."""
    kernel = np.multiply(squared_distances, -gamma, out=out)
    return np.exp(kernel, out=kernel)


def median_squared_distance(rows, random_state):
    """Return the median over pairs of distinct rows, or 1 where there are none.

    Parameters
    ----------
    rows : KernelRows
        Up to 500 rows of each domain are drawn from them.

    random_state : RandomState instance
        Draws.
    """
    drawn = np.concatenate(
        [choose_rows(X, ROWS_FOR_MEDIAN, random_state) for X in (rows.source, rows.target)]
    )
    distances = compute_squared_distances(drawn, drawn)[np.triu_indices(len(drawn), k=1)]
    # Distances of equal rows may come out as rounding, not as 0.
    distances = distances[distances > 1e-10]
    return float(np.median(distances)) if len(distances) else 1.0


def choose_rows(rows, n_rows, random_state):
    """Draw rows at random, or take all where there are no more."""
    if len(rows) <= n_rows:
        return rows
    return rows[np.sort(random_state.choice(len(rows), n_rows, replace=False))]


def choose_landmarks(rows, n_rows, random_state):
    """Draw rows, half of them from each domain unless one of them has too few."""
    n_target = min(len(rows.target), max((n_rows + 1) // 2, n_rows - len(rows.source)))
    return np.concatenate(
        [
            choose_rows(rows.target, n_target, random_state),
            choose_rows(rows.source, n_rows - n_target, random_state),
        ]
    )


def check_gamma(gamma, options):
    """Raise unless ``gamma`` is one of the words in ``options`` or a positive number."""
    if isinstance(gamma, str):
        check_option("gamma", gamma, options)
    else:
        check_number("gamma", gamma, low=0, low_open=True)


def assign_folds(n_rows, n_folds, random_state):
    """Give each row one of ``n_folds`` folds of nearly equal size."""
    return random_state.permutation(n_rows) % n_folds


def log_of(weights):
    """Return the logarithm, ``-inf`` for 0."""
    with np.errstate(divide="ignore"):
        return np.log(weights)
