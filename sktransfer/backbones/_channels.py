"""Images of any number of channels as images of the number that a network takes."""

import warnings

import numpy as np

from sktransfer.exceptions import ChannelConversionWarning

GREY, COLOUR = 1, 3

_OPAQUE = {True: np.uint8(255), False: np.float32(1)}
# Luma of ITU-R BT.601, in the fixed point of image libraries, so that bytes come out the same.
_LUMA, _LUMA_BITS = (19595, 38470, 7471), 16


def are_convertible(given, wanted):
    """Tell whether images of so many channels stand for images of another number."""
    return {given, wanted} == {GREY, COLOUR}


def match_channels(images, wanted):
    """Repeat the channel of grey images (n, 1, ...), or mix those of colour (n, 3, ...) to grey.

    Repeated, a grey image is what a display shows of it in colour: a first convolution gives what
    one gives whose weights are summed over the channels, also if each channel is normalised by a
    mean and deviation of its own afterwards.
    """
    if not are_convertible(images.shape[1], wanted):
        return images
    if wanted == GREY:
        return np.moveaxis(_to_grey(np.moveaxis(images, 1, 0)), 0, 1)
    return np.repeat(images, COLOUR, axis=1)


def convert_channels(image, channels):
    """Return an image of 1 to 4 channels as one of another number of them.

    Alpha becomes a white background, unless the network takes 2 or 4 channels.

    Parameters
    ----------
    image : ndarray of shape (1 to 4, height, width), uint8 or floats
        Grey; grey and alpha; RGB; RGBA.
    channels : int

    Returns
    -------
    image : ndarray of shape (channels, height, width)
    """
    n = len(image)
    if n == channels:
        return image
    if n > 4 or channels > 4:
        raise ValueError(
            f"Got an image of {n} channel(s), but the network takes {channels} channel(s)."
        )
    if channels in (2, 4):
        if n in (1, 3):
            alpha = np.full_like(image[:1], _OPAQUE[image.dtype == np.uint8])
        else:
            image, alpha = image[:-1], image[-1:]
        return np.concatenate([convert_channels(image, channels - 1), alpha])
    if n in (2, 4):
        return convert_channels(put_on_white(image), channels)
    return np.repeat(image, COLOUR, axis=0) if n == GREY else _to_grey(image)


def put_on_white(image):
    """Return an image whose last channel is alpha as it looks on a white background."""
    colours, alpha = image[:-1], image[-1:]
    if image.dtype == np.uint8:
        colours, alpha = colours.astype(np.uint16), alpha.astype(np.uint16)
        # Of bytes a product of two fits 16 bits.
        return ((colours * alpha + 255 * (255 - alpha) + np.uint16(127)) // 255).astype(np.uint8)
    return colours * alpha + (1 - alpha)


def _to_grey(image):
    if image.dtype == np.uint8:
        mixed = sum(np.uint32(w) * colour for w, colour in zip(_LUMA, image[:, None], strict=True))
        return ((mixed + (1 << _LUMA_BITS - 1)) >> _LUMA_BITS).astype(np.uint8)
    weights = np.float32(_LUMA) / np.float32(1 << _LUMA_BITS)
    return sum(w * colour for w, colour in zip(weights, image[:, None], strict=True))


# A search fits many clones, a fit makes several networks of one; all want to be fed alike.
_said = set()


def warn_of_conversion(given, network_input, name):
    """Say that channels are converted, once in a process for each way to feed a network."""
    if (given, network_input) in _said:
        return
    _said.add((given, network_input))
    what = "mixed to grey" if given == COLOUR else "repeated"
    warnings.warn(
        f"Got images of {given} channel(s) for the backbone {name!r}, which takes "
        f"{network_input.channels}: the channels are {what}. If the last axis of X is the width "
        "and not the channels, or the reverse, say so: NetworkInput(channels_last=...).",
        ChannelConversionWarning,
        stacklevel=2,
    )
