"""Rows of large inputs, a chunk at a time, and results that are written to a file."""

import pathlib

import numpy as np

from sktransfer.utils._files import replacing

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
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    n_values = int(np.prod(X.shape[1:])) if hasattr(X, "shape") else 0
    # As float64, whatever the input holds.
    n_wanted = _CHUNK_BYTES // (8 * max(n_values, n_columns_out, 1))
    step = max(n_wanted // at_least, 1) * at_least
    return [slice(i, min(i + step, n_rows)) for i in range(0, max(n_rows, 1), step)]


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
