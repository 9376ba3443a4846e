"""The source domain as one value, and the checks between two domains."""

import difflib

import numpy as np
from scipy import sparse

from sktransfer.utils._columns import (
    check_column_names_differ,
    check_column_values,
    describe_column,
    kind_of_column,
)
from sktransfer.utils._immutable import Immutable
from sktransfer.utils._validation import LARGEST, check_labels

__all__ = [
    "SourceDomain",
    "as_rows",
    "check_domain_rows",
    "check_domains",
    "is_frame",
    "stack_labels",
    "stack_rows",
    "take_rows",
]


class SourceDomain(Immutable):
    """Rows of the source domain, with their labels and weights.

    Hand it to the constructor of an instance-transfer estimator as ``source=``; ``fit`` then
    takes the target only. The object is immutable, clones of an estimator share it, and it has
    no length, so that cross-validation splits the target and leaves the source whole.

    Parameters
    ----------
    X : array of shape (n_rows, n_columns), (n_rows, height, width) or \
            (n_rows, height, width, channels), or a pandas or polars DataFrame
        Source rows. Missing values are allowed in tables, infinities are not.

    y : array-like of shape (n_rows,), default=None
        Labels of the source rows. ``None`` where only the rows are known.

    sample_weight : array-like of shape (n_rows,), default=None
        How much each source row counts, whatever the target looks like: finite, non-negative
        and not all zero.

    Attributes
    ----------
    X, y, sample_weight
        The data, as arrays that cannot be written to (frames stay frames). Arrays are not
        copied: do not change the ones that you passed.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.domain import SourceDomain
    >>> SourceDomain(np.zeros((500, 64)), np.arange(500) % 10)
    SourceDomain(500 rows x 64 columns, 10 classes)
    """

    __slots__ = ("X", "sample_weight", "y")

    def __init__(self, X, y=None, *, sample_weight=None):
        X = _read_only(check_domain_rows(X))
        n_rows = X.shape[0]
        y = None if y is None else _read_only(_check_labels(y, n_rows))
        if sample_weight is not None:
            sample_weight = _read_only(_check_sample_weight(sample_weight, n_rows))
        self._set(X=X, y=y, sample_weight=sample_weight)

    def __reduce__(self):
        return _rebuild_source_domain, (self.X, self.y, self.sample_weight)

    def __repr__(self):
        n_rows, *shape = self.X.shape
        if len(shape) == 1:
            parts = [f"{n_rows} rows x {shape[0]} columns"]
        else:
            parts = [f"{n_rows} images of {'x'.join(map(str, shape))}"]
        if self.y is None:
            parts.append("no labels")
        elif self.y.dtype.kind == "f":
            parts.append("float labels")
        else:
            parts.append(f"{len(np.unique(self.y))} classes")
        if self.sample_weight is not None:
            parts.append("weighted")
        return f"SourceDomain({', '.join(parts)})"


def _rebuild_source_domain(X, y, sample_weight):
    return SourceDomain(X, y, sample_weight=sample_weight)


def _is_pandas(X):
    return hasattr(X, "iloc") and hasattr(X, "columns")


def _is_polars(X):
    return type(X).__module__.partition(".")[0] == "polars" and hasattr(X, "columns")


def is_frame(X):
    """Whether ``X`` is a pandas or polars DataFrame."""
    return _is_pandas(X) or _is_polars(X)


def _container_name(X):
    if _is_pandas(X):
        return "pandas DataFrame"
    return "polars DataFrame" if _is_polars(X) else "NumPy array"


def as_rows(X, name="X"):
    """Return ``X`` as a frame or an array, without a copy where there need not be one."""
    if sparse.issparse(X):
        raise TypeError(
            f"Got {name}=<sparse matrix of shape {X.shape}>, but expected a dense array or a "
            f"DataFrame; pass {name}.toarray()."
        )
    return X if is_frame(X) else np.asarray(X)


def _read_only(X):
    if _is_pandas(X):
        # Deep: before pandas 3 a shallow copy shares its memory with the user's frame.
        return X.copy(deep=True)
    if _is_polars(X):
        return X.clone()
    view = X.view()
    view.flags.writeable = False
    return view


def check_domain_rows(X, name="X"):
    """Check the rows of one domain and return them as a frame or an array."""
    X = as_rows(X, name)
    if len(X.shape) not in (2, 3, 4):
        raise ValueError(
            f"Got {name} of shape {X.shape}, but expected rows and columns (2-D), or images as "
            "(n, height, width) or (n, height, width, channels); reshape it."
        )
    if 0 in X.shape:
        raise ValueError(
            f"Got {name} of shape {X.shape}, but expected at least one row and one column."
        )
    if isinstance(X, np.ndarray):
        _check_finite(X, name)
    else:
        check_column_names_differ(list(X.columns), name)
        for column in X.columns:
            check_column_values(X[column].to_numpy(), column, name)
    return X


