import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.model_selection import cross_val_score
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor
from sktransfer.backbones import NetworkInput

SIZE = NetworkInput(channels=1, mean=0.5, std=0.5, resize=12, crop=10)


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network, input=SIZE)


@pytest.fixture
def images(digits):
    return [np.uint8(digit * 15) for digit in digits[0][:40]]


@pytest.fixture
def paths(images, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(40)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def labels(digits):
    return np.array(["even", "odd"])[digits[1][:40] % 2]


# Of a random network on forty rows.
@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.NegativeTransferWarning")
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_files_are_as_good_as_arrays(backbone, paths, images, labels, strategy):
    def fit(X):
        return ParameterTransferClassifier(
            backbone, strategy=strategy, max_epochs=2, random_state=0
        ).fit(X, labels)

    of_files, of_arrays = fit(paths), fit(np.stack(images))
    expected = of_arrays.predict_proba(np.stack(images))
    for X in (paths, pd.Series(paths), np.stack(images)):
        np.testing.assert_allclose(of_files.predict_proba(X), expected, atol=1e-5)
    np.testing.assert_allclose(of_files.transform(paths), of_arrays.transform(images), atol=1e-4)
    assert of_files.n_features_in_ == 1


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.NegativeTransferWarning")
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_files_for_a_network_whose_arrays_have_channels_last(
    small_network, paths, labels, strategy
):
    probabilities = [
        ParameterTransferClassifier(
            Backbone(small_network, input=dataclasses.replace(SIZE, channels_last=channels_last)),
            strategy=strategy,
            max_epochs=2,
            random_state=0,
        )
        .fit(paths, labels)
        .predict_proba(paths)
        for channels_last in (None, True)
    ]
    np.testing.assert_allclose(*probabilities, atol=1e-5)


class Shaken(torch.utils.data.Dataset):
    """Images that are different each time."""

    def __init__(self, images):
        self.images, self.rng = images, np.random.default_rng(0)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return np.uint8(self.images[i] + self.rng.integers(0, 2, self.images[i].shape))


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_a_dataset_that_augments_is_refused(backbone, images, labels, strategy):
    classifier = ParameterTransferClassifier(backbone, strategy=strategy, random_state=0)
    with pytest.raises(ValueError, match=r"another image each time for row 0.*augment="):
        classifier.fit(Shaken(images), labels)


def test_only_what_has_weight_is_read(backbone, paths, labels, tmp_path):
    X = [*paths, str(tmp_path / "missing.png")]
    y, weight = [*labels, "odd"], np.append(np.ones(40), 0)
    for strategy in ("frozen", "fine_tune"):
        classifier = ParameterTransferClassifier(
            backbone, strategy=strategy, max_epochs=1, random_state=0
        )
        classifier.fit(X, y, weight)
        with pytest.raises(FileNotFoundError, match=r"row 40 \('.*missing\.png'\)"):
            classifier.fit(X, y)
        with pytest.raises(FileNotFoundError, match="row 40"):
            classifier.predict(X)


def test_partial_fit_and_cross_validation(backbone, paths, labels):
    classifier = ParameterTransferClassifier(backbone, strategy="frozen", random_state=0)
    assert cross_val_score(classifier, paths, labels, cv=2).mean() > 0.5
    for batch in (slice(0, 20), slice(20, 40)):
        classifier.partial_fit(paths[batch], labels[batch], classes=["even", "odd"])
    assert classifier.predict(paths).shape == (40,)


def test_augmented_files(backbone, paths, labels):
    classifier = ParameterTransferClassifier(
        backbone,
        strategy="fine_tune",
        max_epochs=1,
        random_state=0,
        augment=lambda images: images.flip(-1),
    )
    assert classifier.fit(paths, labels).predict(paths).shape == (40,)


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
def test_numbers_from_files(backbone, paths, digits, strategy):
    y = digits[1][:40] / 10
    regressor = ParameterTransferRegressor(
        backbone, strategy=strategy, max_epochs=1, random_state=0
    )
    assert regressor.fit(paths, y).predict(paths).shape == (40,)


def test_what_does_not_go_with_images(backbone, paths, labels):
    classifier = ParameterTransferClassifier(random_state=0)
    with pytest.raises(ValueError, match="backbone=None"):
        classifier.fit(paths, labels)
    for head in ("auto", "reuse"):
        with pytest.raises(ValueError, match="takes vectors"):
            classifier.set_params(backbone=nn.Linear(4, 2), head=head).fit(paths, labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.set_params(backbone=backbone).fit(paths, labels[:3])
    with pytest.raises(ValueError, match="differ in size"):
        classifier.set_params(backbone=backbone.copy_module(), head="auto").fit(
            [np.zeros((8, 8)), np.zeros((9, 8))], [0, 1]
        )
