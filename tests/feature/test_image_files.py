import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.backbones import ImageRows, NetworkInput, clear_row_cache


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network, input=NetworkInput(channels=1, resize=12, crop=10))


@pytest.fixture
def images(digits):
    """Sixty digits as bytes, of differing sizes."""
    digits = [np.uint8(digit * 15) for digit in digits[0][:60]]
    return [np.repeat(digit, 2 + i % 3, axis=i % 2) for i, digit in enumerate(digits)]


@pytest.fixture
def labels(digits):
    return digits[1][:60] % 2


@pytest.fixture
def paths(images, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(60)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def bad_paths(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    return [str(tmp_path / "text.png"), str(tmp_path / "missing.png")]


def test_files_and_arrays_have_the_same_features(backbone, paths, images):
    features = FeatureTransferTransformer(backbone).fit_transform(paths)
    assert (features.shape, features.dtype) == ((60, 32), np.float32)
    clear_row_cache()
    for others in (images, [Image.fromarray(i) for i in images], [Path(p) for p in paths]):
        np.testing.assert_array_equal(
            FeatureTransferTransformer(backbone, n_jobs=2).fit_transform(others), features
        )
    # One by one, as an array that is like any other.
    for image, expected in zip(images[:3], features, strict=False):
        alone = FeatureTransferTransformer(backbone, cache=False).fit_transform(image[np.newaxis])
        np.testing.assert_allclose(alone[0], expected, rtol=1e-5, atol=1e-6)


def test_a_list_of_arrays_of_one_size_is_an_array(backbone, images):
    alike = [image for image in images if image.shape == images[0].shape]
    expected = FeatureTransferTransformer(backbone).fit_transform(np.stack(alike))
    # Bytes stay bytes, as in a list of images of several sizes.
    for X in (alike, [torch.as_tensor(image) for image in alike], tuple(alike)):
        np.testing.assert_array_equal(
            FeatureTransferTransformer(backbone).fit_transform(X), expected
        )
    several = FeatureTransferTransformer(backbone).fit_transform([*alike, images[1]])
    np.testing.assert_allclose(several[:-1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "container",
    [
        pd.Series,
        lambda images: pd.DataFrame({"scan": images}),
        lambda images: pl.Series(images, dtype=pl.Object),
        lambda images: pl.DataFrame({"scan": pl.Series(images, dtype=pl.Object)}),
    ],
)
def test_arrays_in_a_column_need_not_differ_in_size(backbone, images, container):
    alike = [image for image in images if image.shape == images[0].shape]
    expected = FeatureTransferTransformer(backbone).fit_transform(np.stack(alike))
    transformer = FeatureTransferTransformer(backbone)
    for n in (len(alike), 1):
        features = transformer.fit(container(alike)).transform(container(alike[:n]))
        np.testing.assert_allclose(features, expected[:n], rtol=1e-5, atol=1e-6)
    # Others may follow, as after images that differ.
    assert transformer.transform(container(images)).shape == (60, 32)
    if isinstance(container(alike), pd.DataFrame):
        assert transformer.feature_names_in_.tolist() == ["scan"]


def test_estimators_go_by_their_own_on_error(backbone, paths, bad_paths):
    X = [*paths[:3], *bad_paths]
    transformer = FeatureTransferTransformer(backbone).fit(paths)
    with pytest.raises(ValueError, match="cannot be read in row"):
        transformer.transform(ImageRows(X, on_error="nan"))
    transformer = FeatureTransferTransformer(backbone, on_error="nan").fit(paths)
    with pytest.warns(UserWarning, match="Got 2 of 5"):
        features = transformer.transform(ImageRows(X))
    assert np.isnan(features).all(axis=1).tolist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize("n_jobs", [None, 3])
def test_batches_and_threads_change_nothing(backbone, paths, batch_size, n_jobs):
    expected = FeatureTransferTransformer(backbone, cache=False).fit_transform(paths)
    transformer = FeatureTransferTransformer(
        backbone, cache=False, batch_size=batch_size, n_jobs=n_jobs
    )
    np.testing.assert_allclose(transformer.fit_transform(paths), expected, rtol=1e-5, atol=1e-6)


def test_a_grid_search_sends_each_file_once_wherever_it_is(
    small_network, backbone, paths, labels, tmp_path
):
    pipeline = make_pipeline(FeatureTransferTransformer(backbone), LogisticRegression())
    grid = {"logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(paths, labels)
    assert small_network.rows_seen == len({Path(path).read_bytes() for path in paths})
    moved = [shutil.move(path, f"{path[:-4]}-moved.png") for path in paths]
    small_network.rows_seen = 0
    assert search.score(moved, labels) > 0.8
    assert small_network.rows_seen == 0


def test_a_column_of_a_frame(backbone, paths):
    transformer = FeatureTransferTransformer(backbone).set_output(transform="pandas")
    X = pd.DataFrame({"path": paths, "age": 1.0}, index=range(100, 160))
    expected = transformer.fit_transform(X[["path"]])
    assert expected.index.tolist() == list(range(100, 160))
    assert transformer.n_features_in_ == 1
    assert transformer.feature_names_in_.tolist() == ["path"]
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(X[["path"]].rename(columns={"path": "file"}))
    for column in ("path", ["path"]):
        columns = make_column_transformer(
            (FeatureTransferTransformer(backbone), column), remainder="passthrough"
        )
        np.testing.assert_array_equal(columns.fit_transform(X)[:, :32], expected)
    of_polars = FeatureTransferTransformer(backbone).fit(pl.DataFrame({"path": paths}))
    assert of_polars.feature_names_in_.tolist() == ["path"]


class Digits(torch.utils.data.Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return Image.fromarray(self.images[i]), int(self.labels[i])


def test_datasets_are_cross_validated(backbone, images, labels):
    pipeline = make_pipeline(FeatureTransferTransformer(backbone), LogisticRegression())
    dataset = Digits(images, labels)
    expected = cross_val_score(pipeline, images, labels, cv=3)
    for X in (dataset, ImageRows(dataset)):
        np.testing.assert_allclose(cross_val_score(pipeline, X, labels, cv=3), expected)


def test_images_of_another_size_follow(backbone, paths, images):
    transformer = FeatureTransferTransformer(backbone).fit(paths)
    expected = transformer.transform(paths[:1])
    one = images[0][np.newaxis]
    for X in (one, one[:, np.newaxis], one[..., np.newaxis], torch.as_tensor(one), [images[0]]):
        np.testing.assert_array_equal(transformer.transform(X), expected)
    # Also where fit saw arrays, if the network brings all to one size.
    transformer = FeatureTransferTransformer(backbone).fit(images[3][np.newaxis])
    for X in (paths[:1], one):
        np.testing.assert_array_equal(transformer.transform(X), expected)
    for X in (np.zeros((2, 64)), np.zeros((2, 1))):
        with pytest.raises(ValueError, match="was fitted on"):
            transformer.transform(X)
        with pytest.raises(ValueError, match="was fitted on images"):
            FeatureTransferTransformer(backbone).fit(paths).transform(X)


def test_floats_of_any_scale_do_not_follow_bytes(backbone, paths, images):
    one, other = images[0][np.newaxis], images[1][np.newaxis]
    for before, after in [
        (one, other * 1.0),
        (one * 1.0, other),
        (one / 255, paths[:1]),
        (one / 255, np.array(paths)),
    ]:
        transformer = FeatureTransferTransformer(backbone).fit(before)
        with pytest.raises(ValueError, match="divided by 255"):
            transformer.transform(after)
    np.testing.assert_allclose(
        FeatureTransferTransformer(backbone).fit(one / 255).transform(other / 255),
        FeatureTransferTransformer(backbone).fit(paths).transform(other / 255),
    )
    nested = (other / 255).tolist()
    np.testing.assert_allclose(
        FeatureTransferTransformer(backbone).fit(paths).transform(nested),
        FeatureTransferTransformer(backbone).fit(paths).transform(other),
        rtol=0.05,
        atol=0.01,
    )


def test_images_of_another_size_do_not_follow_without_a_size(small_network, paths, images):
    transformer = FeatureTransferTransformer(small_network).fit(images[0][np.newaxis])
    with pytest.raises(ValueError, match=r"fitted on rows of shape \(8, 16\)|\(16, 8\)"):
        transformer.transform(paths[:1])
    with pytest.raises(ValueError, match="fitted on rows of shape"):
        transformer.transform(images[1][np.newaxis])
    with pytest.raises(ValueError, match=r"differ in size.*NetworkInput\("):
        FeatureTransferTransformer(small_network).fit_transform(paths)


def test_what_does_not_go_with_images(backbone, paths):
    vectors = nn.Linear(4, 2)
    flat = Backbone(vectors, input=NetworkInput(channels=0))
    for parameters, message in [
        ({"backbone": None}, "with backbone=None; expected"),
        ({"backbone": vectors}, "takes vectors; expected a 2-D X"),
        ({"backbone": flat}, "takes vectors; expected a 2-D X"),
        ({"mode": "concat"}, "Got mode='concat' with images"),
        ({"image_shape": (8, 8)}, r"Got image_shape=\(8, 8\) with images"),
        ({"on_error": "skip"}, "Got on_error='skip'"),
    ]:
        transformer = FeatureTransferTransformer(backbone).set_params(**parameters)
        with pytest.raises(ValueError, match=message):
            transformer.fit(paths)
    with pytest.raises(ValueError, match="0 sample"):
        FeatureTransferTransformer(backbone).fit(ImageRows(paths)[:0])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        make_pipeline(FeatureTransferTransformer(backbone), LogisticRegression()).fit(paths, [0, 1])


def test_a_network_that_flattens_says_that_it_takes_images(paths):
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 3))
    with pytest.raises(ValueError, match="One that flattens images says so"):
        FeatureTransferTransformer(network).fit(paths)
    backbone = Backbone(network, input=NetworkInput(channels=1, resize=(10, 10)))
    assert FeatureTransferTransformer(backbone).fit_transform(paths).shape == (60, 100)


def test_a_bad_image_is_an_error_that_names_it(backbone, paths, bad_paths):
    transformer = FeatureTransferTransformer(backbone).fit(paths)
    for cache in (True, False):
        transformer.set_params(cache=cache).fit(paths)
        with pytest.raises(ValueError, match=r"row 1 \('.*text\.png'\): it is not an image"):
            transformer.transform([paths[0], bad_paths[0]])
        with pytest.raises(FileNotFoundError, match=r"row 2 \('.*missing\.png'\): there is no"):
            transformer.transform([*paths[:2], bad_paths[1]])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("output", ["features", "proba"])
def test_rows_of_bad_images_are_nan(backbone, paths, bad_paths, cache, output):
    transformer = FeatureTransferTransformer(
        backbone, on_error="nan", cache=cache, output=output, batch_size=2
    )
    X = [*bad_paths, *paths[:3], bad_paths[0], *paths[3:6]]
    message = r"Got 3 of 9 images that cannot be read.*row 0 \('.*text.*row 1 \(.*row 5 \("
    with pytest.warns(UserWarning, match=message) as caught:
        features = transformer.fit_transform(X)
    assert len(caught) == 1
    assert np.isnan(features[[0, 1, 5]]).all()
    expected = clone(transformer).fit_transform(paths[:6])
    np.testing.assert_allclose(features[[2, 3, 4, 6, 7, 8]], expected, rtol=1e-5, atol=1e-6)
    # Nothing but images that cannot be read.
    with pytest.warns(UserWarning, match="Got 3 of 3"):
        features = transformer.transform([*bad_paths, None])
    assert features.shape == (3, expected.shape[1])
    assert np.isnan(features).all()


def test_a_warning_names_a_few(backbone, paths, tmp_path):
    transformer = FeatureTransferTransformer(backbone, on_error="nan").fit(paths)
    missing = [str(tmp_path / f"missing{i}.png") for i in range(9)]
    with pytest.warns(UserWarning, match=r"Got 9 of 10 .*missing2\.png'\) and 6 more\."):
        transformer.transform([*paths[:1], *missing])


def test_a_bad_image_is_not_cached(backbone, paths, bad_paths):
    transformer = FeatureTransferTransformer(backbone, on_error="nan").fit(paths)
    before = transformer.cache_info_.rows
    for _ in range(2):
        with pytest.warns(UserWarning, match="Got 2 of 2"):
            transformer.transform(bad_paths)
    assert transformer.cache_info_.rows == before
    for bad in bad_paths:
        shutil.copy(paths[0], bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = transformer.transform(bad_paths)
    np.testing.assert_array_equal(features, transformer.transform([paths[0]] * 2))


def test_files_for_a_network_whose_arrays_have_channels_last(small_network, paths, images):
    """Files are what they are, wherever arrays have their channels."""
    size = {"channels": 1, "resize": 12, "crop": 10}
    expected = FeatureTransferTransformer(
        Backbone(small_network, input=NetworkInput(**size))
    ).fit_transform(paths)
    last = Backbone(small_network, input=NetworkInput(**size, channels_last=True))
    for X in (paths, [image[..., np.newaxis] for image in images]):
        for cache in (False, True):
            features = FeatureTransferTransformer(last, cache=cache).fit_transform(X)
            np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_a_file_overwritten_after_the_look_up_does_not_poison_the_cache(
    backbone, paths, monkeypatch
):
    transformer = FeatureTransferTransformer(backbone, cache=True).fit(paths[:1])
    first = Path(paths[3]).read_bytes()
    look_up = ImageRows.digests

    def digests_then_overwrite(rows):
        found = look_up(rows)
        shutil.copy(paths[4], paths[3])
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ImageRows, "digests", digests_then_overwrite)
        with pytest.raises(ValueError, match="changed while it was read"):
            transformer.transform([paths[3]])
    Path(paths[3]).write_bytes(first)
    expected = FeatureTransferTransformer(backbone, cache=False).fit_transform([paths[3]])
    np.testing.assert_array_equal(transformer.transform([paths[3]]), expected)


def test_nothing_can_be_fitted_on_bad_images_alone(backbone, bad_paths):
    with pytest.raises(ValueError, match="no image that can be read.*row 1"):
        FeatureTransferTransformer(backbone, on_error="nan").fit(bad_paths)
