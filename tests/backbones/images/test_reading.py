import os
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.backbones import ImageRows, NetworkInput
from sktransfer.backbones.images import _reading

RGB = NetworkInput(channels=3, resize=24, crop=24)
DAMAGED_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"


def write(path, seed, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (30 + seed, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / f"{seed}.png", seed) for seed in range(11)]


@pytest.fixture
def in_processes(monkeypatch):
    """Joblib's processes, and the ids of those that read: theirs is not that of the test."""
    tasks = []

    class Noted(_reading._Processes):
        def start(self, batch):
            tasks.append(len(batch))
            return super().start(batch)

    monkeypatch.setattr(_reading, "_Processes", Noted)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        yield tasks


def read(images, batches, **options):
    return ImageRows(images, **options).read(batches, RGB)


def test_processes_give_what_threads_give_in_the_same_order(files, in_processes):
    batches = [np.array([3, 0, 10]), np.array([], dtype=int), np.array([5]), np.arange(11)]
    found = list(read(files, batches))
    assert in_processes == [3, 0, 1, 11]
    with joblib.parallel_config(backend="threading", n_jobs=2):
        expected = list(read(files, batches))
    assert len(in_processes) == 4
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        ImageRows(files).decode(RGB), ImageRows(files, n_jobs=1).decode(RGB)
    )
    assert in_processes[4:] == [11]


def test_files_are_read_elsewhere(files, in_processes):
    def who(rows, row, network_input):
        return np.full((1, 1, 1, 1), os.getpid())

    (pids,) = _reading.Reading(ImageRows(files), [np.arange(11)], RGB, who)
    assert os.getpid() not in pids


def test_what_is_in_memory_is_read_in_threads(files, in_processes):
    content = Path(files[0]).read_bytes()
    pixels = [np.zeros((30, 40, 3), np.uint8)] * 2
    for images in (pixels, [Image.fromarray(pixels[0])] * 2, [files[0], pixels[1]]):
        ImageRows(images).prepare(RGB)
    assert in_processes == []
    ImageRows([content, files[1]]).prepare(RGB)
    ImageRows(files, n_jobs=1).prepare(RGB)
    assert in_processes == [2]


@pytest.mark.parametrize(("number", "reason"), [(4, "there is no such file"), (6, "is empty")])
def test_errors_name_the_file(files, in_processes, number, reason):
    os.unlink(files[4])
    Path(files[6]).write_bytes(b"")
    rows = ImageRows(files)[[1, number, 0]]
    with pytest.raises(ValueError, match=f"in row {number} .*{number}.png'.*{reason}"):
        rows.prepare(RGB)


def test_bad_rows_can_be_left_out(files, in_processes):
    os.unlink(files[4])
    images = [*files, None]
    reading = read(images, [np.arange(3, 6), np.arange(6, 12)], on_error="nan")
    first, second = list(reading)
    assert (len(first), len(second), reading.unread) == (2, 5, [1, 8])
    np.testing.assert_array_equal(first, ImageRows([files[3], files[5]], n_jobs=1).prepare(RGB))
    assert in_processes == [3, 6]


def test_files_that_change_are_noticed(files, in_processes, tmp_path):
    rows = ImageRows(files)
    rows.digests()
    write(files[7], 100)
    with pytest.raises(ValueError, match="a file that changed while it was read, in row 7"):
        rows.prepare(RGB)


def test_settings_and_warnings_of_pillow_are_those_of_this_process(
    files, in_processes, tmp_path, monkeypatch
):
    damaged = write(tmp_path / "damaged.jpg", 1, exif=DAMAGED_EXIF)
    rows = ImageRows([*files, damaged], on_error="nan")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        rows.prepare(RGB)
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="Corrupt EXIF") as caught:
        warnings.simplefilter("error")
        rows.prepare(RGB)
    assert caught.value.__notes__ == ["(In row 11 ('" + damaged + "').)"]

    whole = Path(write(tmp_path / "whole.jpg", 2)).read_bytes()
    truncated = [whole[: len(whole) // 2], files[0]]
    with pytest.raises(ValueError, match="truncated"):
        ImageRows(truncated).prepare(RGB)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert len(ImageRows(truncated).prepare(RGB)) == 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="decompression bomb"):
        ImageRows(files).prepare(RGB)


def test_a_pass_that_is_left_early_ends(files, in_processes):
    reading = iter(read(files, [[i] for i in range(11)]))
    next(reading)
    reading.close()
    assert len(in_processes) < 11


def test_a_transformer_reads_in_processes(files, in_processes, small_network):
    backbone = Backbone(small_network, input=NetworkInput(channels=1, resize=12, crop=10))
    features = FeatureTransferTransformer(backbone, cache=False).fit_transform(files)
    assert in_processes
    with joblib.parallel_config(backend="threading"):
        expected = FeatureTransferTransformer(backbone, cache=False).fit_transform(files)
    np.testing.assert_array_equal(features, expected)


@pytest.mark.slow
def test_a_search_in_processes(files, in_processes, small_network):
    """In its workers, each of which is one of the jobs, images are read in threads."""
    backbone = Backbone(small_network, input=NetworkInput(channels=1, resize=12, crop=10))
    pipeline = make_pipeline(FeatureTransferTransformer(backbone), LogisticRegression())
    X = pd.Series(files[:10])
    scores = cross_val_score(pipeline, X, np.arange(10) % 2, cv=2, error_score="raise")
    assert len(scores) == 2
