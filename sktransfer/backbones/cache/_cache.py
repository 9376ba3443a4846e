"""Row cache, memory tier: every distinct row goes through a network once per process.

The key of a store says which function was applied (fingerprint of the network, layer, pooling,
input preparation); the key of a row is a digest of its values as the network reads them. So the
cache survives `clone`, shuffles and folds, and cannot return the activations of another network.
"""

import collections
import threading
from typing import NamedTuple

import numpy as np

# Least recently used stores are dropped above this many bytes, but for those in use.
MEMORY_BUDGET = 2**30
# Rows copied at a time.
_CHUNK = 512


class CacheInfo(NamedTuple):
    """Counts of one row cache.

    Attributes
    ----------
    hits : int
        Rows that came from the cache, each as often as it was asked for.
    misses : int
        Rows that were sent through the network.
    rows : int
        Rows that the cache holds.
    bytes : int
        In memory.
    bytes_on_disk : int
        In ``cache_dir``.
    seconds_saved : float
        Hits times the measured mean time that one row takes in the network.
    """

    hits: int = 0
    misses: int = 0
    rows: int = 0
    bytes: int = 0
    bytes_on_disk: int = 0
    seconds_saved: float = 0.0


class RowTable:
    """Rows of one width: a dict of positions by digest into one growing float32 array."""

    def __init__(self, width):
        self.positions, self.width = {}, width
        self._values = np.empty((0, width), dtype=np.float32)

    def find(self, digests):
        """Return the position of each digest, or -1."""
        return np.array([self.positions.get(digest, -1) for digest in digests], dtype=np.int64)

    def read(self, positions, out, where):
        """Copy the rows at these positions to ``out[where]``."""
        out[where] = self._values[positions]

    def insert(self, digests, values, rows):
        """Keep these rows of the values under their digests."""
        new = {}
        for i, digest in enumerate(digests):
            if digest not in self.positions:
                new.setdefault(digest, i)
        start = len(self.positions)
        self._reserve(start + len(new))
        taken = rows[list(new.values())]
        # Part by part: all rows in one piece would be a copy of them.
        for first in range(0, len(taken), _CHUNK):
            part = values[taken[first : first + _CHUNK]]
            self._values[start + first : start + first + len(part)] = part
        self.positions.update(zip(new, range(start, start + len(new)), strict=True))

    def _reserve(self, n_rows):
        if n_rows > len(self._values):
            n_held = len(self.positions)
            size = max(n_rows, 2 * len(self._values))
            grown = np.empty((size, self._values.shape[1]), dtype=np.float32)
            grown[:n_held] = self._values[:n_held]
            self._values = grown

    @property
    def nbytes(self):
        return self._values.nbytes


class RowStore:
    """What one process knows of one store: its rows in memory, and counts.

    Rows may be of several widths, as those of all values of a layer are for images of several
    sizes; rows of one shape have one width.
    """

    def __init__(self):
        self.tables = {}
        # Of images that were read, as the network was given them, by digest.
        self.shapes = {}
        self.hits = self.misses = 0
        self._n_timed, self._seconds = 0, 0.0
        self.lock = threading.RLock()

    def insert(self, digests, values, rows):
        """Keep these rows of the values under their digests."""
        width = values.shape[1]
        with self.lock:
            self.tables.setdefault(width, RowTable(width)).insert(digests, values, rows)

    def count(self, digests, held):
        """Count a look-up: rows that were held, and distinct ones that were not."""
        missing = {digests[i] for i in np.flatnonzero(~held)}
        with self.lock:
            self.hits += int(held.sum())
            self.misses += len(missing)

    def add_time(self, n_rows, seconds):
        """Take note of how long rows took in the network."""
        with self.lock:
            self._n_timed += n_rows
            self._seconds += seconds

    @property
    def seconds_per_row(self):
        """Mean time of a row in the network, or None."""
        return self._seconds / self._n_timed if self._n_timed else None

    @property
    def nbytes(self):
        return sum(table.nbytes for table in self.tables.values())

    def info(self):
        """Return the counts of this store."""
        n_rows = sum(len(table.positions) for table in self.tables.values())
        saved = self.hits * (self.seconds_per_row or 0.0)
        return CacheInfo(self.hits, self.misses, n_rows, self.nbytes, seconds_saved=saved)


def choose_table(tables, digests):
    """Return the one of several tables, or indices of segments, that holds some of the rows."""
    for table in tables:
        if any(digest in table.positions for digest in digests):
            return table
    return None


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

    def peek(self, key):
        """Return a store, without counting as a use of it; None if there is none."""
        with self._lock:
            return self._stores.get(key)

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
