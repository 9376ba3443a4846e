import numpy as np
import pytest
from PIL import Image

from sktransfer.backbones import NetworkInput
from sktransfer.backbones.images._resize import final_size, resize_images

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Versions of Pillow differ in whether rows or columns come first, and bytes are rounded between:
# the more a filter overshoots, the more that matters.
TOLERANCES = {"nearest": 0, "bilinear": 2, "bicubic": 2, "lanczos": 4}


def make_image(height, width, channels=3):
    """Make noise with large structure, so that every mistake in a filter or a position shows."""
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.integers(-40, 40, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def by_pillow(image, resize, crop, interpolation):
    """Do what the transforms of torchvision do to a PIL image: Resize, CenterCrop."""
    height, width = image.shape[:2]
    if isinstance(resize, int):
        short = min(height, width)
        size = [resize if n == short else int(resize * n / short) for n in (height, width)]
    else:
        size = resize
    resized = Image.fromarray(image).resize((size[1], size[0]), FILTERS[interpolation])
    if crop is not None:
        top, left = (-((crop - n) // 2) if crop > n else round((n - crop) / 2.0) for n in size)
        # Beyond its borders, Pillow fills with black.
        resized = resized.crop((left, top, left + crop, top + crop))
    return np.asarray(resized).astype(int)


def channels_first(image):
    return np.moveaxis(image, -1, 0)[np.newaxis]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("shape", [(75, 100), (90, 61), (20, 30)])
@pytest.mark.parametrize(("resize", "crop"), [(37, 32), ((25, 41), None), (48, 71), (50, None)])
def test_as_pillow_does_it(shape, resize, crop, interpolation):
    image = make_image(*shape)
    ours = resize_images(channels_first(image), resize, crop, interpolation)
    assert ours.dtype == np.uint8
    expected = by_pillow(image, resize, crop, interpolation)
    difference = np.abs(np.moveaxis(ours[0], 0, -1) - expected)
    assert difference.max() <= TOLERANCES[interpolation]
    assert difference.mean() < 0.5


@pytest.mark.parametrize("interpolation", FILTERS)
def test_floats_are_resized_as_bytes_are(interpolation):
    image = channels_first(make_image(75, 100))
    bright = 50 + image // 2  # so that no filter overshoots what a byte holds
    of_bytes = resize_images(bright, 37, 32, interpolation)
    of_floats = resize_images(bright / 255, 37, 32, interpolation)
    assert of_floats.dtype == np.float32
    np.testing.assert_allclose(255 * of_floats, of_bytes.astype(float), atol=1.6)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("shape", [(12, 1500), (1500, 12)])
def test_of_elongated_images_only_the_middle_is_made(shape, interpolation):
    image = make_image(*shape)
    ours = resize_images(channels_first(image), 40, 36, interpolation)
    expected = by_pillow(image, 40, 36, interpolation)
    difference = np.abs(np.moveaxis(ours[0], 0, -1) - expected)
    assert difference.max() <= TOLERANCES[interpolation]
    assert difference.mean() < 0.5


def test_one_row_of_a_million_pixels():
    line = np.full((1, 3, 1, 1_000_000), 77, dtype=np.uint8)
    np.testing.assert_array_equal(resize_images(line, 224, 224), 77)
    with pytest.raises(ValueError, match=r"1 x 1000000 pixels.*224 x 224000000.*crop="):
        resize_images(line, 224)


@pytest.mark.parametrize(
    ("size", "resize", "crop", "expected"),
    [
        ((30, 40), None, None, (30, 40)),
        ((30, 40), 15, None, (15, 20)),
        ((40, 30), 15, None, (20, 15)),
        ((30, 41), 15, None, (15, 20)),
        ((30, 40), (7, 9), None, (7, 9)),
        ((30, 40), 15, 12, (12, 12)),
        ((30, 40), None, (12, 50), (12, 50)),
    ],
)
def test_final_size(size, resize, crop, expected):
    assert final_size(size, resize, crop) == expected
    image = channels_first(make_image(*size))
    assert resize_images(image, resize, crop).shape[2:] == expected


@pytest.mark.parametrize(("resize", "crop"), [(None, None), (256, 24), ((24, 24), None)])
def test_images_of_the_final_size_are_passed_on(resize, crop):
    image = channels_first(make_image(24, 24))
    assert resize_images(image, resize, crop) is image


def test_images_read_only_or_mirrored_are_resized_without_change():
    image = channels_first(make_image(30, 40))
    mirrored = image[..., ::-1]
    image.flags.writeable = False
    resized = resize_images(image, 15)
    np.testing.assert_array_equal(resize_images(mirrored[..., ::-1], 15), resized)
    np.testing.assert_allclose(
        resize_images(mirrored, 15)[..., ::-1].astype(int), resized.astype(int), atol=1
    )


def test_a_network_input_prepares_arrays_of_any_size():
    wanted = NetworkInput(channels=3, min_size=24, mean=0.5, std=0.5, resize=32, crop=24)
    images = np.stack([make_image(50, 70), make_image(50, 70)[::-1]])
    wanted.check(images.shape)
    prepared = wanted.prepare(images)
    assert prepared.shape == (2, 3, 24, 24)
    expected = by_pillow(images[1], 32, 24, "bilinear") / 127.5 - 1
    np.testing.assert_allclose(np.moveaxis(prepared[1], 0, -1), expected, atol=2 / 127.5)
    # Bytes and the same as floats in [0, 1].
    np.testing.assert_allclose(wanted.prepare(images / 255), prepared, atol=2 / 127.5)
    # Small images are enlarged before their size is looked at.
    wanted.check((2, 8, 8, 3))


@pytest.mark.parametrize("interpolation", FILTERS)
def test_flat_rows_are_resized_too(interpolation):
    image = make_image(20, 30)
    wanted = NetworkInput(channels=3, resize=(10, 12), interpolation=interpolation)
    np.testing.assert_array_equal(
        wanted.prepare(image.reshape(1, -1), (20, 30, 3)), wanted.prepare(image[np.newaxis])
    )
