import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer, ParameterTransferClassifier
from sktransfer.backbones import ImageRows, NetworkInput
from sktransfer.backbones.images import _channels
from sktransfer.backbones.images._channels import convert_channels
from sktransfer.exceptions import ChannelConversionWarning
from sktransfer.training import RandomFlip

RNG = np.random.default_rng(0)
GREY = RNG.random((6, 8, 8)).astype(np.float32)
COLOUR = RNG.random((6, 8, 8, 3)).astype(np.float32)
OPAQUE = np.concatenate([COLOUR, np.ones((6, 8, 8, 1), np.float32)], axis=3)
LUMA = np.float32([0.299, 0.587, 0.114])


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(_channels, "_said", set())


def make_backbone(channels):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
    values = {3: ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3)), 1: (0.5, 0.25)}
    mean, std = values[channels]
    return Backbone(network, input=NetworkInput(channels=channels, mean=mean, std=std))


def test_a_convolution_on_grey_images_is_the_one_with_summed_weights():
    backbone = make_backbone(3)
    network = backbone.copy_module()[0]
    mean, std = backbone.input.mean, backbone.input.std
    with torch.no_grad():
        given = network(torch.from_numpy(backbone.input.prepare(GREY)))
        summed = nn.functional.conv2d(
            torch.from_numpy(GREY[:, None]),
            (network.weight / torch.tensor(std).reshape(1, 3, 1, 1)).sum(1, keepdim=True),
            network.bias
            - (network.weight.sum((2, 3)) * torch.tensor(mean) / torch.tensor(std)).sum(1),
        )
    torch.testing.assert_close(given, summed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 255])
def test_grey_images_are_what_they_are_in_colour(scale):
    dtype = np.uint8 if scale == 255 else np.float32
    grey = (GREY * scale).astype(dtype)
    network_input = make_backbone(3).input
    in_colour = network_input.prepare(np.repeat(grey[..., None], 3, axis=3))
    for X in (grey, grey[..., None], grey[:, None]):
        np.testing.assert_array_equal(network_input.prepare(X), in_colour)
    flat = network_input.prepare(grey.reshape(6, -1), image_shape=(8, 8))
    np.testing.assert_array_equal(flat, in_colour)


def test_colour_images_become_grey_as_the_eye_weighs_colours():
    network_input = make_backbone(1).input
    expected = network_input.prepare(COLOUR @ LUMA)
    for X in (COLOUR, np.moveaxis(COLOUR, 3, 1)):
        np.testing.assert_allclose(network_input.prepare(X), expected, atol=1e-4)


def test_what_was_passed_does_not_change():
    before = COLOUR.copy()
    make_backbone(1).input.prepare(COLOUR)
    np.testing.assert_array_equal(COLOUR, before)


