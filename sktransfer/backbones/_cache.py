"""Row cache, memory tier: every distinct row goes through a network once per process.

The key of a store says which function was applied (fingerprint of the network, layer, pooling,
input preparation); the key of a row is a digest of its values as the network reads them. So the
cache survives `clone`, shuffles and folds, and cannot return the activations of another network.
"""

import collections
import hashlib
import threading
from typing import NamedTuple

import numpy as np

# Least recently used stores are dropped above this many bytes, but for those in use.
MEMORY_BUDGET = 2**30


class CacheInfo(NamedTuple):
    """Counts of one row cache: what came from it, what it did not hold, what it holds."""

    hits: int
    misses: int
    rows: int
    bytes: int


def digest_rows(rows):
    """Return one 16-byte digest per row of an array.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)

    Returns
    -------
    digests : list of bytes
    """
    salted = hashlib.blake2b(f"{rows.dtype.str}{rows.shape[1:]}".encode(), digest_size=16)
    return [_digest(row, salted) for row in np.ascontiguousarray(rows).reshape(len(rows), -1)]


def _digest(row, salted):
    digest = salted.copy()
    digest.update(row)
    return digest.digest()


class RowStore:
    """Activations by row digest: a dict of positions into one growing float32 array."""

    def __init__(self):
        self._positions = {}
        self._values = np.empty((0, 0), dtype=np.float32)
        self._hits = self._misses = 0
        self._lock = threading.Lock()

    def lookup(self, digests):
        """Return which digests are held, as a boolean mask, and the values of those."""
        with self._lock:
            positions = [self._positions.get(digest, -1) for digest in digests]
            held = np.array([position >= 0 for position in positions], dtype=bool)
            values = self._values[[position for position in positions if position >= 0]]
            self._hits += int(held.sum())
            self._misses += len(set(digests)) - len(self._positions.keys() & set(digests))
            return held, values

    def insert(self, digests, values):
        """Keep the values under their digests."""
        with self._lock:
            new = [i for i, digest in enumerate(digests) if digest not in self._positions]
            self._reserve(len(self._positions) + len(new), values.shape[1])
            for i in new:
                position = len(self._positions)
                self._values[position] = values[i]
                self._positions[digests[i]] = position

    def _reserve(self, n_rows, width):
        if n_rows > len(self._values):
            grown = np.empty((max(n_rows, 2 * len(self._values)), width), dtype=np.float32)
            if self._positions:
                grown[: len(self._positions)] = self._values[: len(self._positions)]
            self._values = grown

    @property
    def nbytes(self):
        return self._values.nbytes

    def info(self):
        """Return the counts of this store."""
        return CacheInfo(self._hits, self._misses, len(self._positions), self.nbytes)


class RowCache:
    """The stores of one process, least recently used first."""

    def __init__(self, budget=MEMORY_BUDGET):
        self.budget = budget
        self._stores = collections.OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, key):
        with self._lock:
            store = self._stores.setdefault(key, RowStore())
            self._stores.move_to_end(key)
            return store

    def info(self, key):
        """Return the counts of a store, without counting as a use of it."""
        with self._lock:
            store = self._stores.get(key)
        return CacheInfo(0, 0, 0, 0) if store is None else store.info()

    def shrink(self, keep=()):
        """Drop whole stores, the one unused for longest first, until the budget is kept.

        Those in use are kept, so that one that is larger than the budget still serves.
        """
        with self._lock:
            excess = sum(store.nbytes for store in self._stores.values()) - self.budget
            for key in [key for key in self._stores if key not in keep]:
                if excess <= 0:
                    break
                excess -= self._stores.pop(key).nbytes

    def clear(self):
        with self._lock:
            self._stores.clear()


ROW_CACHE = RowCache()


def clear_row_cache():
    """Forget all activations that this process holds in its row cache."""
    ROW_CACHE.clear()
