"""Rows of any kind as one matrix of floats, for methods that measure rows."""

import datetime

import numpy as np

from sktransfer.domain import is_frame
from sktransfer.utils._validation import is_missing

__all__ = ["as_matrix"]


def as_matrix(X):
    """Turn rows into float64 columns.

    Images are flattened, dates become seconds. Columns of other kinds become the positions of
    their values among the sorted ones; missing values become NaN.

    Parameters
    ----------
    X : array or DataFrame
        Rows of both domains, stacked, so that a value has one code.

    Returns
    -------
    matrix : float64 array of shape (n_rows, n_columns)

    is_category : boolean array of shape (n_columns,)
        Which columns hold codes.
    """
    if not is_frame(X):
        X = X.reshape(len(X), -1)
        if X.dtype.kind in "iufb":
            return X.astype(np.float64), np.zeros(X.shape[1], dtype=bool)
        columns = list(X.T)
    else:
        columns = [X[name].to_numpy() for name in X.columns]
    encoded = [_encode_column(column) for column in columns]
    return np.column_stack([codes for codes, _ in encoded]), np.array([c for _, c in encoded])


def _encode_column(column):
    """Return the numbers or the codes of a column, and whether they are codes."""
    if column.dtype.kind in "iufb":
        return column.astype(np.float64), False
    if column.dtype.kind in "mM":
        return np.where(np.isnat(column), np.nan, column.astype(np.int64)), False
    present = ~np.array([is_missing(value) for value in column], dtype=bool)
    values = [value for value, keep in zip(column, present, strict=True) if keep]
    codes = np.full(len(column), np.nan)
    if values and all(isinstance(value, datetime.date) for value in values):
        codes[present] = [_to_seconds(value) for value in values]
        return codes, False
    try:
        codes[present] = np.array(values, dtype=np.float64)
        return codes, any(isinstance(value, str) for value in values)
    except (TypeError, ValueError):
        codes[present] = np.unique([str(value) for value in values], return_inverse=True)[1]
        return codes, True


def _to_seconds(date):
    """Return the seconds from 1970 to a date, whatever its time zone."""
    if not isinstance(date, datetime.datetime):
        return (date - datetime.date(1970, 1, 1)).total_seconds()
    return (
        date - datetime.datetime(1970, 1, 1, tzinfo=date.tzinfo and datetime.UTC)
    ).total_seconds()
