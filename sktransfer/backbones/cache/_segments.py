"""Row cache, disk tier: activations in files that never change once they are there.

Each store of the cache has a folder. A pass writes what it computed as segments: files of a name
that nobody else uses, which appear by rename once they are complete. So readers and writers of
any number of processes need no locks: a reader maps the segments that it has not seen yet, two
writers of the same rows have wasted work, and what is left of a killed one is ignored.
"""

import bisect
import collections
import contextlib
import functools
import hashlib
import itertools
import mmap
import os
import pathlib
import struct
import threading
import time
import uuid
import warnings
import weakref
import zlib

import numpy as np

from sktransfer.exceptions import RowCacheWarning
from sktransfer.utils._digests import DIGEST_SIZE

# Format, number of rows, width of a row, seconds that a row took to compute, checksum of the head.
_HEADER = struct.Struct("<8sQQd16s")
# A new one whenever the bytes, or the meaning of activations of an equal key, change.
_FORMAT = b"sktrows4"
_SUFFIX, _UNFINISHED = ".rows", ".tmp"
# Segments of fewer bytes become one when there are more of them than this.
_MERGED_BELOW, MERGED_FROM = 64 * 2**20, 64
# Files that their writers have not renamed for so long are of processes that have ended.
_STALE_SECONDS = 24 * 3600
# A folder is listed until nothing new comes, but not for ever where others never stop.
_N_LISTINGS = 8
# Rows copied at a time, so that little of a mapped file is in memory at once.
_CHUNK = 2048

# Segments that are mapped at a time, of all stores: a process may have about a thousand files open.
N_MAPPED = 256
_MAPPING, _READ_LAST = threading.RLock(), collections.OrderedDict()

# Troubles of which this process has been told, by kind and cache folder.
_WARNED = set()


class Segment:
    """One file, its values mapped: digests, checksums, then float32 values, row by row.

    Of many segments those that were read last are mapped, since each map holds a descriptor.

    Parameters
    ----------
    path : pathlib.Path
    salt : bytes
        Goes into the checksum, so that a file that was moved from another folder is refused.

    Raises
    ------
    ValueError
        If the file is truncated, corrupt or of another kind.
    OSError
        If it cannot be read.
    """

    def __init__(self, path, salt):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_HEADER.size)
            if len(start) < _HEADER.size or not start.startswith(_FORMAT):
                raise ValueError("it does not begin as such a file does")
            _, self.n_rows, self.width, self.seconds_per_row, checksum = _HEADER.unpack(start)
            offset = _values_offset(self.n_rows)
            if not self.n_rows or size != offset + 4 * self.n_rows * self.width:
                raise ValueError(f"it has {size} bytes, which are not those its header speaks of")
            digests = file.read(DIGEST_SIZE * self.n_rows)
            checksums = file.read(4 * self.n_rows)
            if checksum != _make_checksum(start, digests, checksums, salt):
                raise ValueError("its header does not have the checksum that it says")
        self.path, self.nbytes, self._offset = path, size, offset
        self.digests = [digests[i : i + DIGEST_SIZE] for i in range(0, len(digests), DIGEST_SIZE)]
        self.checksums = np.frombuffer(checksums, "<u4")
        self._mapped = None
        self._verified = np.zeros(self.n_rows, dtype=bool)
        # Now, since what is mapped can be read even when another process has merged the file away.
        self._map()

    def read(self, rows, out, where):
        """Copy rows to ``out[where]`` and tell which of them are intact."""
        intact = np.ones(len(rows), dtype=bool)
        try:
            mapped, values = self._map()
        except OSError:
            return ~intact
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            if mapped.size() != self.nbytes:
                # To touch what was cut off would end the process.
                intact[start:] = False
                break
            block = values[rows[part]]
            for i in np.flatnonzero(~self._verified[rows[part]]):
                intact[start + i] = zlib.crc32(block[i]) == self.checksums[rows[start + i]]
            self._verified[rows[part][intact[part]]] = True
            out[where[part]] = block
            _release(mapped)
        return intact

    def verify(self):
        """Tell which rows are intact."""
        mapped, values = self._map()
        if mapped.size() != self.nbytes:
            return np.zeros(self.n_rows, dtype=bool)
        intact = [zlib.crc32(row) == c for row, c in zip(values, self.checksums, strict=True)]
        _release(mapped)
        return intact

    def _map(self):
        """Return the map of the file and the values in it; other threads may let go of it."""
        with _MAPPING:
            if self._mapped is None:
                with open(self.path, "rb") as file:
                    if os.fstat(file.fileno()).st_size != self.nbytes:
                        raise OSError("it was changed since it was opened first")
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                values = np.frombuffer(mapped, "<f4", self.n_rows * self.width, self._offset)
                self._mapped = mapped, values.reshape(self.n_rows, self.width)
            key = id(self)
            _READ_LAST[key] = weakref.ref(self, lambda _: _READ_LAST.pop(key, None))
            _READ_LAST.move_to_end(key)
            while len(_READ_LAST) > N_MAPPED:
                _, oldest = _READ_LAST.popitem(last=False)
                if oldest() is not None:
                    oldest()._mapped = None
            return self._mapped


