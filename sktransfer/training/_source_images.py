"""Images of a source, all of one size, and how a network takes them."""

import dataclasses

import numpy as np
from scipy.sparse import issparse

from sktransfer.backbones._input import NetworkInput, check_image_shape
from sktransfer.backbones.images._containers import check_is_container
from sktransfer.backbones.images._image_rows import as_image_rows
from sktransfer.backbones.tables._table import as_array

# Of files, which come in any size.
_SIZE_OF_FILES = 64


def find_images(X, *, is_asked_for=False):
    """Return X if it is images, or if images are asked for; None if it is a table.

    Parameters
    ----------
    X : array-like, frame, list or Dataset
    is_asked_for : bool, default=False
        Whether something else says that these are images.
    """
    check_is_container(X)
    rows = as_image_rows(X)
    if rows is not None:
        return rows
    if hasattr(X, "columns") or issparse(X):
        return None
    n_axes = len(X.shape) if hasattr(X, "shape") else as_array(X).ndim
    return X if is_asked_for or n_axes > 2 else None


def read_source_images(X, *, start=None, image_size=None, image_shape=None, n_jobs=None):
    """Return images as one array in memory, and the `NetworkInput` of a network for them.

    Parameters
    ----------
    X : array-like or list of images
        See `FeatureTransferTransformer.fit`.
    start : Backbone, default=None
        The network that will be trained on; it says what it takes.
    image_size : int or (height, width), default=None
        What images are resized to. None: what ``start`` takes, else arrays stay as they are and
        files are brought to 64 by 64 pixels.
    image_shape : tuple of int, default=None
        How the columns of a 2-D X form an image.
    n_jobs : int, default=None
        Threads that read files.

    Returns
    -------
    images : ndarray of shape (n, height, width) or (n, ...) with channels
        uint8 if all images are of bytes.
    network_input : NetworkInput
    """
    rows = as_image_rows(X, n_jobs=n_jobs)
    if rows is not None:
        size = _SIZE_OF_FILES if image_size is None and start is None else image_size
        network_input = _find_input(start, size, channels=3)
        if network_input.find_size() is None:
            raise ValueError(
                f"Got X_source as images of any size, but {start!r} takes them as they are; "
                "expected a backbone that makes all images alike: Backbone(module, "
                "input=NetworkInput(channels=3, resize=224, crop=224))."
            )
        return rows.decode(network_input), network_input
    images = np.asarray(X)
    if images.ndim == 2 and image_shape is not None:
        images = images.reshape(len(images), *check_image_shape(image_shape, images.shape[1]))
    if images.ndim not in (3, 4) or images.dtype.kind not in "fiub":
        raise ValueError(
            f"Got X_source of shape {images.shape} and dtype {images.dtype}, but expected images: "
            "(n, height, width), or 4-D with channels; or a 2-D array with image_shape=(height, "
            "width)."
        )
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise ValueError(
                "Got X_source of images with NaN or infinity, but expected finite values; remove "
                "those images."
            )
    network_input = _find_input(start, image_size, channels=NetworkInput().lay_out(images).shape[1])
    network_input.check(images.shape)
    return images, network_input


def _find_input(start, image_size, channels):
    if start is None:
        return NetworkInput(channels=channels, resize=image_size, crop=image_size)
    start.check_takes_images()
    if image_size is None:
        return start.input
    return dataclasses.replace(start.input, resize=image_size, crop=image_size)
