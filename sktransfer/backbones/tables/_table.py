"""Rows of a table in any container, read column by column."""

import warnings

import numpy as np
from scipy.sparse import issparse

from sktransfer.backbones.tables._alignment import list_names
from sktransfer.backbones.tables._column import Column, Kind
from sktransfer.exceptions import ColumnMismatchWarning


class Table:
    """The columns of a frame (pandas, polars), of a 2-D array or of a list of rows.

    Parameters
    ----------
    X : frame or array-like of shape (n, n_columns)
    names : tuple of str, default=None
        Of the columns of an array, where they are known.

    Attributes
    ----------
    names : tuple of str or None
        None for what has no names: arrays, and frames whose columns are numbered.
    n_rows, n_columns : int
    is_frame : bool
    rows : frame or ndarray
        The container, where it was a list an array.

    Raises
    ------
    TypeError
        For sparse matrices, and for names of which only some are texts.
    ValueError
        For no rows, repeated names, and what has not two dimensions.
    """

    def __init__(self, X, names=None):
        if issparse(X):
            raise TypeError(
                f"Got X as a sparse matrix of shape {X.shape}, but a network of tables takes dense "
                "columns; expected a frame or an array, X.toarray()."
            )
        self.library = type(X).__module__.partition(".")[0] if has_columns(X) else None
        self.is_frame = self.library is not None
        if self.is_frame:
            _check_library(X, self.library)
        self.rows = X if self.is_frame else as_array(X)
        shape = self.rows.shape
        if len(shape) != 2:
            raise ValueError(
                f"Got X of shape {tuple(shape)}, but the backbone takes rows of a table. Expected "
                "2D array or a frame; reshape your data: X.reshape(1, -1) for a single row."
            )
        self.n_rows, self.n_columns = int(shape[0]), int(shape[1])
        if not self.n_rows:
            raise ValueError(
                f"Got X with 0 sample(s) (shape={tuple(shape)}), but a minimum of 1 is required."
            )
        self.names = _read_names(X.columns) if self.is_frame else names

    def take_columns(self, names):
        """Return the table with the columns that it had before, in their order.

        An array gets these names, whose order it must have. New columns are left out.

        Parameters
        ----------
        names : sequence of str or None
            None: there were no names.

        Raises
        ------
        ValueError
            If a column is missing.
        """
        if names is None or self.names == tuple(names):
            return self
        names = tuple(names)
        if self.names is None:
            return Table(self.rows, names) if self.n_columns == len(names) else self
        missing = tuple(name for name in names if name not in self.names)
        if missing:
            raise ValueError(
                f"Got X without the columns {list_names(missing)}, which it had in fit; expected "
                f"the same columns, in any order: {list_names(names)}."
            )
        known = set(names)
        extra = tuple(name for name in self.names if name not in known)
        if extra:
            warnings.warn(
                f"Got X with the columns {list_names(extra)}, which it did not have in fit and "
                "which are left out.",
                ColumnMismatchWarning,
                stacklevel=2,
            )
        return Table(self.rows[list(names)])

    def read(self, position):
        """Return the `Column` at a position."""
        if not self.is_frame:
            return _read_array(self.rows[:, position])
        if self.library == "polars":
            return _read_polars(self.rows.to_series(position))
        return _read_pandas(self.rows.iloc[:, position])


def has_columns(X):
    """Tell whether this is a frame, of whatever library."""
    # Of its class, since a lazy frame computes its columns.
    return hasattr(type(X), "columns")


def _check_library(X, library):
    """Raise for frames that are not in memory, or of a library that is not known."""
    if hasattr(X, "dask") or hasattr(X, "collect"):
        way_out = "X.compute()" if hasattr(X, "dask") else "X.collect()"
        raise TypeError(f"Got X as a lazy frame, but expected rows in memory: {way_out}.")
    if library != "polars" and not hasattr(X, "iloc"):
        raise TypeError(
            f"Got X as a {type(X).__module__}.{type(X).__name__}, but expected a frame of pandas "
            "or polars, or an array; make one of it, such as X.to_pandas()."
        )


def as_array(X):
    """Return rows as an array that keeps texts and numbers of a list apart."""
    if isinstance(X, list | tuple):
        lengths = {np.size(row) for row in X}
        if len(lengths) > 1:
            raise ValueError(
                f"Got X with rows of {sorted(lengths)[:4]} values, but expected rows of equal "
                "length."
            )
        if any(
            isinstance(value, str) for row in X if isinstance(row, list | tuple) for value in row
        ):
            return np.array(X, dtype=object)
    return np.asarray(X)


def _read_names(columns):
    names = list(columns)
    n_texts = sum(isinstance(name, str) for name in names)
    if 0 < n_texts < len(names):
        kinds = sorted({type(name).__name__ for name in names})
        raise TypeError(
            f"Got X with names of columns of the types {', '.join(kinds)}, but expected texts: "
            "X.columns = X.columns.astype(str)."
        )
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"Got X with repeated columns: {repeated[:4]}; expected each name once.")
    return tuple(map(str, names)) if n_texts else None


def _read_array(values):
    kind = values.dtype.kind
    if kind in "fiu":
        return Column.of_numbers(values)
    if kind == "b":
        return Column.of_categories(values.astype(np.intp), [False, True])
    if kind in "mM":
        return Column(Kind.TIMES)
    if kind == "c":
        return Column(Kind.COMPLEX)
    return Column.of_objects(values.tolist())


def _read_pandas(series):
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return Column.of_categories(series.cat.codes.to_numpy(), series.cat.categories.tolist())
    if getattr(dtype, "kind", "O") in "mM" or isinstance(dtype, pd.PeriodDtype):
        return Column(Kind.TIMES)
    if pd.api.types.is_complex_dtype(dtype):
        return Column(Kind.COMPLEX)
    if pd.api.types.is_bool_dtype(dtype):
        return Column.of_objects(series.to_numpy(dtype=object), Kind.CATEGORIES)
    if pd.api.types.is_numeric_dtype(dtype):
        return Column.of_numbers(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return Column.of_objects(series.to_numpy(dtype=object))


def _read_polars(series):
    import polars as pl

    dtype = series.dtype
    if dtype.is_temporal():
        return Column(Kind.TIMES)
    if dtype.is_nested():
        return Column(Kind.NESTED)
    if dtype.is_numeric():
        return Column.of_numbers(series.cast(pl.Float64).to_numpy())
    is_category = dtype in (pl.Boolean, pl.Categorical, pl.Enum)
    return Column.of_objects(series.to_list(), Kind.CATEGORIES if is_category else None)
