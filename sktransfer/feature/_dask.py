"""Rows that lie in the chunks of a Dask collection, and features that are computed there."""

import functools
import uuid

import numpy as np

from sktransfer.feature._block_scaling import BlockMoments


def is_dask(X):
    """Tell whether X is an array or frame of Dask, without importing it."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(X, "dask")


def take_first_rows(X, n_rows):
    """Compute a few rows of a collection, from its first chunk that has any."""
    for part in _list_parts(X):
        rows = part.compute()[:n_rows]
        if len(rows):
            return rows
    raise ValueError("Got X with 0 sample(s), but expected a Dask collection that has rows.")


def gather_moments(compute_moments, transformer, X):
    """Return the moments of the blocks of all rows, chunk by chunk where the chunks are.

    Parameters
    ----------
    compute_moments : callable
        From transformer and rows to a list of `BlockMoments`.
    transformer : FeatureTransferTransformer
        Which knows its blocks.
    X : Dask array or frame
    """
    import dask

    shared = _share(transformer)
    gathered = [
        dask.delayed(_apply_to_rows)(part, shared, compute_moments) for part in _list_parts(X)
    ]
    parts = [moments for moments in dask.compute(*gathered) if moments is not None]
    return [functools.reduce(BlockMoments.add, moments) for moments in zip(*parts, strict=True)]


def transform_lazily(transform, transformer, X, n_columns, dtype):
    """Return a Dask array of the features, none of which is computed yet.

    Parameters
    ----------
    transform : callable
        From transformer and rows to an array.
    transformer : FeatureTransferTransformer
        Fitted.
    X : Dask array or frame
    n_columns : int
    dtype : numpy.dtype
    """
    import dask
    import dask.array

    shared = _share(transformer)
    finish = functools.partial(_transform_part, transform, n_columns, dtype)
    meta = np.empty((0, n_columns), dtype=dtype)
    if isinstance(X, dask.array.Array):
        rows = _keep_rows_whole(X)
        return rows.map_blocks(
            finish,
            shared,
            dtype=dtype,
            chunks=(rows.chunks[0], (n_columns,)),
            drop_axis=list(range(2, rows.ndim)),
            meta=meta,
        )
    # How many rows a part of a frame has is only known once it is computed.
    shape = (np.nan, n_columns)
    parts = [dask.delayed(finish)(part, shared) for part in X.to_delayed()]
    return dask.array.concatenate(
        [dask.array.from_delayed(part, shape, dtype=dtype, meta=meta) for part in parts],
        allow_unknown_chunksizes=True,
    )


def _share(transformer):
    """Return the transformer as one node of the graph: each worker is sent it once."""
    import dask

    name = f"{type(transformer).__name__}-{uuid.uuid4().hex}"
    return dask.delayed(transformer, name=name, traverse=False)


def _transform_part(transform, n_columns, dtype, rows, transformer):
    features = _apply_to_rows(rows, transformer, transform)
    if features is None:
        return np.empty((0, n_columns), dtype=dtype)
    return np.asarray(features).astype(dtype, copy=False)


def _apply_to_rows(rows, transformer, function):
    """Apply a function unless the chunk is empty, as it is after a filter."""
    return function(transformer, rows) if len(rows) else None


def _list_parts(X):
    """Return one delayed object for each chunk of rows."""
    import dask.array

    if not isinstance(X, dask.array.Array):
        return list(X.to_delayed())
    return list(_keep_rows_whole(X).to_delayed().ravel())


def _keep_rows_whole(X):
    if X.ndim < 2:
        raise ValueError(
            f"Got X as a Dask array of shape {X.shape}, but expected rows: at least 2 dimensions."
        )
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
