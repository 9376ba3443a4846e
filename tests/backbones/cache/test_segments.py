import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from sktransfer.backbones import clear_row_cache
from sktransfer.backbones.cache import _segments
from sktransfer.backbones.cache._segments import SegmentFolder, open_folder
from sktransfer.backbones.cache._tiers import Tiers
from sktransfer.exceptions import RowCacheWarning

rng = np.random.default_rng(0)
KEY = ("network", "layer", "auto", "float32")
N_ROWS, WIDTH = 40, 6
DIGESTS = [i.to_bytes(16, "little") for i in range(N_ROWS)]
VALUES = rng.random((N_ROWS, WIDTH)).astype(np.float32)


@pytest.fixture(autouse=True)
def new_process():
    """Forget what this process knows of files and rows."""
    clear_row_cache()
    return clear_row_cache


def write(cache_dir, rows=slice(None)):
    tiers = Tiers(KEY, cache_dir)
    tiers.keep(DIGESTS[rows], VALUES[rows])
    clear_row_cache()
    return tiers.folder.path


def segments_in(folder):
    return sorted(Path(folder).glob("*.rows"))


def check_all_there(cache_dir):
    held, values = Tiers(KEY, cache_dir).fetch(DIGESTS)
    assert held.all()
    np.testing.assert_array_equal(values, VALUES)


def test_another_process_finds_what_was_written(tmp_path):
    write(tmp_path, slice(0, 15))
    write(tmp_path, slice(15, None))
    order = rng.permutation(N_ROWS)
    held, values = Tiers(KEY, tmp_path).fetch([DIGESTS[i] for i in order] + [b"?" * 16])
    assert held.tolist() == [True] * N_ROWS + [False]
    np.testing.assert_array_equal(values[:-1], VALUES[order])


def test_what_is_on_disk_takes_no_memory(tmp_path):
    write(tmp_path)
    tiers = Tiers(KEY, tmp_path)
    tiers.fetch(DIGESTS)
    info = tiers.info()
    assert (info.rows, info.bytes) == (N_ROWS, 0)
    assert info.bytes_on_disk == sum(path.stat().st_size for path in segments_in(tiers.folder.path))


def test_segments_of_others_are_seen_at_the_next_look_up(tmp_path):
    tiers = Tiers(KEY, tmp_path)
    assert not tiers.fetch(DIGESTS)[0].any()
    SegmentFolder(tiers.folder.path).write(DIGESTS[:9], VALUES[:9], 0.1)
    assert tiers.fetch(DIGESTS)[0].sum() == 9


def test_other_functions_have_other_folders(tmp_path):
    write(tmp_path)
    for key in [("other", *KEY[1:]), (*KEY[:2], "max", "float32"), (*KEY[:3], "bfloat16")]:
        assert not Tiers(key, tmp_path).fetch(DIGESTS)[0].any()


def test_functions_are_known_by_their_code(tmp_path):
    def make(power):
        return lambda maps: maps.amax((2, 3)) ** power

    folders = {Tiers(("network", "layer", make(p), "float32"), tmp_path).folder for p in (1, 1, 2)}
    assert len(folders) == 2
    assert Tiers(("network", "layer", Pooling(), "float32"), tmp_path).folder is None


class Pooling:
    def __call__(self, maps):
        return maps.mean((2, 3))


