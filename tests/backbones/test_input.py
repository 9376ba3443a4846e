import numpy as np
import pytest

from sktransfer.backbones import NetworkInput

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "image_shape", "prepared"),
    [
        ((5, 64), (8, 8), (5, 1, 8, 8)),
        ((5, 8, 8), None, (5, 1, 8, 8)),
        ((5, 8, 8, 1), None, (5, 1, 8, 8)),
        ((5, 1, 8, 8), None, (5, 1, 8, 8)),
    ],
)
def test_grey_images_in_any_layout(shape, image_shape, prepared):
    X = RNG.random(shape)
    images = NetworkInput(channels=1).prepare(X, image_shape)
    assert images.shape == prepared
    np.testing.assert_array_equal(images.ravel(), X.ravel().astype(np.float32))


@pytest.mark.parametrize("network_input", [NetworkInput(channels=3), NetworkInput()])
def test_channels_last_and_first_are_told_apart(network_input):
    first = RNG.random((4, 3, 6, 5)).astype(np.float32)
    last = np.moveaxis(first, 1, -1)
    np.testing.assert_array_equal(network_input.prepare(first), first)
    np.testing.assert_array_equal(network_input.prepare(last), first)
    flat = last.reshape(4, -1)
    np.testing.assert_array_equal(network_input.prepare(flat, image_shape=(6, 5, 3)), first)


def test_bytes_are_scaled_and_standardised():
    X = np.full((1, 2, 2), 255, dtype=np.uint8)
    images = NetworkInput(channels=1, mean=0.5, std=0.25).prepare(X)
    np.testing.assert_allclose(images, 2.0)
    np.testing.assert_allclose(NetworkInput(channels=1, mean=0.5).prepare(X / 255.0), 0.5)


def test_vectors_pass_through():
    X = RNG.random((4, 7))
    np.testing.assert_array_equal(NetworkInput().prepare(X), X.astype(np.float32))


def test_preparing_does_not_change_what_was_passed():
    X = RNG.random((4, 3, 6, 5)).astype(np.float32)
    before = X.copy()
    NetworkInput(channels=3, mean=0.5, std=2.0).prepare(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("network_input", "shape", "image_shape", "message"),
    [
        (NetworkInput(channels=1), (5, 64), None, r"image_shape=\(8, 8\)"),
        (NetworkInput(channels=1), (5, 63), None, r"image_shape=\(height, width\)"),
        (NetworkInput(channels=5), (5, 8, 8), None, "1 channel.* takes 5"),
        (NetworkInput(channels=1), (5, 8, 8, 5), None, "5 channel.* takes 1"),
        (NetworkInput(channels=1, min_size=8), (5, 7, 9), None, "at least 8 x 8"),
        (NetworkInput(channels=0), (5, 7, 9), None, "takes vectors"),
        (NetworkInput(), (5, 64), (7, 9), r"Got image_shape=\(7, 9\).*63 pixels.*64"),
        (NetworkInput(), (5, 64), (64,), "Got image_shape"),
        (NetworkInput(), (5, 64), "8x8", "Got image_shape='8x8'"),
        (NetworkInput(), (5, 64), 8, "Got image_shape=8"),
        (NetworkInput(), (5, 64), (-8, -8), "Got image_shape"),
    ],
)
def test_rows_that_do_not_fit_are_refused(network_input, shape, image_shape, message):
    with pytest.raises(ValueError, match=message):
        network_input.check(shape, image_shape)


def test_scale_must_be_positive():
    with pytest.raises(ValueError, match="Got std"):
        NetworkInput(std=(1.0, 0.0))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channels": 1, "mean": (0.1, 0.2)}, ValueError),
        ({"channels": 0, "mean": 0.5}, ValueError),
        ({"channels": -1}, ValueError),
        ({"channels": 2.5}, TypeError),
        ({"min_size": 0}, ValueError),
        ({"mean": float("nan")}, ValueError),
        ({"mean": "bright"}, TypeError),
    ],
)
def test_wrong_descriptions(arguments, error):
    with pytest.raises(error, match="Got "):
        NetworkInput(**arguments)


def test_an_image_shape_that_images_contradict():
    with pytest.raises(ValueError, match=r"image_shape=\(4, 16\).*leave image_shape out"):
        NetworkInput(channels=1).check((5, 8, 8), (4, 16))
