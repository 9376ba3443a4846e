"""What the columns of frames and arrays hold, whatever their dtype says."""

import datetime
import math
import numbers
from collections import Counter

import numpy as np

from sktransfer.utils._validation import LARGEST, is_missing

__all__ = ["check_column_names_differ", "check_column_values", "describe_column", "kind_of_column"]

KINDS = {
    "numbers": (numbers.Number, np.number, np.bool_),
    "text": (str, bytes),
    "dates": (datetime.date, np.datetime64),
    "durations": (datetime.timedelta, np.timedelta64),
}
KINDS_OF_DTYPES = {"numbers": "iufbc", "text": "US", "dates": "M", "durations": "m"}


def kind_of_column(values):
    """Return "numbers", "text", "dates", "durations", or "values" of another or of mixed kinds.

    None stands for a column without any value.
    """
    for kind, dtypes in KINDS_OF_DTYPES.items():
        if values.dtype.kind in dtypes:
            return kind
    types = set(map(type, values))
    if len(types) > 1:  # a float may be a NaN among text
        types = {type(value) for value in values if not is_missing(value)}
    if not types:
        return None
    for kind, classes in KINDS.items():
        if all(issubclass(each, classes) for each in types):
            return kind
    return "values"


def describe_column(column, values):
    """Return the dtype and the first value that is not missing."""
    first = next((value for value in values.tolist() if not is_missing(value)), None)
    example = "" if first is None else f" (such as {_shorten(first)})"
    return f"dtype={column.dtype}{example}"


def _shorten(value):
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    text = f"{value:g}" if isinstance(value, float) else text
    return text if len(text) <= 40 else text[:37] + "..."


def check_column_names_differ(names, name):
    """Raise where a column name comes twice: it would stand for two columns."""
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"Got {name} with the column name {repeated[0]!r} {names.count(repeated[0])} times, "
            "but expected names that differ; rename or drop columns."
        )


def check_column_values(values, column, name):
    """Raise unless the numbers of a column are real, finite, and have finite squares.

    Parameters
    ----------
    values : array of shape (n_rows,)
    column : str or int
        Its name.
    name : str
        Of the rows, for errors.
    """
    if values.dtype.kind == "c":
        raise ValueError(
            f"Got {name} with complex numbers in the column {column!r} ({values[0]}), but "
            "expected real numbers; make columns of their parts."
        )
    if values.dtype.kind == "O":
        values = _floats_among(values)
    if values.dtype.kind != "f":
        return
    if np.isinf(values).any():
        raise ValueError(
            f"Got {name} with infinity in the column {column!r}, but expected finite values; "
            "remove the rows."
        )
    if values.dtype == np.float64:
        largest = np.fmax.reduce(np.abs(values), initial=0)
        if largest > LARGEST:
            raise ValueError(
                f"Got {name} with values up to {largest:g} in the column {column!r}, but expected "
                f"at most {LARGEST:g}, whose squares are finite; scale the column."
            )


def _floats_among(values):
    if not any(issubclass(each, float) for each in set(map(type, values))):
        return np.zeros(0)
    floats = [value for value in values if isinstance(value, float) and not math.isnan(value)]
    return np.array(floats, dtype=np.float64)
