"""Rows of two domains as columns in which distances mean something."""

import numpy as np

from sktransfer.domain import is_frame, stack_rows
from sktransfer.instance._matrix import as_matrix

__all__ = ["draw_in_order", "names_of_columns", "standardize_columns", "to_standard_columns"]

MAX_CATEGORIES = 1000  # of a column; more are names of rows rather than categories
NO_SPREAD = 1e-14  # spread of a column, relative to its values, that is only rounding


def to_standard_columns(X_source, X_target, method):
    """Return both domains as float64 columns with the same scale.

    Parameters
    ----------
    X_source, X_target : array or DataFrame

    method : str
        Name of the class that asks, for errors.
    """
    matrix, is_category = as_matrix(stack_rows(X_target, X_source))
    columns = standardize_columns(matrix, is_category, method, names_of_columns(X_target))
    return columns[len(X_target) :], columns[: len(X_target)]


def names_of_columns(X):
    """Return what errors call the columns of a matrix that `as_matrix` made."""
    return list(X.columns) if is_frame(X) else range(np.prod(X.shape[1:], dtype=int))


def standardize_columns(matrix, is_category, method, names):
    """Return columns in which distances mean something.

    Numbers get the mean 0 and the variance 1 over all rows. A column of categories becomes one of
    zeros and ones for each category, a missing one included, so that two rows that differ in it
    are as far apart as two rows usually are in a column of numbers.

    Parameters
    ----------
    matrix, is_category
        The rows of both domains, as `as_matrix` gives them.

    method : str
        Name of the class that asks, for errors.

    names : sequence
        Names of the columns, for errors.

    Raises
    ------
    ValueError
        When numbers are missing, or a column has too many categories.
    """
    is_missing = np.isnan(matrix) & ~is_category
    if is_missing.any():
        missing = [repr(names[i]) for i in np.flatnonzero(is_missing.any(axis=0))]
        where = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
        raise ValueError(
            f"Got X_source and X_target with missing values (NaN) in "
            f"{np.count_nonzero(is_missing.any(axis=1))} rows, in the column {where}, but "
            f"{method} compares rows by their distance; impute both domains first, "
            "or use DomainClassifierWeighting, which takes missing values."
        )
    blocks = [_standardize(matrix[:, ~is_category])]
    blocks += [_to_indicators(matrix[:, i], method, names[i]) for i in np.flatnonzero(is_category)]
    return np.hstack(blocks)


def _standardize(matrix):
    # Divided by their largest value first, so that no square overflows or is lost.
    largest = np.abs(matrix).max(axis=0, initial=0)
    columns = matrix / np.where(largest > 0, largest, 1)
    columns -= columns.mean(axis=0)
    spread = np.sqrt((columns**2).mean(axis=0))
    columns[:, spread <= NO_SPREAD] = 0
    return columns / np.where(spread > NO_SPREAD, spread, 1)


def _to_indicators(codes, method, name):
    values, positions = np.unique(codes, return_inverse=True)
    if len(values) > MAX_CATEGORIES:
        raise ValueError(
            f"Got X_source and X_target with a column of {len(values)} categories, {name!r}, but "
            f"{method} makes a column of each, and expected at most {MAX_CATEGORIES}; leave it out "
            "or group its categories, or use DomainClassifierWeighting."
        )
    return np.eye(len(values))[positions]


def draw_in_order(columns, n_rows, random_state):
    """Return the positions of at most ``n_rows`` rows, in an order that their content decides.

    So the draw does not depend on the order in which the rows came.
    """
    order = np.lexsort(columns.T[::-1])
    if len(order) <= n_rows:
        return order
    return order[np.sort(random_state.choice(len(order), n_rows, replace=False))]
