"""Row cache, both tiers: one store in memory, and its folder on disk if there is one."""

import functools
import os
import types

import numpy as np

from sktransfer.backbones.cache._cache import ROW_CACHE, CacheInfo, choose_table
from sktransfer.backbones.cache._fingerprint import describe_value
from sktransfer.backbones.cache._segments import (
    MERGED_FROM,
    forget_folders,
    name_folder,
    open_folder,
)
from sktransfer.backbones.cache._trial import REASONS


class Tiers:
    """Activations at one layer: looked up in memory, then on disk; kept on disk, else in memory.

    What is on disk is read through mapped files and not copied into memory, which the system's
    file cache is for.

    Parameters
    ----------
    key : tuple
        See `cache_key`.
    cache_dir : path-like or None
    """

    def __init__(self, key, cache_dir=None):
        self.store = ROW_CACHE[key]
        self.folder = _open_folder(key, cache_dir)
        self._n_written = 0

    def fetch(self, digests):
        """Return which rows are held, and an array with their values in place (None if none)."""
        table = choose_table(self.store.tables.values(), digests)
        index = None
        if self.folder is not None:
            index = choose_table(self.folder.refresh(), digests)
        if table is not None and index is not None and index.width != table.width:
            # Of images of another size, which are refused once they are sent.
            index = None
        if table is None and index is None:
            held, values = np.zeros(len(digests), dtype=bool), None
        else:
            width = (table or index).width
            values = np.empty((len(digests), width), dtype=np.float32)
            held = self._fill(digests, table, index, values)
        self.store.count(digests, held)
        return held, values

    def _fill(self, digests, table, index, values):
        held = np.zeros(len(digests), dtype=bool)
        if table is not None:
            with self.store.lock:
                positions = table.find(digests)
                held = positions >= 0
                table.read(positions[held], values, held)
        if index is not None:
            positions = index.find(digests)
            sought = np.flatnonzero(~held & (positions >= 0))
            intact = index.read(positions[sought], values, sought)
            held[sought[intact]] = True
            if not intact.all():
                self.folder.warn_of_rows()
                positions[sought[~intact]] = -1
        if self.folder is not None and table is not None:
            # Rows that came into memory without a folder, or while it could not be written.
            new = held if index is None else held & (positions < 0)
            if new.any():
                self._write([digests[i] for i in np.flatnonzero(new)], values[new])
        return held

    def keep(self, digests, values, rows=None):
        """Keep what was computed: on disk, or in memory where that fails or is not wanted.

        Parameters
        ----------
        digests : list of bytes
        values : ndarray of shape (n, width)
        rows : ndarray of int, default=None
            Rows of ``values`` that the digests are of; None: all, in order.
        """
        rows = np.arange(len(values)) if rows is None else rows
        if self.folder is None or not self._write(digests, values[rows]):
            self.store.insert(digests, values, rows)

    def finish(self):
        """Tidy up behind a pass."""
        if self._n_written:
            self.folder.merge()

    def _write(self, digests, values):
        if self._n_written > MERGED_FROM:
            # During a long pass, since each file that is mapped holds one of the few descriptors.
            self.folder.merge()
            self._n_written = 0
        self._n_written += 1
        return self.folder.write(digests, values, self.seconds_per_row or 0.0)

    @property
    def seconds_per_row(self):
        seconds = self.store.seconds_per_row
        if seconds is None and self.folder is not None:
            seconds = self.folder.seconds_per_row
        return seconds

    def info(self):
        """Return the counts of both tiers."""
        info = self.store.info()
        if self.folder is None:
            return info
        indices = self.folder.refresh()
        held = set().union(*(t.positions for t in [*self.store.tables.values(), *indices]))
        return info._replace(
            rows=len(held),
            bytes_on_disk=self.folder.nbytes,
            seconds_saved=info.hits * (self.seconds_per_row or 0.0),
        )


def _open_folder(key, cache_dir):
    """Return the folder of a store, or None for what has no name in other processes."""
    if cache_dir is None:
        return None
    parts = [_describe(part) for part in key]
    return None if None in parts else open_folder(os.fspath(cache_dir), name_folder(parts))


def _describe(part):
    function = part.func if isinstance(part, functools.partial) else part
    if callable(function) and not isinstance(function, types.FunctionType):
        return None
    return describe_value(part)


def is_nameable(pooling):
    """Tell whether a pooling means the same in every process, so that disk can hold its values.

    Functions are known by their code; of other callables the code is not known.
    """
    return _describe(pooling) is not None


def cache_info(keys, cache_dir=None):
    """Return the counts of the stores of one pass, without counting as a use of them.

    Layers share their passes: rows are counted once, bytes summed.
    """
    infos = [_peek(key, cache_dir) for key in keys]
    return infos[0]._replace(
        bytes=sum(info.bytes for info in infos),
        bytes_on_disk=sum(info.bytes_on_disk for info in infos),
    )


def _peek(key, cache_dir):
    if ROW_CACHE.peek(key) is None and cache_dir is None:
        return CacheInfo()
    return Tiers(key, cache_dir).info()


def clear_row_cache():
    """Forget all activations that this process holds in its row cache; what is on disk stays.

    Also which networks were found to be random, or to mix the rows of a batch; they are tried
    again.
    """
    ROW_CACHE.clear()
    REASONS.clear()
    forget_folders()
