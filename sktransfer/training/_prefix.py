"""Training of the last layers alone: what lies before them runs once per row."""

import dataclasses
import math
import warnings

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sktransfer.backbones._activations import compute_activations, wants_cache
from sktransfer.backbones._split import Tail, find_split
from sktransfer.training._assembly import assemble_backbone
from sktransfer.training._batches import PreparedRows
from sktransfer.training._net import TransferNetwork
from sktransfer.utils._torch import to_tensor

WHOLE_BACKBONE = "the whole backbone"
# Activations of the prefix beyond this many bytes are not kept.
_MAX_BYTES = 2 * 2**30
_N_TRIED = 4


@dataclasses.dataclass(frozen=True)
class Prefix:
    """Where a backbone is cut before its first layer that moves.

    Parameters
    ----------
    split : Split or None
    reason : str
        The layer of the cut, or why there is none.
    """

    split: object
    reason: str


def find_prefix(settings, X):
    """Look for the layers that need to run only once per row.

    With ``cache=True`` a warning says why there are none; with ``"auto"`` the reason is only kept.

    Parameters
    ----------
    settings : Settings
    X : ndarray
        The rows that will be trained on.

    Returns
    -------
    prefix : Prefix
    """
    if settings.cache is False:
        return Prefix(None, "not cached: cache=False")
    extractor, _ = assemble_backbone(settings, X)
    moves = [parameter.requires_grad for parameter in extractor.parameters()]
    if not any(moves):
        return Prefix(None, WHOLE_BACKBONE)
    if all(moves):
        return Prefix(None, "not cached: every layer is trained")
    split, reason = _find_split(extractor, settings, X)
    if split is None and settings.cache is True and settings.trainable != "all":
        warnings.warn(
            f"Got cache=True, but the frozen layers run in every step: {reason}.",
            UserWarning,
            stacklevel=2,
        )
    return Prefix(split, split.layer if split else f"not cached: {reason}")


def split_off_prefix(network, prepared, rows, settings):
    """Return what to train instead of a network and its rows: its tail, on cached activations.

    Where there is no prefix, they are returned as they are.

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
    """
    prefix = settings.prefix
    if settings.augment is None and prefix is not None and prefix.reason == WHOLE_BACKBONE:
        prepared = PreparedRows(rows.features, rows.targets, rows.sample_weight, np.asarray)
        return TransferNetwork(nn.Identity(), network.head), prepared
    if prefix is None or prefix.split is None:
        return network, prepared
    (activations,) = compute_activations(
        settings.backbone,
        rows.X,
        layers=(prefix.split.layer,),
        pooling="flatten",
        image_shape=settings.image_shape,
        device=settings.options.device,
        cache=settings.cache,
        cache_dir=settings.cache_dir,
    )
    tail = TransferNetwork(
        Tail(network.backbone, prefix.split),
        network.head,
        freeze_norm=network.freeze_norm,
        autocast=network.autocast,
    )
    return tail, PreparedRows(activations, rows.targets, rows.sample_weight, np.asarray)


def _find_split(extractor, settings, X):
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
        isinstance(m, _NormBase) and not m.affine for m in extractor.modules()
    ):
        return None, "freeze_norm=False, and a normalisation layer has no weights to freeze"
    if len(X) < 2:
        return None, "there is one row"
    split, reason = find_split(extractor, to_tensor(settings.prepare(X[:_N_TRIED])))
    if split is None:
        return None, reason
    layers = (split.layer,)
    if not wants_cache(
        settings.cache, settings.backbone, X, settings.image_shape, "flatten", layers
    ):
        return None, "the network is so small that looking rows up costs more than running it"
    if 4 * math.prod(split.shape) * len(X) > _MAX_BYTES:
        return None, f"activations behind {split.layer!r} would take more than 2 GiB"
    return split, reason
