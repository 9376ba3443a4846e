"""Rows of large inputs, a chunk at a time, and results that are written to a file."""

import pathlib

import numpy as np
from tqdm.auto import tqdm

from sktransfer.utils._files import replacing
from sktransfer.utils._sklearn import safe_indexing

# Of input and of output, of which a few copies are alive at a time.
_CHUNK_BYTES = 2**26


def list_chunks(X, n_columns_out, at_least=1):
    """Return slices that together are all rows, each of a size that memory holds with ease.

    Parameters
    ----------
    X : array-like
    n_columns_out : int
        Width of the result.
    at_least : int, default=1
        Rows of a chunk: a multiple of these, which are those of a forward pass.
    """
    n_rows = count_rows(X)
    n_values = int(np.prod(X.shape[1:])) if hasattr(X, "shape") else 0
    # As float64, whatever the input holds.
    n_wanted = _CHUNK_BYTES // (8 * max(n_values, n_columns_out, 1))
    step = max(n_wanted // at_least, 1) * at_least
    return [slice(i, min(i + step, n_rows)) for i in range(0, max(n_rows, 1), step)]


def count_rows(X):
    """Return the number of rows of whatever holds them."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def fill_by_chunks(X, chunks, compute, allocate, name=None):
    """Compute the features of rows chunk by chunk, into one array.

    Parameters
    ----------
    X : array-like
    chunks : list of slice
        See `list_chunks`.
    compute : callable
        From rows to their features.
    allocate : callable
        Makes the array from its shape and dtype, once these are known.
    name : str, default=None
        Shown by a progress bar; None: there is none.

    Returns
    -------
    features : ndarray
        What ``allocate`` made.
    """
    result = None
    for rows in tqdm(chunks, desc=f"{name}: chunks", disable=name is None):
        features = compute(safe_indexing(X, rows))
        if not isinstance(features, np.ndarray):
            raise ValueError(
                f"Got X whose features are a {type(features).__name__}, but only arrays can be "
                "written to a file; expected columns of numbers, or mode='replace'."
            )
        if result is None:
            result = allocate((count_rows(X), features.shape[1]), features.dtype)
        result[rows] = features
    return result


class NpyFile:
    """An array in a ``.npy`` file that appears by rename once it is complete.

    A context manager: an error leaves neither the file nor a part of it.

    Parameters
    ----------
    path : str or path-like
        Ends in ``.npy``. An older file is replaced.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser()
        if self.path.suffix != ".npy":
            raise ValueError(f"Got path={str(path)!r}, but expected one that ends in '.npy'.")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"Got path={str(path)!r}, but there is no folder {str(self.path.parent)!r}; make "
                "it first."
            )
        self._replacing = self._unfinished = self._array = None

    def check_is_not(self, X):
        """Raise if the file is the one that X is mapped to."""
        source = getattr(X, "filename", None)
        if source is not None and self.path.exists() and self.path.samefile(source):
            raise ValueError(
                f"Got path={str(self.path)!r}, which is the file that X is mapped to; expected "
                "another."
            )

    def __enter__(self):
        self._replacing = replacing(self.path)
        self._unfinished = self._replacing.__enter__()
        return self

    def allocate(self, shape, dtype):
        """Return the array that is written to."""
        self._array = np.lib.format.open_memmap(self._unfinished, "w+", dtype, shape)
        return self._array

    def __exit__(self, *exception):
        if self._array is not None:
            self._array.flush()
            self._array = None
        return self._replacing.__exit__(*exception)
