"""Rows of a table as a network takes them."""

import numpy as np


class EncodedRows(np.ndarray):
    """A float32 array of encoded rows, which says by its type that it need not be encoded again.

    So do its parts; what is computed from them is not told apart, so prepared rows that leave for
    a network are plain arrays.
    """


def mark_encoded(rows):
    """Return the array as `EncodedRows`, without a copy."""
    return np.ascontiguousarray(rows, dtype=np.float32).view(EncodedRows)


class TableRows:
    """Encoded rows beside the rows that they were made of, which something else also needs.

    Parameters
    ----------
    encoded : EncodedRows
    original : frame or ndarray
    """

    def __init__(self, encoded, original):
        self.encoded, self.original = encoded, original

    ndim = 2

    @property
    def shape(self):
        return self.encoded.shape

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, rows):
        """Return the rows of a slice."""
        return TableRows(self.encoded[rows], self.original[rows])