def _release(mapped):
    """Leave the pages to the file cache of the system; they count as memory of the process."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _values_offset(n_rows):
    # Whole cache lines.
    return -(-(_HEADER.size + (DIGEST_SIZE + 4) * n_rows) // 64) * 64


def _make_checksum(start, digests, checksums, salt):
    head = start[: _HEADER.size - DIGEST_SIZE]
    return hashlib.blake2b(head + digests + checksums + salt, digest_size=DIGEST_SIZE).digest()


class SegmentIndex:
    """Where each row of one width is, over several segments; positions in it stay valid."""

    def __init__(self, width):
        self.positions, self.width = {}, width
        self.segments, self._starts = [], [0]

    def add(self, segment):
        start = self._starts[-1]
        # Positions last: other threads read meanwhile.
        self._starts.append(start + segment.n_rows)
        self.segments.append(segment)
        self.positions.update(zip(segment.digests, itertools.count(start), strict=False))

    def find(self, digests):
        """Return the position of each digest, or -1."""
        return np.array([self.positions.get(digest, -1) for digest in digests], dtype=np.int64)

    def read(self, positions, out, where):
        """Copy the rows at these positions to ``out[where]`` and tell which are intact."""
        order = np.argsort(positions, kind="stable")
        intact = np.ones(len(positions), dtype=bool)
        for part, segment, rows in self._group(positions[order]):
            intact[order[part]] = segment.read(rows, out, where[order[part]])
        return intact

    def _group(self, positions):
        """Yield ascending positions by segment: which they are, the segment, its rows."""
        end = 0
        while end < len(positions):
            number = bisect.bisect_right(self._starts, positions[end]) - 1
            begin, end = end, np.searchsorted(positions, self._starts[number + 1])
            part = slice(begin, end)
            yield part, self.segments[number], positions[part] - self._starts[number]


class SegmentFolder:
    """The segments of one store: the same function, applied to any rows, by any process.

    Whatever is wrong with the folder or a file in it, the rows are computed again, and one warning
    says why.

    Parameters
    ----------
    path : pathlib.Path
        Made when something is written.
    """

    def __init__(self, path):
        self.path = path
        self._salt = path.name.encode()
        self._by_width = {}
        self._segments, self._ignored = {}, set()
        self._swept, self._merges = False, True
        self._lock = threading.RLock()

    def refresh(self):
        """Map segments that have come; return the indices of all, one for each width of rows."""
        with self._lock:
            failed = set()
            for _ in range(_N_LISTINGS):
                names = self._list()
                self._forget_all_but(names)
                new = names - self._segments.keys() - self._ignored - failed
                if not new:
                    break
                # Then once more: meanwhile some of them may have been merged into another one.
                failed |= {name for name in sorted(new) if not self._open(name)}
            return list(self._by_width.values())

    def _forget_all_but(self, names):
        if self._segments.keys() - names:
            # Merged, or removed. What took their place may have come behind the listing.
            names |= self._list()
            self._segments = {n: s for n, s in self._segments.items() if n in names}
            self._by_width = {}
            for segment in self._segments.values():
                self._index(segment)

    @property
    def nbytes(self):
        return sum(segment.nbytes for segment in self._segments.values())

    @property
    def seconds_per_row(self):
        """Mean time that a row took to compute, as its writers measured it, or None."""
        times = [(s.n_rows, s.seconds_per_row) for s in self._segments.values()]
        n_rows = sum(n for n, _ in times)
        return sum(n * seconds for n, seconds in times) / n_rows if n_rows else None

    def write(self, digests, values, seconds_per_row):
        """Write rows as a new segment; return whether that worked."""
        checksums = b"".join(
            zlib.crc32(row).to_bytes(4, "little") for row in np.ascontiguousarray(values, "<f4")
        )
        try:
            self._write(b"".join(digests), checksums, values.shape[1], seconds_per_row, [values])
        except OSError as error:
            self._warn_of_memory(f"Cannot write activations to {str(self.path)!r} ({error})")
            return False
        return True

    def merge(self):
        """Make one segment of many small ones of the same width.

        They are removed once it is there, so readers find each row at any time; those who have
        mapped the old ones go on with them.
        """
        with self._lock:
            indices = self.refresh()
            try:
                for index in indices:
                    small = [s for s in index.segments if s.nbytes < _MERGED_BELOW]
                    if len(small) > MERGED_FROM and self._merges:
                        self._merge(small)
            except FileNotFoundError:
                # Somebody else merges them at the same time.
                pass
            except OSError as error:
                self._warn_of_memory(f"Cannot merge files in {str(self.path)!r} ({error})")

    def warn_of_rows(self):
        self._warn(
            "file",
            f"A file in {str(self.path)!r} holds rows that have been changed since "
            "they were written, or was cut off or removed; these are computed again.",
        )

    def _warn_of_memory(self, trouble):
        self._warn(
            "folder",
            f"{trouble}; new activations are kept in memory only, and other "
            "processes compute them again.",
        )

    def _warn(self, kind, message):
        key = kind, self.path.parent
        if key not in _WARNED:
            _WARNED.add(key)
            warnings.warn(message, RowCacheWarning, stacklevel=2)

    def _list(self):
        if not self._swept:
            self._swept = True
            self._sweep()
        try:
            with os.scandir(self.path) as entries:
                return {entry.name for entry in entries if entry.name.endswith(_SUFFIX)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            self._warn_of_memory(f"Cannot read the folder {str(self.path)!r} ({error})")
            # What is mapped can still be read.
            return set(self._segments)

    def _sweep(self):
        """Remove what processes left that were killed while they wrote."""
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                is_old = time.time() - entry.stat().st_mtime > _STALE_SECONDS
                if entry.name.endswith(_UNFINISHED) and is_old:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)

    def _open(self, name):
        """Map a segment; tell whether that worked, or will never."""
        try:
            self._segments[name] = Segment(self.path / name, self._salt)
        except FileNotFoundError:
            # Merged since it was listed; what it held is in a file of the next listing.
            return True
        except OSError as error:
            # Such as too many open files: nothing is known of this one, and a later look-up tries.
            self._warn(
                "reading",
                f"Cannot read {str(self.path / name)!r} for now ({error}); its rows are computed "
                "again.",
            )
            return False
        except ValueError as error:
            self._ignored.add(name)
            self._warn(
                "file",
                f"Ignoring {str(self.path / name)!r}, which is no file of activations that can be "
                f"used: {error}. Its rows are computed again; the file may be removed.",
            )
            return True
        self._index(self._segments[name])
        return True

    def _index(self, segment):
        self._by_width.setdefault(segment.width, SegmentIndex(segment.width)).add(segment)

    def _write(self, digests, checksums, width, seconds_per_row, blocks):
        n_rows = len(checksums) // 4
        start = _HEADER.pack(_FORMAT, n_rows, width, seconds_per_row, b"")
        checksum = _make_checksum(start, digests, checksums, self._salt)
        head = start[: -len(checksum)] + checksum + digests + checksums
        self.path.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        temporary = self.path / f"{name}{_UNFINISHED}"
        try:
            with open(temporary, "xb") as file:
                file.write(head.ljust(_values_offset(n_rows), b"\0"))
                for block in blocks:
                    file.write(np.ascontiguousarray(block, "<f4"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path / f"{name}{_SUFFIX}")
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _merge(self, small):
        kept = []
        known = set()
        for segment in small:
            intact = np.flatnonzero(segment.verify())
            rows = [i for i in intact if segment.digests[i] not in known]
            known.update(segment.digests[i] for i in rows)
            kept.append((segment, np.array(rows, dtype=np.int64)))
        kept = [(segment, rows) for segment, rows in kept if len(rows)]
        digests = b"".join(segment.digests[i] for segment, rows in kept for i in rows)
        checksums = b"".join(segment.checksums[rows].tobytes() for segment, rows in kept)
        n_rows = sum(segment.n_rows for segment in small)
        seconds = sum(s.n_rows * s.seconds_per_row for s in small) / n_rows
        self._write(digests, checksums, small[0].width, seconds, _iterate_blocks(kept))
        names = [name for name, segment in self._segments.items() if segment in small]
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError:
                # Some systems do not remove files that are mapped: these stay, as duplicates, and
                # to merge them once more would only make another one.
                self._merges = False


def _iterate_blocks(kept):
    for segment, rows in kept:
        for start in range(0, len(rows), _CHUNK):
            block = np.empty((len(rows[start : start + _CHUNK]), segment.width), dtype="<f4")
            if not segment.read(rows[start : start + _CHUNK], block, np.arange(len(block))).all():
                raise FileNotFoundError(segment.path)
            yield block


def name_folder(parts):
    """Return the name of the folder of a store, from texts that say which function was applied."""
    described = "\n".join([_FORMAT.decode(), *parts])
    return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


@functools.cache
def open_folder(cache_dir, name):
    """Return the folder of a store; the same object for the whole process."""
    return SegmentFolder(pathlib.Path(cache_dir).expanduser() / name)


def forget_folders():
    """Forget which segments this process has mapped, and what it has warned of."""
    open_folder.cache_clear()
    _WARNED.clear()
