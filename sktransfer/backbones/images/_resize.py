"""Images brought to the size that a network wants: resized, then cut out of the middle.

Both follow the transforms that pretrained networks are published with (torchvision, timm): the
same rounding of sizes and positions, and a filter that widens with the scale, so that pixels are
averaged rather than skipped. Bytes stay bytes, as in an image library.
"""

import math

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional as F

# A resized image this many times larger than what is cut out of it is never made as a whole.
_MOST_CUT_AWAY = 16
# Values of one resized image; beyond, the size is an oversight rather than a wish.
_MOST_VALUES = 2**28
# "nearest" of torch takes another pixel than Pillow's at many sizes; not all versions have Lanczos.
_BY_TORCH = ("bilinear", "bicubic")


def resize_images(images, resize=None, crop=None, interpolation="bilinear"):
    """Return images resized and cropped; those that have the final size already as they are.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width), uint8 or floats
    resize : int, (height, width) or None
        An integer is for the shorter side; the other keeps the proportion.
    crop : int, (height, width) or None
        Size of the part in the middle. Images that are smaller get black borders.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}

    Returns
    -------
    images : ndarray of shape (n, channels, new height, new width)
        uint8 if the images are, else float32.
    """
    size = images.shape[2:]
    if final_size(size, resize, crop) == size:
        return images
    resized = _resized_size(size, resize)
    window = _middle(resized, crop)
    if resized == size:
        return _cut(images, window)
    if images.dtype != np.uint8:
        images = np.ascontiguousarray(images, dtype=np.float32)
    is_mostly_cut_away = math.prod(resized) > _MOST_CUT_AWAY * _area(window)
    if interpolation in _BY_TORCH and not is_mostly_cut_away:
        _check_values(resized, images.shape[1], size)
        return _cut(_resize_by_torch(images, resized, interpolation), window)
    _check_values([length for _, length in window], images.shape[1], size)
    return _resize_window(images, resized, window, interpolation)


def final_size(size, resize=None, crop=None):
    """Return the (height, width) that images of a size get.

    Images of the size of the crop are taken for ready, whatever ``resize`` is.
    """
    size = tuple(size)
    if crop is None:
        return _resized_size(size, resize)
    return as_pair(crop)


def as_pair(size):
    """Return a number, or (height, width), as the latter."""
    return (size, size) if np.ndim(size) == 0 else tuple(size)


def _resized_size(size, resize):
    if resize is None:
        return size
    if np.ndim(resize):
        return tuple(resize)
    short = min(size)
    return tuple(resize if n == short else int(resize * n / short) for n in size)


def _middle(size, crop):
    """Return (first, length) of the part to cut out, along both axes; ``first`` may be < 0."""
    if crop is None:
        return [(0, length) for length in size]
    return [
        # Borders are rounded down, cuts to even, as torchvision does.
        (-((wanted - n) // 2) if wanted > n else round((n - wanted) / 2), wanted)
        for n, wanted in zip(size, as_pair(crop), strict=True)
    ]


def _cut(images, window):
    """Return the part of images in a window, black where it reaches beyond them."""
    kept = images
    borders = [(0, 0), (0, 0)]
    for axis, (first, length) in enumerate(window, start=2):
        n = images.shape[axis]
        start, stop = max(first, 0), min(first + length, n)
        kept = kept[(slice(None),) * axis + (slice(start, stop),)]
        borders.append((start - first, first + length - stop))
    return np.pad(kept, borders) if np.any(borders) else kept


def _resize_by_torch(images, size, interpolation):
    if not images.flags.writeable or any(stride < 0 for stride in images.strides):
        images = images.copy()
    return F.interpolate(
        torch.from_numpy(images),
        size=size,
        mode=interpolation,
        antialias=True,
    ).numpy()


def _resize_window(images, size, window, interpolation):
    """Compute a window of the resized images alone: one sparse matrix along each axis."""
    is_bytes = images.dtype == np.uint8
    # Columns first, and bytes between the two, as in Pillow: filters may overshoot.
    for axis in (3, 2):
        first, length = window[axis - 2]
        start, stop = max(first, 0), min(first + length, size[axis - 2])
        weights = _filter_weights(images.shape[axis], size[axis - 2], start, stop, interpolation)
        used = np.unique(weights.indices)
        images = np.take(images, used, axis=axis)
        images = _apply(weights[:, used], images, axis)
        if is_bytes:
            images = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return _cut(images, [(min(first, 0), length) for first, length in window])


def _apply(weights, images, axis):
    moved = np.moveaxis(images, axis, 0)
    rows = weights @ moved.reshape(len(moved), -1).astype(np.float32)
    return np.moveaxis(rows.reshape(len(rows), *moved.shape[1:]), 0, axis)


def _filter_weights(n_in, n_out, start, stop, interpolation):
    """Return the weights of pixels in resized ones start..stop, a sparse (stop - start, n_in)."""
    scale = n_in / n_out
    centres = (np.arange(start, stop) + 0.5) * scale
    if interpolation == "nearest":
        # Summed up as in Pillow: rounding decides between two pixels that are equally near.
        centres = np.cumsum(np.append(0.5 * scale, np.full(stop - 1, scale)))[start:]
        taps = np.minimum(centres.astype(int), n_in - 1)[:, None]
        weights = np.ones(taps.shape)
    else:
        support, kernel = _KERNELS[interpolation]
        stretch = max(scale, 1.0)
        n_taps = 2 * math.ceil(support * stretch) + 1
        taps = np.floor(centres - support * stretch).astype(int)[:, None] + np.arange(n_taps + 1)
        weights = kernel((taps + 0.5 - centres[:, None]) / stretch)
        weights[(taps < 0) | (taps >= n_in)] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        taps = np.clip(taps, 0, n_in - 1)
    rows = np.repeat(np.arange(stop - start), taps.shape[1])
    entries = (weights.ravel().astype(np.float32), (rows, taps.ravel()))
    matrix = sparse.csr_array(entries, shape=(stop - start, n_in))
    matrix.eliminate_zeros()
    return matrix


def _triangle(x):
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x, a=-0.5):
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


# Reach of each filter, in pixels of the smaller image.
_KERNELS = {"bilinear": (1, _triangle), "bicubic": (2, _cubic), "lanczos": (3, _lanczos)}


def _area(window):
    return math.prod(length for _, length in window)


def _check_values(size, channels, before):
    if math.prod(size) * channels > _MOST_VALUES:
        raise ValueError(
            f"Got an image of {before[0]} x {before[1]} pixels, which would become "
            f"{size[0]} x {size[1]}; pass a smaller resize=..., or crop=... to cut the middle out."
        )
