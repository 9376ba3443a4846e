"""What columns hold, whatever their dtype says."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer.utils._columns import (
    check_column_names_differ,
    check_column_values,
    describe_column,
    kind_of_column,
)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1, 2]), "numbers"),
        (np.array([True, False]), "numbers"),
        (np.array([1, 2.5, None, np.nan], dtype=object), "numbers"),
        (np.array([True, np.int8(3)], dtype=object), "numbers"),
        (np.array(["a", "b"]), "text"),
        (np.array(["a", None, np.nan, pd.NA], dtype=object), "text"),
        (np.array(["a", 1], dtype=object), "values"),
        (np.array([(1, 2), None], dtype=object), "values"),
        (np.array(["2024-01-01"], dtype="datetime64[D]"), "dates"),
        (np.array([datetime.date(2024, 1, 1), pd.NaT], dtype=object), "dates"),
        (np.array([3], dtype="timedelta64[s]"), "durations"),
        (np.array([datetime.timedelta(1)], dtype=object), "durations"),
        (np.array([None, np.nan], dtype=object), None),
        (np.zeros(0, dtype=object), None),
    ],
)
def test_kinds(values, kind):
    assert kind_of_column(values) == kind


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pd.Series([None, "judge"], dtype="object"), "dtype=object (such as 'judge')"),
        (pd.Series([np.nan, 1 / 3]), "dtype=float64 (such as 0.333333)"),
        (pl.Series([3]), "dtype=Int64 (such as 3)"),
        (pd.Series([None], dtype="object"), "dtype=object"),
        (np.array(["x" * 100]), "dtype=<U100 (such as '" + "x" * 36 + "...)"),
    ],
)
def test_description(column, text):
    assert describe_column(column, np.asarray(column)) == text


def test_equal_names():
    check_column_names_differ(["a", 1, "1"], "X")
    with pytest.raises(ValueError, match="Got X with the column name 'b' 3 times"):
        check_column_names_differ(["a", "b", "b", "c", "c", "b"], "X")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, -np.inf]), "infinity in the column 'a'"),
        (np.array(["b", np.float64(np.inf)], dtype=object), "infinity in the column 'a'"),
        (np.array([np.nan, -1e200]), r"values up to 1e\+200 in the column 'a'"),
        (np.array([1j]), "complex numbers in the column 'a'"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=f"Got X with {message}.*; "):
        check_column_values(values, "a", "X")


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0, np.nan]),
        np.array([3e38, 1], dtype=np.float32),
        np.array([np.nan, None, "inf", 2, 1.5], dtype=object),
        np.array([[0.0], [np.inf]]).T.astype(str)[0],
        np.array([2**62]),
    ],
)
def test_good_values(values):
    check_column_values(values, "a", "X")
