import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.backbones import ImageRows
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones.cache._cache import ROW_CACHE
from sktransfer.feature import _chunks
from sktransfer.feature._chunks import NpyFile, list_chunks

rng = np.random.default_rng(0)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 20 rows of 64 numbers."""
    monkeypatch.setattr(_chunks, "_CHUNK_BYTES", 20 * 64 * 8)


@pytest.fixture
def mapped(tmp_path, digits):
    """Map 130 digits from a file."""

    def make(dtype=np.float64, shape=(130, 8, 8)):
        path = tmp_path / "rows.npy"
        np.save(path, digits[0][:130].astype(dtype).reshape(shape))
        return np.load(path, mmap_mode="r")

    return make


def test_chunks_are_all_rows_in_multiples_of_a_batch(small_chunks):
    rows = np.zeros((50, 64))
    assert list_chunks(rows, 3) == [slice(0, 20), slice(20, 40), slice(40, 50)]
    assert list_chunks(rows, 3, at_least=8)[0] == slice(0, 16)
    # Rows that are larger than a chunk should be.
    assert len(list_chunks(rows, 10**6, at_least=4)) == 13
    assert list_chunks(rows[:0], 3) == [slice(0, 0)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int16])
@pytest.mark.parametrize("mode", ["replace", "concat"])
def test_a_mapped_file_gives_what_an_array_gives(mapped, small_network, small_chunks, dtype, mode):
    rows = mapped(dtype)
    transformer = FeatureTransferTransformer(small_network, mode=mode, batch_size=8)
    expected = transformer.fit_transform(np.array(rows))
    scales = transformer.block_scales_
    for features in (transformer.transform(rows), transformer.fit_transform(rows)):
        assert features.dtype == expected.dtype
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(transformer.block_scales_, scales, rtol=1e-6)


def test_a_mapped_file_is_never_read_as_a_whole(mapped, small_network, small_chunks, monkeypatch):
    rows = mapped(np.int16)
    most = []
    check = FeatureTransferTransformer._check_rows

    def watch(self, X, *args, **options):
        most.append(len(X))
        return check(self, X, *args, **options)

    monkeypatch.setattr(FeatureTransferTransformer, "_check_rows", watch)
    transformer = FeatureTransferTransformer(small_network, batch_size=4)
    transformer.fit(rows)
    # To replace the input nothing is learned from other rows.
    assert most == [20]
    transformer.transform(rows)
    assert max(most) == 20
    assert sum(most) == 20 + 130


def test_bad_rows_deep_in_a_mapped_file_are_found(mapped, small_network, small_chunks):
    rows = np.array(mapped())
    rows[100, 3, 3] = np.nan
    path = mapped().filename
    np.save(path, rows)
    transformer = FeatureTransferTransformer(small_network, mode="concat")
    with pytest.raises(ValueError, match="contains NaN"):
        transformer.fit(np.load(path, mmap_mode="r"))
    assert not hasattr(transformer, "block_scales_")


def test_features_go_to_a_file(mapped, small_network, small_chunks, tmp_path):
    rows = mapped()
    transformer = FeatureTransferTransformer(small_network, mode="concat", batch_size=8)
    expected = transformer.fit_transform(np.array(rows))
    path = tmp_path / "features.npy"
    for given in (rows, np.array(rows), np.array(rows).tolist()):
        features = transformer.transform_to_file(given, path)
        assert isinstance(features, np.memmap)
        assert not features.flags.writeable
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
        assert features.dtype == expected.dtype
        assert {file.name for file in tmp_path.iterdir()} == {"rows.npy", "features.npy"}


def test_frames_go_to_a_file(small_chunks, tmp_path):
    frame = pd.DataFrame(rng.normal(size=(70, 64)), columns=[f"c{i}" for i in range(64)])
    source = FrozenEstimator(LogisticRegression().fit(frame, rng.integers(3, size=70)))
    transformer = FeatureTransferTransformer(source, output="logits", mode="concat", batch_size=1)
    expected = transformer.fit_transform(frame)
    features = transformer.transform_to_file(frame, str(tmp_path / "f.npy"))
    np.testing.assert_allclose(features, expected)


def test_a_failure_leaves_the_old_file_and_nothing_else(mapped, small_network, tmp_path):
    transformer = FeatureTransferTransformer(small_network).fit(mapped())
    path = tmp_path / "features.npy"
    transformer.transform_to_file(mapped(), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="contains NaN"):
        transformer.transform_to_file(np.full((4, 8, 8), np.nan), path)
    with pytest.raises(KeyboardInterrupt), NpyFile(path) as file:
        file.allocate((3, 2), np.float32)[0] = 1
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"rows.npy", "features.npy"}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("features.csv", ValueError, "ends in '.npy'"),
        ("nowhere/features.npy", FileNotFoundError, "no folder.*make it first"),
    ],
)
def test_paths_that_cannot_be_written(small_network, digits, tmp_path, name, error, message):
    transformer = FeatureTransferTransformer(small_network).fit(digits[0][:5])
    with pytest.raises(error, match=message):
        transformer.transform_to_file(digits[0][:5], tmp_path / name)


def test_columns_that_are_no_numbers_cannot_be_written(tmp_path):
    frame = pd.DataFrame({"a": rng.normal(size=9), "b": list("xyz" * 3)})
    source = FrozenEstimator(_LengthOf().fit(frame))
    transformer = FeatureTransferTransformer(source, mode="concat").fit(frame)
    with pytest.raises(ValueError, match="a DataFrame, but only arrays"):
        transformer.transform_to_file(frame, tmp_path / "f.npy")
    assert list(tmp_path.iterdir()) == []


def _LengthOf():
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer(lambda X: np.full((len(X), 1), 1.0))


def test_results_larger_than_the_row_cache_are_not_kept(small_network, mapped, monkeypatch):
    rows = mapped()
    monkeypatch.setattr(ROW_CACHE, "budget", 130 * 32 * 4 - 1)
    for cache, kept in (("auto", 1), (True, 130)):
        transformer = FeatureTransferTransformer(small_network, cache=cache, batch_size=32)
        transformer.fit(rows).transform(rows)
        assert transformer.cache_info_.rows == kept
        ROW_CACHE.clear()


def test_a_bar_for_the_chunks(mapped, small_chunks, capsys):
    network = Backbone(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), name="toy")
    transformer = FeatureTransferTransformer(network, batch_size=4, cache=False, verbose=1)
    transformer.fit(mapped())
    capsys.readouterr()
    transformer.transform(mapped())
    assert "toy: chunks: 100%" in capsys.readouterr().err
    transformer.transform(np.array(mapped()))
    assert "toy: activations: 100%" in capsys.readouterr().err


def test_memory_for_a_few_chunks_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(_chunks, "_CHUNK_BYTES", 2**19)
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float64, (30_000, 64))
    rows[:] = rng.normal(size=(1, 64))
    rows[::2] *= 2
    network = nn.Sequential(nn.Linear(64, 70), nn.ReLU())
    transformer = FeatureTransferTransformer(network, mode="concat", batch_size=500)
    tracemalloc.start()
    try:
        transformer.fit(rows)
        features = transformer.transform_to_file(rows, tmp_path / "features.npy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert features.shape == (30_000, 134)
    assert peak < rows.nbytes / 2


@pytest.mark.parametrize("kind", ["mapped", "array", "images"])
def test_precompute_goes_chunk_by_chunk(kind, mapped, small_chunks, small_network, monkeypatch):
    rows = mapped(np.uint8)
    X = {"mapped": rows, "array": np.array(rows), "images": ImageRows(list(np.array(rows)))}[kind]
    sent = []

    def spy(backbone, X, **options):
        sent.append(len(X))
        return compute_activations(backbone, X, **options)

    monkeypatch.setattr("sktransfer.feature._network_source.compute_activations", spy)
    transformer = FeatureTransferTransformer(small_network, batch_size=5).fit(X[:20])
    sent.clear()
    transformer.precompute(X)
    assert sum(sent) == 130
    assert len(sent) > 1
    n_sent = small_network.rows_seen
    transformer.transform(X)
    assert small_network.rows_seen == n_sent


def test_precompute_says_where_nothing_would_be_kept(small_network, mapped, monkeypatch, tmp_path):
    table = rng.normal(size=(30, 4))
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(ValueError, match="Got cache='auto'.*keep nothing: to send a row"):
        FeatureTransferTransformer(network).precompute(table)
    kept = FeatureTransferTransformer(network, cache=True).precompute(table)
    assert kept.cache_info_.rows == 30
    monkeypatch.setattr(ROW_CACHE, "budget", 130 * 32 * 4 - 1)
    with pytest.raises(ValueError, match="so many rows are larger than the row cache"):
        FeatureTransferTransformer(small_network).precompute(mapped())
    for options in ({"cache": True}, {"cache_dir": tmp_path}):
        kept = FeatureTransferTransformer(small_network, **options).precompute(mapped())
        assert kept.cache_info_.rows == 130
        ROW_CACHE.clear()
