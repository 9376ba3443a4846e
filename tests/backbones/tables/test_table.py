import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer import ColumnMismatchWarning
from sktransfer.backbones.tables._column import Kind
from sktransfer.backbones.tables._table import Table

PANDAS = {
    "int8": (pd.Series([1, 2], dtype="int8"), Kind.NUMBERS),
    "float32": (pd.Series([1, 2], dtype="float32"), Kind.NUMBERS),
    "UInt16": (pd.Series([1, None], dtype="UInt16"), Kind.NUMBERS),
    "Float64": (pd.Series([1, None], dtype="Float64"), Kind.NUMBERS),
    "int64[pyarrow]": (pd.Series([1, None], dtype="int64[pyarrow]"), Kind.NUMBERS),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.0, 1.0])), Kind.NUMBERS),
    "bool": (pd.Series([True, False]), Kind.CATEGORIES),
    "boolean": (pd.Series([True, None], dtype="boolean"), Kind.CATEGORIES),
    "bool[pyarrow]": (pd.Series([True, None], dtype="bool[pyarrow]"), Kind.CATEGORIES),
    "category": (pd.Series(["a", None], dtype="category"), Kind.CATEGORIES),
    "category of bool": (pd.Series([True, False], dtype="category"), Kind.CATEGORIES),
    "category of int": (pd.Series([1, 2], dtype="category"), Kind.CATEGORIES),
    "intervals": (pd.Series(pd.cut([1.0, 2.0], 2)), Kind.CATEGORIES),
    "object": (pd.Series(["a", None], dtype=object), Kind.TEXTS),
    "string[python]": (pd.Series(["a", None], dtype="string[python]"), Kind.TEXTS),
    "string[pyarrow]": (pd.Series(["a", None], dtype="string[pyarrow]"), Kind.TEXTS),
    "datetime": (pd.Series(pd.date_range("2020", periods=2)), Kind.TIMES),
    "datetime, zone": (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), Kind.TIMES),
    "timestamp[pyarrow]": (
        pd.Series(pd.date_range("2020", periods=2)).astype("timestamp[ns][pyarrow]"),
        Kind.TIMES,
    ),
    "date32[pyarrow]": (
        pd.Series(pd.date_range("2020", periods=2)).astype("date32[day][pyarrow]"),
        Kind.TIMES,
    ),
    "period": (pd.Series(pd.period_range("2020", periods=2)), Kind.TIMES),
    "timedelta": (pd.Series(pd.to_timedelta([1, 2])), Kind.TIMES),
    "complex": (pd.Series([1j, 2]), Kind.COMPLEX),
    "no values": (pd.Series([None, None], dtype=object), Kind.EMPTY),
}
POLARS = {
    "Int8": (pl.Series([1, None], dtype=pl.Int8), Kind.NUMBERS),
    "Float32": (pl.Series([1.0, None], dtype=pl.Float32), Kind.NUMBERS),
    "Decimal": (pl.Series(["1.5", None]).cast(pl.Decimal(10, 2)), Kind.NUMBERS),
    "Boolean": (pl.Series([True, None]), Kind.CATEGORIES),
    "Categorical": (pl.Series(["a", None], dtype=pl.Categorical), Kind.CATEGORIES),
    "Enum": (pl.Series(["a", None], dtype=pl.Enum(["b", "a"])), Kind.CATEGORIES),
    "String": (pl.Series(["a", None]), Kind.TEXTS),
    "Date": (pl.Series([None], dtype=pl.Date), Kind.TIMES),
    "Duration": (pl.Series([None], dtype=pl.Duration), Kind.TIMES),
    "List": (pl.Series([[1]]), Kind.NESTED),
    "Null": (pl.Series([None, None]), Kind.EMPTY),
}


@pytest.mark.parametrize("case", PANDAS)
def test_kind_of_pandas(case):
    values, kind = PANDAS[case]
    assert Table(pd.DataFrame({"a": values})).read(0).kind is kind


@pytest.mark.parametrize("case", POLARS)
def test_kind_of_polars(case):
    values, kind = POLARS[case]
    assert Table(pl.DataFrame({"a": values})).read(0).kind is kind


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.ones((2, 1)), Kind.NUMBERS),
        (np.ones((2, 1), dtype="uint8"), Kind.NUMBERS),
        (np.ones((2, 1), dtype=bool), Kind.CATEGORIES),
        (np.array([["a"], ["b"]]), Kind.TEXTS),
        (np.array([["a"], [1.5]], dtype=object), Kind.TEXTS),
        (np.array([[1], [1.5]], dtype=object), Kind.NUMBERS),
        (np.zeros((2, 1), dtype="M8[s]"), Kind.TIMES),
        (np.zeros((2, 1), dtype=complex), Kind.COMPLEX),
        ([["a"], ["b"]], Kind.TEXTS),
        ([[1.5], [2]], Kind.NUMBERS),
    ],
    ids=repr,
)
def test_kind_of_arrays(X, kind):
    assert Table(X).read(0).kind is kind


def test_texts_and_numbers_of_a_list_stay_apart():
    table = Table([["a", 1.5], ["b", 2.5]])
    assert table.read(0).distinct == ["a", "b"]
    np.testing.assert_array_equal(table.read(1).numbers, [1.5, 2.5])


def test_missing_values_of_polars():
    X = pl.DataFrame({"a": [1, None], "b": ["x", None], "c": [True, None]})
    table = Table(X)
    np.testing.assert_array_equal(table.read(0).numbers, [1, np.nan])
    assert table.read(1).codes.tolist() == [0, -1]
    assert table.read(2).codes.tolist() == [0, -1]


def test_names():
    X = pd.DataFrame(np.ones((2, 3)), columns=list("abc"))
    assert Table(X).names == ("a", "b", "c")
    assert Table(pl.from_pandas(X)).names == ("a", "b", "c")
    assert Table(pd.DataFrame(np.ones((2, 3)))).names is None
    assert Table(np.ones((2, 3))).names is None


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_taking_columns(make):
    table = Table(make({"a": [1.0], "b": [2.0], "c": [3.0]}))
    assert table.take_columns(None) is table
    with pytest.warns(ColumnMismatchWarning, match=r"'b', which it did not have in fit"):
        taken = table.take_columns(["c", "a"])
    assert taken.names == ("c", "a")
    assert taken.read(0).numbers == [3]
    with pytest.raises(ValueError, match=r"without the columns 'd', which it had in fit"):
        table.take_columns(["a", "d"])


def test_an_array_takes_the_names():
    assert Table(np.ones((2, 2))).take_columns(["a", "b"]).names == ("a", "b")


def test_frames_of_others():
    pyarrow = pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"pyarrow\.lib\.Table.*X\.to_pandas\(\)"):
        Table(pyarrow.table({"a": [1]}))
    with pytest.raises(TypeError, match=r"lazy frame.*X\.collect\(\)"):
        Table(pl.DataFrame({"a": [1]}).lazy())
    dask = pytest.importorskip("dask.dataframe")
    with pytest.raises(TypeError, match=r"lazy frame.*X\.compute\(\)"):
        Table(dask.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1))
