"""Rows that lie in the chunks of a Dask collection, and features that are computed there."""

import copy
import functools
import math
import uuid

import numpy as np

from sktransfer.feature._block_scaling import BlockMoments
from sktransfer.utils._sklearn import get_output_config


def is_dask(X):
    """Tell whether X is an array or frame of Dask, without importing it."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(X, "dask")


def refuse_dask(X, otherwise):
    """Raise for a Dask collection.

    Parameters
    ----------
    X : object
    otherwise : str
        Why, and what to do.
    """
    if is_dask(X):
        raise TypeError(f"Got X as a Dask collection, {otherwise}.")


def take_first_rows(X, n_rows):
    """Compute a few rows of a collection, from its first chunk that has any."""
    for part in _list_parts(X):
        rows = part.compute()[:n_rows]
        if len(rows):
            return rows
    raise ValueError("Got X with 0 sample(s), but expected a Dask collection that has rows.")


def gather_moments(transformer, X):
    """Return the moments of the blocks of all rows, chunk by chunk where the chunks are.

    Parameters
    ----------
    transformer : FeatureTransferTransformer
        Which knows its blocks.
    X : Dask array or frame
    """
    import dask

    shared = _share(transformer)
    gathered = [dask.delayed(_measure_part)(part, shared) for part in _list_parts(X)]
    parts = [moments for moments in dask.compute(*gathered) if moments is not None]
    return [functools.reduce(BlockMoments.add, moments) for moments in zip(*parts, strict=True)]


def transform_lazily(transformer, X, dtype):
    """Return a Dask array of the features, none of which is computed yet.

    Parameters
    ----------
    transformer : FeatureTransferTransformer
        Fitted.
    X : Dask array or frame
    dtype : numpy.dtype or None
        Of the features; None if they are a frame of several, which is an error.
    """
    import dask
    import dask.array

    _check_gives_an_array(transformer, X, dtype)
    n_columns = len(transformer.get_feature_names_out())
    shared = _share(transformer)
    finish = functools.partial(_transform_part, n_columns, dtype)
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


def _check_gives_an_array(transformer, X, dtype):
    if get_output_config("transform", transformer)["dense"] != "default":
        raise ValueError(
            "Got X as a Dask collection with set_output, but a Dask array has no columns; "
            "expected set_output(transform='default')."
        )
    if dtype is None:
        raise ValueError(
            "Got X as a Dask collection with columns that are not numbers and mode='concat', "
            "but features come back as a Dask array; expected mode='replace'."
        )
    if tuple(X.shape[1:]) != transformer.input_shape_:
        raise ValueError(
            f"Got X with rows of shape {tuple(X.shape[1:])}, but {type(transformer).__name__} was "
            f"fitted on rows of shape {transformer.input_shape_}; expected the same."
        )


def _share(transformer):
    """Return the transformer as one node of the graph: each worker is sent it once."""
    import dask

    # In other processes nobody watches.
    copied = copy.copy(transformer)
    for name in [name for name in vars(copied) if "callback" in name]:
        delattr(copied, name)
    name = f"{type(transformer).__name__}-{uuid.uuid4().hex}"
    return dask.delayed(copied, name=name, traverse=False)


# Chunks may be empty, as they are after a filter. All rows are taken to be more than the row cache
# holds, so it does not keep them.


def _measure_part(rows, transformer):
    return transformer._measure_rows(rows, n_rows=math.inf) if len(rows) else None


def _transform_part(n_columns, dtype, rows, transformer):
    if not len(rows):
        return np.empty((0, n_columns), dtype=dtype)
    features = transformer._transform_rows(rows, n_rows=math.inf)
    return np.asarray(features).astype(dtype, copy=False)


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
