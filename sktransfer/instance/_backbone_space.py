"""Rows of two domains, replaced by what a network makes of them."""

import numpy as np
from sklearn.utils import check_array

__all__ = ["to_activations"]


def to_activations(backbone, X_source, X_target):
    """Replace rows by the penultimate activations of a backbone, through the row cache.

    Parameters
    ----------
    backbone : Backbone, str, path, torch.nn.Module or fitted estimator
        Whatever `load_backbone` takes.

    X_source, X_target : array or DataFrame
        Rows of a table, images, or one column of paths of images.

    Returns
    -------
    X_source, X_target : float64 arrays of shape (n_rows, n_activations)
    """
    # Here, so that weights without a backbone never import torch.
    from sktransfer.backbones import load_backbone
    from sktransfer.backbones._activations import compute_activations
    from sktransfer.utils._torch import resolve_device

    loaded, device = load_backbone(backbone), resolve_device("auto")
    activations = []
    for name, X in (("X_source", X_source), ("X_target", X_target)):
        if loaded.input.takes_frames:
            rows = loaded.input.encode_rows(X)
        else:
            rows = _as_network_rows(name, X, backbone)
            _check_shape(name, rows, loaded)
        (block,) = compute_activations(loaded, rows, batch_size="auto", device=device)
        activations.append(block.astype(np.float64))
    return activations


def _as_network_rows(name, X, backbone):
    """Return rows as numbers of a kind that networks read, or as images to be read later."""
    from sktransfer.backbones.images._image_rows import as_image_rows

    images = as_image_rows(X)
    if images is not None:
        return images
    try:
        # uint8 stays, since only bytes are divided by 255.
        return check_array(X, dtype=[np.float64, np.float32, np.uint8], allow_nd=True)
    except ValueError as error:
        raise ValueError(
            f"Got {name} that the network of backbone={backbone!r} cannot read ({error}), but "
            "expected numbers without missing values, or images; encode and impute both domains "
            "first, or leave backbone=None."
        ) from error


def _check_shape(name, rows, backbone):
    if len(rows.shape) == 2 and backbone.input.channels:
        raise ValueError(
            f"Got {name} with {rows.shape[1]} columns, but {backbone!r} takes images; reshape "
            "both domains to (n, height, width) or (n, height, width, channels)."
        )