def _check_finite(X, name):
    if X.dtype.kind == "c":
        raise ValueError(f"Got {name} with dtype={X.dtype}, but expected real numbers.")
    if X.dtype.kind == "O" and X.ndim == 2:
        for column, values in enumerate(X.T):
            check_column_values(values, column, name)
    if X.dtype.kind != "f":
        return
    if np.isinf(X).any():
        raise ValueError(f"Got {name} with infinity, but expected finite values; remove the rows.")
    largest = np.fmax.reduce(np.abs(X), axis=None, initial=0)
    if X.dtype == np.float64 and largest > LARGEST:
        raise ValueError(
            f"Got {name} with values up to {largest:g}, but expected at most {LARGEST:g}, whose "
            "squares are finite; scale the columns."
        )
    if X.ndim > 2 and np.isnan(X).any():
        raise ValueError(
            f"Got {name} of images with NaN, but expected finite values; remove the rows."
        )


def _check_labels(y, n_rows):
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"Got y of shape {y.shape}, but expected one label a row (1-D).")
    _check_length("y", y, n_rows)
    check_labels(y)
    return y


def _check_sample_weight(sample_weight, n_rows):
    sample_weight = np.asarray(sample_weight, dtype=np.float64)
    if sample_weight.ndim != 1:
        raise ValueError(
            f"Got sample_weight of shape {sample_weight.shape}, but expected one weight a row "
            "(1-D)."
        )
    _check_length("sample_weight", sample_weight, n_rows)
    if not np.isfinite(sample_weight).all():
        raise ValueError("Got sample_weight with NaN or infinity, but expected finite weights.")
    if (sample_weight < 0).any():
        raise ValueError(
            f"Got sample_weight with a minimum of {sample_weight.min():g}, but expected weights "
            "that are not negative."
        )
    with np.errstate(over="ignore"):
        total = sample_weight.sum()
    if np.isinf(total):
        raise ValueError(
            "Got sample_weight with a sum that is infinite, but expected a finite one; scale the "
            "weights."
        )
    if not sample_weight.any():
        raise ValueError(
            "Got sample_weight=0 for all rows, but expected at least one row that counts."
        )
    return sample_weight


def _check_length(name, values, n_rows):
    if len(values) != n_rows:
        raise ValueError(
            f"Got {name} of length {len(values)}, but expected {n_rows}, the number of rows of X."
        )


def check_domains(X_target, source):
    """Check that target and source rows have the same columns, of the same kind.

    Parameters
    ----------
    X_target : array or DataFrame
        Target rows.

    source : SourceDomain
        Source rows.

    Raises
    ------
    TypeError
        When one is a DataFrame and the other is not.
    ValueError
        When image shapes, numbers of columns, names of columns or kinds of columns differ.
    """
    X_source = source.X
    if _container_name(X_target) != _container_name(X_source):
        raise TypeError(
            f"Got a {_container_name(X_source)} as source and a {_container_name(X_target)} as "
            "target, but expected the same kind of container; pass both as DataFrames with the "
            "same column names, or both as arrays."
        )
    if is_frame(X_target):
        _check_column_names(list(X_target.columns), list(X_source.columns))
        _check_column_kinds(X_target, X_source)
    else:
        _check_array_shapes(X_target, X_source)


def _check_array_shapes(X_target, X_source):
    target, source = X_target.shape[1:], X_source.shape[1:]
    if target != source:
        if len(target) == len(source) == 1:
            got = f"a source with {source[0]} columns and a target with {target[0]} columns"
        else:
            got = f"source rows of shape {source} and target rows of shape {target}"
        raise ValueError(
            f"Got {got}, but expected the same; preprocessing that changes the columns must be "
            "applied to both domains, so put it into the wrapped estimator, or apply it to the "
            "source yourself."
        )
    kinds = {"text" if X.dtype.kind in "US" else "numbers" for X in (X_target, X_source)}
    if len(kinds) == 2 and "O" not in {X_target.dtype.kind, X_source.dtype.kind}:
        raise ValueError(
            f"Got source rows with dtype={X_source.dtype} and target rows with "
            f"dtype={X_target.dtype}, but expected both to be numbers or both to be text."
        )
    if len(target) == 1 and "O" in {X_target.dtype.kind, X_source.dtype.kind}:
        for column in range(X_target.shape[1]):
            _check_same_kind(column, X_target[:, column], X_source[:, column])


def _check_column_names(target, source):
    if target == source:
        return
    missing = [name for name in target if name not in source]
    extra = [name for name in source if name not in target]
    if not missing and not extra:
        raise ValueError(
            f"Got source columns in the order {_shorten(source)}, but expected the order of the "
            f"target, {_shorten(target)}; pass X_source[list(X_target.columns)]."
        )
    parts = []
    if missing:
        parts.append(f"the source lacks {_shorten([_with_near_miss(m, extra) for m in missing])}")
    if extra:
        parts.append(f"the source has {_shorten(extra)}, which the target lacks")
    raise ValueError(
        f"Got a source with {len(source)} columns, but expected the {len(target)} columns of the "
        f"target: {' and '.join(parts)}; rename or select the columns of the source."
    )


