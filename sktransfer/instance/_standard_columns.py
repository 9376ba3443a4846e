"""Rows of two domains as columns in which distances mean something."""

import numpy as np

from sktransfer.domain import stack_rows
from sktransfer.instance._matrix import as_matrix

__all__ = ["draw_in_order", "to_standard_columns"]

MAX_CATEGORIES = 1000  # of a column; more are names of rows rather than categories


def to_standard_columns(X_source, X_target, method):
    """Return both domains as float64 columns with the same scale.

    Numbers get the mean 0 and the variance 1 over the rows of both domains. A column of
    categories becomes one of zeros and ones for each category, a missing one included, so that
    two rows that differ in it are as far apart as two rows usually are in a column of numbers.

    Parameters
    ----------
    X_source, X_target : array or DataFrame

    method : str
        Name of the class that asks, for the error.

    Raises
    ------
    ValueError
        When numbers are missing, or a column has too many categories.
    """
    n_target = len(X_target)
    matrix, is_category = as_matrix(stack_rows(X_target, X_source))
    n_missing = int(np.isnan(matrix[:, ~is_category]).any(axis=1).sum())
    if n_missing:
        raise ValueError(
            f"Got X_source and X_target with missing values in {n_missing} rows, but {method} "
            "compares rows by their distance; impute both domains first, or use "
            "DomainClassifierWeighting, which takes missing values."
        )
    blocks = [_standardize(matrix[:, ~is_category])]
    blocks += [_to_indicators(codes, method) for codes in matrix.T[is_category]]
    columns = np.hstack(blocks)
    return columns[n_target:], columns[:n_target]


def _standardize(matrix):
    # Scaled first: the squares of very large or small numbers are lost.
    span = matrix.max(axis=0) - matrix.min(axis=0)
    scaled = (matrix - matrix.min(axis=0)) / np.where(span > 0, span, 1)
    deviation = scaled.std(axis=0)
    return (scaled - scaled.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _to_indicators(codes, method):
    values, positions = np.unique(codes, return_inverse=True)
    if len(values) > MAX_CATEGORIES:
        raise ValueError(
            f"Got X_source and X_target with a column of {len(values)} categories, but {method} "
            f"makes a column of each, and expected at most {MAX_CATEGORIES}; leave the column out "
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
