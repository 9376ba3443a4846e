import threading

import numpy as np
import pytest

from sktransfer.backbones import clear_row_cache
from sktransfer.backbones.cache._cache import RowCache
from sktransfer.backbones.cache._tiers import Tiers
from sktransfer.utils._digests import digest_rows

rng = np.random.default_rng(0)


def test_digests_tell_rows_apart_by_content_and_shape():
    rows = rng.random((4, 6)).astype(np.float32)
    digests = digest_rows(rows)
    assert len(set(digests)) == 4
    assert digest_rows(rows[::-1]) == digests[::-1]
    assert digest_rows(rows.reshape(4, 2, 3)) != digests


@pytest.fixture
def tiers():
    clear_row_cache()
    return Tiers(("network", "layer", "auto", "float32"))


def test_a_store_gives_back_what_it_was_given(tiers):
    values = rng.random((50, 3)).astype(np.float32)
    keys = [bytes([i]) for i in range(50)]
    for start in range(0, 50, 7):
        tiers.keep(keys[start : start + 7], values[start : start + 7])
    order = rng.permutation(50)
    held, found = tiers.fetch([keys[i] for i in order])
    assert held.all()
    np.testing.assert_array_equal(found, values[order])
    held, found = tiers.fetch([b"unknown", keys[3]])
    assert held.tolist() == [False, True]
    np.testing.assert_array_equal(found[1], values[3])


def test_rows_of_several_widths_share_a_store(tiers):
    narrow, wide = np.ones((2, 3), np.float32), np.full((2, 5), 2, np.float32)
    tiers.keep([b"a", b"b"], narrow)
    tiers.keep([b"c", b"d"], wide)
    np.testing.assert_array_equal(tiers.fetch([b"b", b"a"])[1], narrow)
    np.testing.assert_array_equal(tiers.fetch([b"d", b"c"])[1], wide)
    assert tiers.info().rows == 4


def test_counts(tiers):
    tiers.fetch([b"a", b"b", b"a"])
    tiers.keep([b"a", b"b"], np.zeros((2, 3), dtype=np.float32))
    tiers.fetch([b"a", b"b", b"c"])
    tiers.store.add_time(4, 2.0)
    info = tiers.info()
    assert (info.hits, info.misses, info.rows, info.bytes) == (2, 3, 2, 24)
    assert (info.bytes_on_disk, info.seconds_saved) == (0, 1.0)


def test_the_store_unused_for_longest_is_dropped():
    cache = RowCache(budget=3 * 400)
    for key in "abc":
        cache[key].insert([b"x"], np.zeros((1, 100), dtype=np.float32), np.arange(1))
    kept = cache["a"]
    cache["d"].insert([b"x"], np.zeros((1, 100), dtype=np.float32), np.arange(1))
    cache.shrink()
    assert cache["a"] is kept
    assert cache["b"].info().rows == 0


def test_threads_may_write_at_the_same_time(tiers):
    def write(part):
        keys = [f"{part}-{i}".encode() for i in range(200)]
        for key in keys:
            tiers.keep([key], np.full((1, 2), part, dtype=np.float32))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held, values = tiers.fetch([f"{part}-{i}".encode() for part in range(4) for i in range(200)])
    assert held.all()
    np.testing.assert_array_equal(values[:, 0], np.repeat(np.arange(4), 200))
