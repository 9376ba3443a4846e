"""Training of the last layers alone: what lies before them runs once per row."""

import math
import warnings

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sktransfer.backbones._activations import compute_activations, wants_cache
from sktransfer.backbones._split import Tail, find_split
from sktransfer.training._batches import PreparedRows
from sktransfer.training._net import TransferNetwork
from sktransfer.utils._torch import to_tensor

WHOLE_BACKBONE = "the whole backbone"
# Activations of the prefix beyond this many bytes are not kept.
_MAX_BYTES = 2 * 2**30
_N_TRIED = 4


def split_off_prefix(network, prepared, rows, settings):
    """Return what to train instead of a network and its rows: its tail, on cached activations.

    Where the prefix cannot be split off, they are returned as they are. With ``cache=True`` a
    warning then says why; with ``"auto"`` the reason is only kept.

    Parameters
    ----------
    network : TransferNetwork
        With ``requires_grad`` set; the tail shares its weights.
    prepared : PreparedRows
        What the whole network is trained on.
    rows : LabelledRows
    settings : Settings

    Returns
    -------
    network : TransferNetwork
    prepared : PreparedRows
    prefix : str
        Name of the layer behind which the network is cut, or why it is not.
    """
    if settings.cache is False:
        return network, prepared, "not cached: cache=False"
    if _trains_backbone(network) and all(
        parameter.requires_grad for parameter in network.backbone.parameters()
    ):
        return network, prepared, "not cached: every layer is trained"
    if settings.augment is None and not _trains_backbone(network):
        prepared = PreparedRows(rows.features, rows.targets, rows.sample_weight, np.asarray)
        return TransferNetwork(nn.Identity(), network.head), prepared, WHOLE_BACKBONE
    split, reason = _find(network, rows, settings)
    if split is None:
        if settings.cache is True and settings.trainable != "all":
            warnings.warn(
                f"Got cache=True, but the frozen layers run in every step: {reason}.",
                UserWarning,
                stacklevel=2,
            )
        return network, prepared, f"not cached: {reason}"
    (activations,) = compute_activations(
        settings.backbone,
        rows.X,
        layers=(split.layer,),
        pooling="flatten",
        image_shape=settings.image_shape,
        device=settings.options.device,
        cache=settings.cache,
    )
    tail = TransferNetwork(
        Tail(network.backbone, split),
        network.head,
        freeze_norm=network.freeze_norm,
        autocast=network.autocast,
    )
    prepared = PreparedRows(activations, rows.targets, rows.sample_weight, np.asarray)
    return tail, prepared, split.layer


def _trains_backbone(network):
    return any(parameter.requires_grad for parameter in network.backbone.parameters())


def _find(network, rows, settings):
    """Return where to cut, or why not to."""
    if settings.augment is not None:
        return None, "augment changes the rows in every step"
    if settings.adapters is not None:
        return None, "adapters are added to layers throughout"
    if settings.warm_start is not None:
        return None, "a warm start goes on with layers that may have moved"
    if any(penalty.looks_at_layers for penalty in settings.options.penalties):
        return None, "a penalty looks at all layers"
    if not settings.freeze_norm and any(
        isinstance(m, _NormBase) and not m.affine for m in network.backbone.modules()
    ):
        return None, "freeze_norm=False, and a normalisation layer has no weights to freeze"
    if not wants_cache(settings.cache, settings.backbone, rows.X, settings.image_shape, "flatten"):
        return None, "the network is so small that looking rows up costs more than running it"
    if len(rows) < 2:
        return None, "there is one row"
    split, reason = find_split(
        network.backbone, to_tensor(settings.prepare(rows.X[:_N_TRIED])).to("cpu")
    )
    if split is not None and 4 * math.prod(split.shape) * len(rows) > _MAX_BYTES:
        return None, f"activations behind {split.layer!r} would take more than 2 GiB"
    return split, reason
