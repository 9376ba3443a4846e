"""Blocks of features side by side, behind the columns of the input or without them."""

import math

import numpy as np
import scipy.sparse

# Columns of pandas that count as numbers.
_NUMBERS = ["number", "bool"]


def take_numbers(X):
    """Return the numbers in X as one block of columns: an array, or a sparse matrix as it is.

    Parameters
    ----------
    X : ndarray, sparse matrix, frame or list of rows
        The axes of an image are flattened; of a frame only columns of numbers count.
    """
    if scipy.sparse.issparse(X):
        return X
    if not _is_frame(X):
        X = np.asarray(X)
        if X.ndim < 2 or X.dtype.kind not in "fiub":
            raise ValueError(
                f"Got mode='concat' with X of shape {X.shape} and dtype {X.dtype}, but expected "
                "columns that features can be put behind: a frame, or an array of numbers; or "
                "mode='replace'."
            )
        return X.reshape(len(X), math.prod(X.shape[1:]))
    if _is_polars(X):
        import polars

        numbers = X.select(polars.selectors.numeric() | polars.selectors.boolean())
        is_single = all(dtype == polars.Float32 for dtype in numbers.dtypes)
        return numbers.cast(polars.Float32 if is_single else polars.Float64).to_numpy()
    numbers = X.select_dtypes(_NUMBERS)
    dtype = np.float32 if (numbers.dtypes == np.float32).all() else np.float64
    return numbers.to_numpy(dtype=dtype, na_value=np.nan)


def join(X, blocks, scales, names):
    """Return the blocks side by side, each divided by its scale.

    Parameters
    ----------
    X : ndarray, sparse matrix or frame, or None
        The input, which comes first; None leaves it out.
    blocks : list of ndarray
    scales : sequence of float
        That of the input first, if there is one.
    names : callable
        Returns the names of all columns; for a frame.

    Returns
    -------
    features : ndarray, or a sparse matrix or frame where X is one
        Of frames only those that hold other things than numbers come back as such.
    """
    if X is None:
        return _stack([_divide(b, s) for b, s in zip(blocks, scales, strict=True)])
    numbers = take_numbers(X)
    blocks = [_divide(b, s) for b, s in zip(blocks, scales[1:], strict=True)]
    if _is_frame(X) and numbers.shape[1] < X.shape[1]:
        return _join_frame(X, blocks, scales[0], names)
    return _stack([_divide(numbers, scales[0]), *blocks])


def _stack(blocks):
    if any(map(scipy.sparse.issparse, blocks)):
        return scipy.sparse.hstack(blocks, format="csr")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _divide(block, scale):
    if scale == 1:
        return block
    # Bytes become float32, as everywhere; Python's number leaves the precision of floats alone.
    return (block.astype(np.float32) if block.dtype == np.uint8 else block) / float(scale)


def _join_frame(X, blocks, scale, names):
    """Keep columns that are no numbers as they are; the frame is of the library of X."""
    added = np.concatenate(blocks, axis=1)
    names = list(names())
    inputs, names = names[: X.shape[1]], names[X.shape[1] :]
    if _is_polars(X):
        import polars

        if scale != 1:
            selectors = polars.selectors
            X = X.with_columns(
                selectors.numeric() / scale, selectors.boolean().cast(polars.Float64) / scale
            )
        return X.hstack(polars.DataFrame(added, schema=names))
    import pandas

    if not all(isinstance(name, str) for name in X.columns):
        X = X.set_axis(inputs, axis=1)
    if scale != 1:
        numbers = list(X.select_dtypes(_NUMBERS).columns)
        X = X.copy()
        X[numbers] = X[numbers] / scale
    return pandas.concat([X, pandas.DataFrame(added, columns=names, index=X.index)], axis=1)


def _library_of(X):
    return type(X).__module__.partition(".")[0]


def _is_frame(X):
    return _library_of(X) in ("pandas", "polars") and hasattr(X, "columns")


def _is_polars(X):
    return _library_of(X) == "polars"