def _with_near_miss(name, candidates):
    near = difflib.get_close_matches(str(name), [str(c) for c in candidates], n=1)
    return f"{name!r} (near: {near[0]!r})" if near else repr(name)


def _shorten(names, most=5):
    shown = [name if isinstance(name, str) and "'" in name else repr(name) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


def _check_column_kinds(X_target, X_source):
    for name in X_target.columns:
        target, source = X_target[name], X_source[name]
        same_type = _is_numeric(target) == _is_numeric(source)
        _check_same_kind(name, target, source, same_type=same_type)


def _check_same_kind(name, target, source, *, same_type=True):
    """Raise where one column holds numbers and the other text, say; mixed ones go with all."""
    if same_type and _has_categories(target, source):
        return
    target_values, source_values = np.asarray(target), np.asarray(source)
    kinds = [kind_of_column(values) for values in (target_values, source_values)]
    differ = kinds[0] != kinds[1] and not {None, "values"} & set(kinds)
    if same_type and not differ:
        return
    raise ValueError(
        f"Got column {name!r} with {describe_column(source, source_values)} in the source, but "
        f"expected the kind of the target, {describe_column(target, target_values)}; "
        f"{_suggest_conversion(kinds)}."
    )


def _suggest_conversion(kinds):
    if set(kinds) == {"numbers", "text"}:
        return (
            "make numbers of the text (pandas.to_numeric; polars: cast), or text of the numbers "
            "where they are codes"
        )
    if "dates" in kinds or "durations" in kinds:
        return "make dates of the other column (pandas.to_datetime), or numbers of both"
    return "convert the column of one domain to the dtype of the other"


def _has_categories(*columns):
    """Whether each column is one of categories, so that its values need no look."""
    return all(
        str(column.dtype).lower().startswith(("category", "categorical", "enum"))
        for column in columns
    )


def _is_numeric(column):
    """Whether a column of a frame holds numbers (or booleans)."""
    if hasattr(column, "iloc"):
        import pandas as pd

        return pd.api.types.is_numeric_dtype(column)
    return column.dtype.is_numeric() or str(column.dtype) == "Boolean"


def take_rows(X, indices):
    """Return the rows of a frame or an array at ``indices``."""
    return X.iloc[indices] if _is_pandas(X) else X[indices]


def stack_rows(X_target, X_source):
    """Put source rows below target rows, in the container of the target.

    The categories of a column become the union of those of both domains.
    """
    if _is_pandas(X_target):
        return _stack_pandas(X_target, X_source)
    if _is_polars(X_target):
        return _stack_polars(X_target, X_source)
    return np.concatenate([X_target, X_source])


def _stack_pandas(X_target, X_source):
    import pandas as pd

    X_target, X_source = X_target.copy(deep=False), X_source.copy(deep=False)
    for name in X_target.columns:
        columns = [X[name] for X in (X_target, X_source)]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            categories = columns[0].cat.categories.union(columns[1].cat.categories, sort=False)
            dtype = pd.CategoricalDtype(categories, ordered=columns[0].cat.ordered)
            X_target[name], X_source[name] = (column.astype(dtype) for column in columns)
    return pd.concat([X_target, X_source], ignore_index=True)


def _stack_polars(X_target, X_source):
    import polars as pl

    for name, dtype in X_target.schema.items():
        other = X_source.schema[name]
        if isinstance(dtype, pl.Enum) and isinstance(other, pl.Enum) and dtype != other:
            united = pl.Enum(list(dict.fromkeys([*dtype.categories, *other.categories])))
            X_target, X_source = (
                X.with_columns(pl.col(name).cast(united)) for X in (X_target, X_source)
            )
    return pl.concat([X_target, X_source], how="vertical_relaxed")


def stack_labels(y_target, y_source):
    """Put source labels below target labels, with the dtype of the target where it can hold both.

    Raises
    ------
    ValueError
        When one domain has labels of text and the other of numbers.
    """
    kinds = [_label_kind(y) for y in (y_target, y_source)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"Got source labels that are {kinds[1]} (such as {y_source[0]!r}), but expected "
            f"{kinds[0]} as in the target (such as {y_target[0]!r}); convert the labels of one "
            "domain."
        )
    with np.errstate(invalid="ignore"):
        same_dtype = y_source.astype(y_target.dtype)
    return np.concatenate([y_target, same_dtype if (same_dtype == y_source).all() else y_source])


def _label_kind(y):
    if y.dtype.kind in "USOT":
        return "numbers" if not any(isinstance(label, (str, bytes)) for label in y) else "text"
    return "numbers"
