"""Images of any number of channels as images of the number that a network takes."""

import numpy as np

_OPAQUE = {True: np.uint8(255), False: np.float32(1)}
# Luma of ITU-R BT.601, in the fixed point of image libraries, so that bytes come out the same.
_LUMA, _LUMA_BITS = (19595, 38470, 7471), 16


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
    return np.repeat(image, 3, axis=0) if n == 1 else _to_grey(image)


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