def test_rows_in_memory_reach_a_folder_that_is_named_later(tmp_path):
    Tiers(KEY).keep(DIGESTS, VALUES)
    Tiers(KEY, tmp_path).fetch(DIGESTS)
    clear_row_cache()
    check_all_there(tmp_path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def cut_to_a_stub(path):
    path.write_bytes(path.read_bytes()[:20])


def empty(path):
    path.write_bytes(b"")


def put_something_else(path):
    path.write_bytes(b"something else entirely, by somebody else" * 9)


def flip_a_bit_at(position):
    def flip_a_bit(path):
        content = bytearray(path.read_bytes())
        content[position] ^= 4
        path.write_bytes(content)

    return flip_a_bit


@pytest.mark.parametrize(
    "damage",
    [truncate, cut_to_a_stub, empty, put_something_else]
    # Format, number of rows, width, seconds, checksum, a digest, a checksum of a row.
    + [flip_a_bit_at(position) for position in (3, 9, 17, 26, 35, 60, 48 + 16 * 20 + 2)],
)
def test_damaged_files_are_ignored_with_one_warning(tmp_path, damage):
    folder = write(tmp_path, slice(0, 20))
    damaged = segments_in(folder)[0]
    write(tmp_path, slice(20, None))
    damage(damaged)
    tiers = Tiers(KEY, tmp_path)
    with pytest.warns(RowCacheWarning, match="no file of activations that can be used"):
        held, values = tiers.fetch(DIGESTS)
    assert held.tolist() == [False] * 20 + [True] * 20
    np.testing.assert_array_equal(values[20:], VALUES[20:])
    # Not said again, and what is computed again is kept.
    tiers.keep(DIGESTS[:20], VALUES[:20])
    check_all_there(tmp_path)


def test_a_row_that_was_changed_is_not_given_out(tmp_path):
    folder = write(tmp_path)
    flip_a_bit_at(-1)(segments_in(folder)[0])
    tiers = Tiers(KEY, tmp_path)
    with pytest.warns(RowCacheWarning, match="changed since they were written"):
        held, _ = tiers.fetch(DIGESTS)
    assert held.tolist() == [True] * (N_ROWS - 1) + [False]
    tiers.keep(DIGESTS[-1:], VALUES[-1:])
    check_all_there(tmp_path)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_file_that_is_cut_off_while_it_is_mapped_is_not_touched(tmp_path, size):
    folder = write(tmp_path)
    tiers = Tiers(KEY, tmp_path)
    assert tiers.fetch(DIGESTS)[0].all()
    (path,) = segments_in(folder)
    os.truncate(path, size)
    with pytest.warns(RowCacheWarning, match="was cut off or removed"):
        held, _ = tiers.fetch(DIGESTS)
    assert not held.any()
    (segment,) = tiers.folder._segments.values()
    assert not segment.verify().any()
    tiers.keep(DIGESTS, VALUES)
    check_all_there(tmp_path)


def test_few_of_many_segments_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(_segments, "N_MAPPED", 3)
    folder = SegmentFolder(tmp_path / "store")
    for i in range(N_ROWS):
        assert folder.write(DIGESTS[i : i + 1], VALUES[i : i + 1], 1.0)
    for _ in range(2):
        (index,) = folder.refresh()
        values = np.zeros_like(VALUES)
        order = rng.permutation(N_ROWS)
        positions = index.find([DIGESTS[i] for i in order])
        assert index.read(positions, values, order).all()
        np.testing.assert_array_equal(values, VALUES)
        assert sum(s._mapped is not None for s in folder._segments.values()) == 3
    # One that was let go of, and then removed, is not there any more.
    gone = next(n for n, s in folder._segments.items() if s._mapped is None)
    (tmp_path / "store" / gone).unlink()
    assert index.read(positions, values, order).sum() == N_ROWS - 1
    del index, folder
    gc.collect()
    assert not any(reference() for reference in _segments._READ_LAST.values())


def test_a_file_of_another_store_is_foreign(tmp_path):
    folder = write(tmp_path)
    other = Tiers(("other", *KEY[1:]), tmp_path)
    other.folder.path.mkdir()
    os.rename(segments_in(folder)[0], other.folder.path / "moved.rows")
    with pytest.warns(RowCacheWarning, match="checksum"):
        assert not other.fetch(DIGESTS)[0].any()


def check_works_in_memory(cache_dir):
    """Rows are kept in memory, and one warning says so."""
    tiers = Tiers(KEY, cache_dir)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for part in (slice(0, 20), slice(20, None)):
            tiers.fetch(DIGESTS)
            tiers.keep(DIGESTS[part], VALUES[part])
        check_all_there(cache_dir)
    assert [warning.category for warning in caught] == [RowCacheWarning]
    assert "kept in memory only" in str(caught[0].message)


def test_a_file_in_place_of_the_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    check_works_in_memory(path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    check_works_in_memory(tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")]
)
@pytest.mark.parametrize("function", ["os.fsync", "os.replace"])
def test_a_disk_that_is_full_or_read_only(tmp_path, monkeypatch, error, function):
    def fail(*args):
        raise error

    monkeypatch.setattr(f"sktransfer.backbones.cache._segments.{function}", fail)
    check_works_in_memory(tmp_path)
    # Nothing half is left.
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        check_works_in_memory(tmp_path / "cache")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_deleted_while_it_is_used(tmp_path):
    cache_dir = tmp_path / "cache"
    tiers = Tiers(KEY, cache_dir)
    tiers.keep(DIGESTS, VALUES)
    tiers.fetch(DIGESTS)
    os.rename(cache_dir, tmp_path / "elsewhere")
    assert not tiers.fetch(DIGESTS)[0].any()
    tiers.keep(DIGESTS, VALUES)
    check_all_there(cache_dir)


def test_leftovers_of_ended_processes_are_swept(tmp_path):
    folder = write(tmp_path)
    old, new = folder / "old.tmp", folder / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    check_all_there(tmp_path)
    assert [path.name for path in folder.glob("*.tmp")] == ["new.tmp"]


def test_many_small_segments_become_one(tmp_path):
    # One that is open since before, as in a process that goes on reading.
    reader = Tiers(KEY, tmp_path)
    reader.keep(DIGESTS[:1], VALUES[:1])
    reader.fetch(DIGESTS)
    index = reader.folder.refresh()[0]
    writer = SegmentFolder(reader.folder.path)
    for i in range(70):
        writer.write(DIGESTS[i % N_ROWS :][:1], VALUES[i % N_ROWS :][:1], 0.5)
    writer.merge()
    (segment,) = segments_in(reader.folder.path)
    # 71 rows were written, 40 of which differ.
    assert segment.stat().st_size < 48 + N_ROWS * (16 + 4 + 4 * WIDTH) + 64
    out = np.empty((1, WIDTH), dtype=np.float32)
    assert index.read(np.array([0]), out, np.array([0])).all()
    np.testing.assert_array_equal(out, VALUES[:1])
    check_all_there(tmp_path)


def test_files_that_cannot_be_removed_are_merged_once(tmp_path, monkeypatch):
    folder = write(tmp_path)
    writer = SegmentFolder(folder)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "mapped")

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(70):
        writer.write(DIGESTS[:1], VALUES[:1], 0.5)
    for _ in range(3):
        writer.merge()
    assert len(segments_in(folder)) == 1 + 70 + 1
    check_all_there(tmp_path)


def test_a_merge_leaves_changed_rows_behind(tmp_path):
    folder = write(tmp_path, slice(0, 1))
    flip_a_bit_at(-1)(segments_in(folder)[0])
    writer = SegmentFolder(folder)
    for i in range(1, 65):
        writer.write(DIGESTS[i % N_ROWS :][:1], VALUES[i % N_ROWS :][:1], 0.5)
    # The right value of the first row came in later.
    writer.merge()
    assert len(segments_in(folder)) == 1
    check_all_there(tmp_path)


def test_readers_find_everything_while_others_merge(tmp_path, monkeypatch):
    # Here one process holds the maps of three.
    monkeypatch.setattr(_segments, "N_MAPPED", 900)
    folder = write(tmp_path)
    end = threading.Event()

    def write_and_merge():
        writer = SegmentFolder(folder)
        while not end.is_set():
            for i in range(65):
                writer.write(DIGESTS[i % N_ROWS :][:1], VALUES[i % N_ROWS :][:1], 0.0)
            writer.merge()

    # Without the wait for the disk.
    threads = [threading.Thread(target=write_and_merge) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            index_of = SegmentFolder(folder)
            (index,) = index_of.refresh()
            positions = index.find(DIGESTS)
            assert (positions >= 0).all()
            out = np.empty_like(VALUES)
            assert index.read(positions, out, np.arange(N_ROWS)).all()
            np.testing.assert_array_equal(out, VALUES)
    finally:
        end.set()
        for thread in threads:
            thread.join()


WRITER = """
import os, sys, time
import numpy as np
from sktransfer.backbones.cache import _segments

folder = _segments.open_folder(sys.argv[1], sys.argv[2])
step, seconds = sys.argv[3], float(sys.argv[4])
functions = {"fsync": os.fsync, "replace": os.replace}

def slow(name):
    def function(*args):
        if name == step:
            print(name, flush=True)
            time.sleep(seconds)
        return functions[name](*args)
    return function

os.fsync, os.replace = slow("fsync"), slow("replace")
rng = np.random.default_rng(os.getpid())
if step == "none":
    print("none", flush=True)
while True:
    rows = rng.permutation(2000)[:1000]
    values = np.repeat(rows[:, None], 64, axis=1).astype(np.float32)
    folder.write([int(i).to_bytes(16, "little") for i in rows], values, 0.0)
    folder.merge()
"""


def start_writers(number, cache_dir, step="none", seconds=0.0):
    """Start processes that write for ever, and wait until they have come to the step."""
    command = [sys.executable, "-c", WRITER, str(cache_dir), "store", step, str(seconds)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    for process in processes:
        assert process.stdout.readline().strip() == step
    return processes


def read_what_there_is(cache_dir):
    """Return how many of the writers' rows are held; each must have its own value."""
    folder = SegmentFolder(Path(cache_dir) / "store")
    digests = [i.to_bytes(16, "little") for i in range(2000)]
    n_held = 0
    for index in folder.refresh():
        positions = index.find(digests)
        held = np.flatnonzero(positions >= 0)
        out = np.empty((2000, 64), dtype=np.float32)
        assert index.read(positions[held], out, held).all()
        np.testing.assert_array_equal(out[held], np.repeat(held[:, None], 64, axis=1))
        n_held += len(held)
    return n_held


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_writer_that_is_killed_between_its_steps_leaves_nothing_that_is_read(tmp_path, step):
    (process,) = start_writers(1, tmp_path, step, 60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    assert read_what_there_is(tmp_path) == 0


def test_writers_that_are_killed_at_any_time(tmp_path):
    pause = random.Random(0)
    processes = start_writers(4, tmp_path)
    for process in processes:
        time.sleep(pause.uniform(0, 0.3))
        read_what_there_is(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert read_what_there_is(tmp_path) > 0


def test_folders_are_opened_once_per_process(tmp_path):
    assert open_folder(str(tmp_path), "a") is open_folder(str(tmp_path), "a")


def test_too_many_open_files_condemn_no_file(tmp_path, monkeypatch):
    write(tmp_path)
    tiers = Tiers(KEY, tmp_path)

    def refuse(*args, **kwargs):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("sktransfer.backbones.cache._segments.mmap.mmap", refuse)
        with pytest.warns(RowCacheWarning, match="for now .*Too many open files") as caught:
            assert not tiers.fetch(DIGESTS)[0].any()
            assert not tiers.fetch(DIGESTS)[0].any()
    assert len(caught) == 1
    assert "removed" not in str(caught[0].message)
    held, values = tiers.fetch(DIGESTS)
    assert held.all()
    np.testing.assert_array_equal(values, VALUES)
    # What is mapped stays so where the folder cannot be listed.
    with monkeypatch.context() as patch:
        patch.setattr("sktransfer.backbones.cache._segments.os.scandir", refuse)
        with pytest.warns(RowCacheWarning, match="Cannot read the folder"):
            assert tiers.fetch(DIGESTS)[0].all()


def test_a_long_pass_leaves_few_files_at_any_time(tmp_path, monkeypatch):
    monkeypatch.setattr("sktransfer.backbones.cache._segments.os.fsync", lambda number: None)
    tiers = Tiers(KEY, tmp_path)
    n_files = []
    for i in range(200):
        tiers.keep([i.to_bytes(16, "little")], VALUES[:1])
        n_files.append(len(segments_in(tiers.folder.path)))
    assert max(n_files) <= 66
    tiers.finish()
    held, _ = tiers.fetch([i.to_bytes(16, "little") for i in range(200)])
    assert held.all()


def test_files_that_another_process_merged_first_are_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_segments, "N_MAPPED", 1)
    folder = write(tmp_path)
    for i in range(65):
        SegmentFolder(folder).write(DIGESTS[i % N_ROWS :][:1], VALUES[i % N_ROWS :][:1], 0.0)
    late = SegmentFolder(folder)
    late.refresh()
    monkeypatch.setattr(late, "refresh", lambda: list(late._by_width.values()))
    SegmentFolder(folder).merge()
    late.merge()
    check_all_there(tmp_path)
    assert len(segments_in(folder)) == 1
