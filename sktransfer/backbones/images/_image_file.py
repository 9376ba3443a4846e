"""From the bytes of an image file, or a PIL image, to an array."""

import contextlib
import io

import numpy as np

from sktransfer.utils._optional import import_optional

_ORIENTATION = 0x0112
# What turns (height, width[, channels]) upright, by the value of the EXIF tag "Orientation".
_UPRIGHT = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}
_BITS_PER_SAMPLE = 258
_LARGEST_16_BIT = np.float32(65535)


def import_pillow():
    """Return the module PIL.Image, or raise and name the extra."""
    return import_optional("PIL.Image", "images", "Reading images (other than arrays) needs Pillow")


def get_pillow_settings():
    """Return what users may set on Pillow's modules, to set it likewise in other processes."""
    Image = import_pillow()
    import PIL.ImageFile

    return Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES


@contextlib.contextmanager
def pillow_settings(settings):
    """Read with the settings of another process, and put those of this one back."""
    before = get_pillow_settings()
    _set_pillow(*settings)
    try:
        yield
    finally:
        _set_pillow(*before)


def _set_pillow(most_pixels, loads_truncated):
    import PIL.Image
    import PIL.ImageFile

    PIL.Image.MAX_IMAGE_PIXELS = most_pixels
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = loads_truncated


def decode_file(content):
    """Return the first image in the bytes of a file as an array, see `to_array`."""
    Image = import_pillow()
    if not content:
        raise ValueError("it is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError as error:
        raise ValueError("it is not an image that Pillow can read") from error
    except Image.DecompressionBombWarning as error:
        # Where warnings are errors; such an image is refused in any case.
        raise ValueError(str(error)) from error
    with image:
        return to_array(image)


def to_array(image):
    """Return a PIL image as an array, turned upright as its EXIF data say.

    Returns
    -------
    pixels : ndarray of shape (height, width, channels)
        Grey (1 channel), grey and alpha (2), RGB (3) or RGBA (4). Of dtype uint8; float32 in [0, 1]
        for grey of 16 bits; float32 as they are for images of floats.

    Raises
    ------
    Exception
        Of any kind: those of Pillow's decoders for damaged files have no common class.
    """
    # Pillow only warns up to twice this size.
    limit = import_pillow().MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS "
            f"({limit}) allows, and may be a decompression bomb"
        )
    pixels = _read_pixels(image)
    pixels = _UPRIGHT.get(find_orientation(image), lambda x: x)(pixels)
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def find_orientation(image):
    """Return the EXIF orientation of an image, None if there is none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Warning:
        # Where warnings are errors; without them the orientation may well be read.
        raise
    except Exception:
        # A camera's notes can be damaged in many ways; the pixels are none the worse.
        return None


def _read_pixels(image):
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32) / _LARGEST_16_BIT
    if mode == "I":
        return _scale_integers(image)
    if mode == "F":
        return _check_finite(np.array(image))
    if mode == "La":
        image, mode = image.convert("LA"), "LA"
    if image.has_transparency_data:
        pixels = np.array(image.convert("RGBA"))
        return pixels[:, :, [0, 3]] if mode in ("1", "L", "LA") else pixels
    if mode == "1":
        image = image.convert("L")
    elif mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.array(image)


def _scale_integers(image):
    """Return grey of 16 bits that Pillow holds in integers of 32."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    pixels = np.asarray(image)
    if image.format is None or max(bits) > 16 or pixels.min(initial=0) < 0:
        raise ValueError(
            "it has integers of 32 bits, whose range is not known; convert it to 8 or 16 bits, or "
            "to floats"
        )
    return pixels.astype(np.float32) / _LARGEST_16_BIT


def _check_finite(pixels):
    if not np.isfinite(pixels).all():
        raise ValueError("it holds NaN or infinity")
    return pixels