@pytest.mark.parametrize(("given", "wanted"), [(5, 3), (6, 1), (3, 5), (1, 13)])
def test_other_channels_are_not_converted(given, wanted):
    images = np.zeros((2, given, 8, 8))
    message = rf"{given} channel.* takes {wanted} channel"
    with pytest.raises(ValueError, match=message):
        NetworkInput(channels=wanted, channels_last=False).check(images.shape)
    with pytest.raises(ValueError, match=message):
        convert_channels(images, wanted)
    assert convert_channels(images, None) is images


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("given", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
def test_arrays_and_single_images_are_converted_alike(given, wanted, dtype):
    scale = 255 if dtype == np.uint8 else 1
    images = (np.random.default_rng(0).random((5, 30, 20, given)) * scale).astype(dtype)
    network_input = NetworkInput(channels=wanted, resize=(16, 16), mean=0.5, std=0.25)
    one_by_one = ImageRows(list(images)).prepare(network_input)
    for X in (images, np.moveaxis(images, -1, 1)):
        network_input.check(X.shape)
        np.testing.assert_allclose(network_input.prepare(X), one_by_one, atol=1e-6)


@pytest.mark.parametrize("given", [2, 4])
def test_alpha_is_on_white(given):
    images = RNG.random((3, 8, 8, given)).astype(np.float32)
    colours, alpha = images[..., :-1], images[..., -1:]
    on_white = colours * alpha + 1 - alpha
    for wanted in (1, 3):
        network_input = NetworkInput(channels=wanted)
        np.testing.assert_allclose(
            network_input.prepare(images), network_input.prepare(on_white), atol=1e-6
        )
    added = NetworkInput(channels=given).prepare(colours)
    np.testing.assert_array_equal(added[:, -1], 1)
    # A last channel that is no opacity, such as infrared, or 255 in floats.
    for X in (images * 255, images - 1):
        with pytest.raises(ValueError, match=r"taken for the opacity.*expected floats from 0 to 1"):
            NetworkInput(channels=3).prepare(X)


@pytest.mark.parametrize(
    ("channels", "X", "word"),
    [
        (3, GREY, "grey is repeated"),
        (1, COLOUR, "colours are mixed to grey"),
        (3, OPAQUE, "the last is taken for the opacity, before white"),
        (1, OPAQUE, "the last is taken for the opacity, before white, colours are mixed to grey"),
    ],
)
def test_it_is_said_once(channels, X, word):
    backbone, y = make_backbone(channels), np.array([0, 1, 0, 1, 0, 1])
    transformer = FeatureTransferTransformer(backbone)
    with pytest.warns(ChannelConversionWarning, match=f"'Sequential'.*{word}") as said:
        features = transformer.fit(X).transform(X)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureTransferTransformer(backbone).fit(X)
        ParameterTransferClassifier(backbone, strategy="frozen").fit(X, y).predict(X)
    if X is OPAQUE:
        X = COLOUR
    by_hand = X @ LUMA if channels == 1 else X
    by_hand = np.repeat(X[..., None], 3, axis=3) if X is GREY else by_hand
    np.testing.assert_allclose(features, transformer.fit(by_hand).transform(by_hand), atol=1e-4)


def test_what_was_raised_is_not_said():
    transformer = FeatureTransferTransformer(make_backbone(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(ChannelConversionWarning):
                transformer.fit(GREY)


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.ChannelConversionWarning")
@pytest.mark.parametrize("augment", [None, RandomFlip()])
def test_training_on_grey_images_is_training_on_them_in_colour(augment):
    y = np.array([0, 1, 0, 1, 0, 1])
    probabilities = [
        ParameterTransferClassifier(
            make_backbone(3), strategy="fine_tune", max_epochs=2, augment=augment, random_state=0
        )
        .fit(X, y)
        .predict_proba(X)
        for X in (GREY, np.repeat(GREY[..., None], 3, axis=3))
    ]
    np.testing.assert_allclose(*probabilities, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_row_cache_tells_grey_from_colour(dtype):
    """Also where the bytes of the rows are equal: (8, 24) in grey, (8, 8, 3) in colour."""
    colour = (COLOUR * 255).astype(dtype)
    backbone = make_backbone(3)
    transform = FeatureTransferTransformer(backbone, cache=True).fit_transform
    in_colour = transform(colour)
    with pytest.warns(ChannelConversionWarning):
        in_grey = transform(colour.reshape(6, 8, 24))
    assert not np.allclose(in_colour, in_grey)
    uncached = FeatureTransferTransformer(backbone, cache=False).fit_transform(
        colour.reshape(6, 8, 24)
    )
    np.testing.assert_allclose(in_grey, uncached, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "channels_last", "row", "seen"),
    [
        (3, None, (3, 32, 3), (3, 32, 3)),
        (3, False, (3, 32, 3), (3, 32, 3)),
        (3, True, (3, 32, 3), (3, 3, 32)),
        (None, None, (3, 32, 3), (3, 32, 3)),
        (None, True, (3, 32, 3), (3, 3, 32)),
        (None, True, (4, 32, 32), None),
        (3, None, (1, 28, 28), (1, 28, 28)),
        (3, None, (28, 28, 1), (1, 28, 28)),
        (1, None, (3, 32, 32), (3, 32, 32)),
        (1, None, (32, 32, 3), (3, 32, 32)),
        (1, None, (1, 28, 3), (1, 28, 3)),
        (1, True, (1, 28, 3), (3, 1, 28)),
        (4, None, (4, 8, 3), (4, 8, 3)),
    ],
)
def test_which_axis_has_the_channels(channels, channels_last, row, seen):
    network_input = NetworkInput(channels=channels, channels_last=channels_last)
    X = np.arange(np.prod(row), dtype=np.float32).reshape(1, *row)
    laid_out = network_input.lay_out(X)
    if seen is None:
        seen = (row[2], row[0], row[1])
    assert laid_out.shape[1:] == seen
    expected = X if row == seen else np.moveaxis(X, 3, 1)
    if channels_last is not None:
        expected = np.moveaxis(X, 3, 1) if channels_last else X
    np.testing.assert_array_equal(laid_out, expected)


def test_the_axis_of_the_channels_is_a_yes_or_no():
    with pytest.raises(ValueError, match="Got channels_last='last'"):
        NetworkInput(channels_last="last")
