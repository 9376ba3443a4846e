"""One image in any of the forms in which it may come: what it is, its pixels, its digest."""

import os
import sys
import threading

import numpy as np
import torch

from sktransfer.backbones.images._channels import put_on_white
from sktransfer.backbones.images._image_file import decode_file, find_orientation, to_array
from sktransfer.utils._digests import finish_digest, start_digest
from sktransfer.utils._validation import is_missing

_FILE_TYPES = (str, os.PathLike, bytes, bytearray, memoryview)
# An image that the user holds may stand in several rows, and is loaded by one thread at a time.
_LOADING = threading.Lock()


class WrongTypeError(TypeError):
    """What should be an image is something else."""


def is_image(value):
    """Tell whether a value is an image in any form."""
    return isinstance(value, _FILE_TYPES) or is_pil(value) or is_pixels(value)


def is_file(value):
    """Tell whether a value is the path or the bytes of an image file."""
    return isinstance(value, _FILE_TYPES)


def is_labelled(value):
    """Tell whether a value is a pair of pixels and a label."""
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and (is_pil(value[0]) or is_pixels(value[0])) and not is_image(value[1])


def is_absent(value):
    """Tell whether a value stands for a missing one."""
    return not (is_image(value) or hasattr(value, "__len__")) and is_missing(value)


def is_pil(value):
    """Tell whether a value is a PIL image."""
    # Whoever has one has imported Pillow.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def is_pixels(value):
    """Tell whether a value is an array or a tensor of the dimensions of one image."""
    return isinstance(value, np.ndarray | torch.Tensor) and value.ndim in (2, 3)


def name_image(image):
    """Return the name of an image's file in quotes, or None."""
    if is_path(image):
        return repr(os.fspath(image))
    return repr(image.filename) if getattr(image, "filename", None) else None


def explain(error):
    """Return in plain words why an image could not be read."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    return str(error).rstrip(".") or type(error).__name__


def is_path(value):
    """Tell whether a value is the path of a file."""
    return isinstance(value, str | os.PathLike)


def read_file(image):
    """Return the bytes of an image's file, if it is a path; else the image itself."""
    if not is_path(image):
        return image
    if os.path.isdir(image):
        raise IsADirectoryError(image)
    with open(image, "rb") as opened:
        return opened.read()


def read_pixels(image, network_input):
    """Return an image as an array (channels, height, width) of its own number of channels.

    Raises
    ------
    WrongTypeError
        If it is no image at all.
    Exception
        Of any kind, if it cannot be read.
    """
    if is_pixels(image):
        return network_input.lay_out(_to_plain_array(image)[np.newaxis])[0]
    if isinstance(image, _FILE_TYPES):
        pixels = decode_file(bytes(read_file(image)))
    elif is_pil(image):
        _load(image)
        pixels = to_array(image)
    else:
        _refuse(image)
    pixels = np.moveaxis(pixels, -1, 0)
    # A network that does not say how many channels it takes is not expected to take alpha.
    if not network_input.channels and len(pixels) in (2, 4):
        return put_on_white(pixels[np.newaxis])[0]
    return pixels


def _load(image):
    with _LOADING:
        image.load()
        find_orientation(image)


def _refuse(image):
    if is_absent(image):
        raise ValueError("it is missing")
    raise WrongTypeError(
        f"Got an image of type {type(image).__name__}, but expected a path, the bytes of a file, a "
        "PIL image, an array or a tensor (height, width), or with channels."
    )


def _to_plain_array(image):
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    if image.dtype == bool or image.dtype.kind == "f":
        image = image.astype(np.float32, copy=False)
    if image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"its dtype is {image.dtype}; expected uint8, or floats of the scale that the network "
            "takes"
        )
    if image.size == 0:
        raise ValueError(f"it has no pixels, but the shape {image.shape}")
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ValueError("it holds NaN or infinity")
    return image


def digest_image(image):
    """Return a digest of an image, salted by its kind."""
    if isinstance(image, _FILE_TYPES):
        return _digest("file", read_file(image))
    if is_pixels(image):
        pixels = np.ascontiguousarray(_to_plain_array(image))
        return _digest(f"array|{pixels.dtype.str}|{pixels.shape}", pixels)
    if is_pil(image):
        _load(image)
        # What decides how the pixels are seen.
        seen = (image.mode, image.size, find_orientation(image), image.info.get("transparency"))
        palette = image.getpalette("RGBA") if image.mode in ("P", "PA") else None
        return _digest(f"pil|{seen}|{palette}", image.tobytes())
    return _refuse(image)


def _digest(kind, content):
    return finish_digest(start_digest(f"{kind}|"), content)
