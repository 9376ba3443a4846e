import threading

import numpy as np

from sktransfer.backbones._cache import RowCache, RowStore, digest_rows

rng = np.random.default_rng(0)


def test_digests_tell_rows_apart_by_content_and_shape():
    rows = rng.random((4, 6)).astype(np.float32)
    digests = digest_rows(rows)
    assert len(set(digests)) == 4
    assert digest_rows(rows[::-1]) == digests[::-1]
    assert digest_rows(rows.reshape(4, 2, 3)) != digests


def test_a_store_gives_back_what_it_was_given():
    store, values = RowStore(), rng.random((50, 3)).astype(np.float32)
    keys = [bytes([i]) for i in range(50)]
    for start in range(0, 50, 7):
        store.insert(keys[start : start + 7], values[start : start + 7])
    order = rng.permutation(50)
    held, found = store.lookup([keys[i] for i in order])
    assert held.all()
    np.testing.assert_array_equal(found, values[order])
    held, found = store.lookup([b"unknown", keys[3]])
    assert held.tolist() == [False, True]
    np.testing.assert_array_equal(found, values[[3]])


def test_counts():
    store = RowStore()
    store.lookup([b"a", b"b", b"a"])
    store.insert([b"a", b"b"], np.zeros((2, 3), dtype=np.float32))
    store.lookup([b"a", b"b", b"c"])
    info = store.info()
    assert (info.hits, info.misses, info.rows) == (2, 3, 2)


def test_the_store_unused_for_longest_is_dropped():
    cache = RowCache(budget=3 * 400)
    for key in "abc":
        cache[key].insert([b"x"], np.zeros((1, 100), dtype=np.float32))
    kept = cache["a"]
    cache["d"].insert([b"x"], np.zeros((1, 100), dtype=np.float32))
    cache.shrink()
    assert cache["a"] is kept
    assert cache["b"].info().rows == 0


def test_threads_may_write_at_the_same_time():
    store = RowStore()

    def write(part):
        keys = [f"{part}-{i}".encode() for i in range(200)]
        for key in keys:
            store.insert([key], np.full((1, 2), part, dtype=np.float32))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held, values = store.lookup([f"{part}-{i}".encode() for part in range(4) for i in range(200)])
    assert held.all()
    np.testing.assert_array_equal(values[:, 0], np.repeat(np.arange(4), 200))
