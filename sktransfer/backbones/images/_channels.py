"""Images of any number of channels as images of the number that a network takes."""

import warnings

import numpy as np

from sktransfer.exceptions import ChannelConversionWarning

GREY, COLOUR = 1, 3
# Channels that have a meaning: with alpha, which is the last of 2 or 4.
_MOST = 4

_OPAQUE = {True: np.uint8(255), False: np.float32(1)}
# Luma of ITU-R BT.601, in the fixed point of image libraries, so that bytes come out the same.
_LUMA, _LUMA_BITS = (19595, 38470, 7471), 16


def are_convertible(given, wanted):
    """Tell whether images of so many channels stand for images of another number."""
    return bool(wanted) and given != wanted and 1 <= given <= _MOST and wanted <= _MOST


def convert_channels(images, channels):
    """Return images of 1 to 4 channels as images of another number of them.

    Grey is repeated, colours are mixed to grey, and alpha becomes a white background, unless the
    network takes 2 or 4 channels.

    Repeated, a grey image is what a display shows of it in colour: a first convolution gives what
    one gives whose weights are summed over the channels, also if each channel is normalised by a
    mean and deviation of its own afterwards.

    Parameters
    ----------
    images : ndarray of shape (n, 1 to 4, height, width), uint8 or floats
        Grey; grey and alpha; RGB; RGBA.
    channels : int or None
        None or 0 leaves the images as they are.

    Returns
    -------
    images : ndarray of shape (n, channels, height, width)
    """
    n = images.shape[1]
    if not channels or n == channels:
        return images
    if not are_convertible(n, channels):
        raise ValueError(
            f"Got images of {n} channel(s), but the network takes {channels} channel(s)."
        )
    if channels in (2, 4):
        if n in (1, 3):
            alpha = np.full_like(images[:, :1], _OPAQUE[images.dtype == np.uint8])
        else:
            images, alpha = images[:, :-1], images[:, -1:]
        return np.concatenate([convert_channels(images, channels - 1), alpha], axis=1)
    if n in (2, 4):
        return convert_channels(put_on_white(images), channels)
    return np.repeat(images, COLOUR, axis=1) if n == GREY else _to_grey(images)


def put_on_white(images):
    """Return images whose last channel is alpha as they look on a white background."""
    colours, alpha = images[:, :-1], images[:, -1:]
    if images.dtype == np.uint8:
        colours, alpha = colours.astype(np.uint16), alpha.astype(np.uint16)
        # Of bytes a product of two fits 16 bits.
        return ((colours * alpha + 255 * (255 - alpha) + np.uint16(127)) // 255).astype(np.uint8)
    low, high = alpha.min(initial=0), alpha.max(initial=1)
    if low < 0 or high > 1:
        raise ValueError(
            f"Got images of {images.shape[1]} channels, of which the last is taken for the "
            f"opacity, with values from {low:g} to {high:g}; expected floats from 0 to 1, or "
            "dtype uint8; leave it out if it is something else."
        )
    return colours * alpha + (1 - alpha)


def _to_grey(images):
    colours = np.moveaxis(images[:, np.newaxis], 2, 0)
    if images.dtype == np.uint8:
        mixed = sum(np.uint32(w) * colour for w, colour in zip(_LUMA, colours, strict=True))
        return ((mixed + (1 << _LUMA_BITS - 1)) >> _LUMA_BITS).astype(np.uint8)
    weights = np.float32(_LUMA) / np.float32(1 << _LUMA_BITS)
    return sum(w * colour for w, colour in zip(weights, colours, strict=True))


# A search fits many clones, a fit makes several networks of one; all want to be fed alike.
_said = set()


def warn_of_conversion(given, network_input, name):
    """Say that channels are converted, once in a process for each way to feed a network."""
    if (given, network_input) in _said:
        return
    warnings.warn(
        f"Got images of {given} channel(s) for the backbone {name!r}, which takes "
        f"{network_input.channels}: {_describe(given, network_input.channels)}. If the last axis "
        "of X is the width and not the channels, or the reverse, say so: "
        "NetworkInput(channels_last=...).",
        ChannelConversionWarning,
        stacklevel=2,
    )
    # Where warnings are errors nothing has been said for good.
    _said.add((given, network_input))


def _describe(given, wanted):
    """Say what becomes of the channels."""
    # Less alpha, that is, as grey or in colour.
    colours, wanted_colours = ((n - 1) | 1 for n in (given, wanted))
    steps = []
    if given in (2, 4) and wanted in (1, 3):
        steps.append("the last is taken for the opacity, before white")
    if colours != wanted_colours:
        steps.append("colours are mixed to grey" if wanted_colours == GREY else "grey is repeated")
    if given in (1, 3) and wanted in (2, 4):
        steps.append("an opaque last channel is added")
    return ", ".join(steps)
