"""From what a user writes for layers to the names of layers."""

import fnmatch

import torch
from torch import nn

from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._blocks import list_block_outputs
from sktransfer.backbones._taps import LayerTap, PenultimateTap, reach_taps
from sktransfer.utils._torch import evaluating, to_tensor
from sktransfer.utils._validation import list_options, suggest

# So that folds and candidates have the same layers, and no row is sent for them again.
_ALL_LAYERS = {}
_WILDCARDS = frozenset("*?[")


def resolve_layers(layers, backbone, X, image_shape=None):
    """Return the names of layers that stand for these.

    Parameters
    ----------
    layers : str or sequence of str
        Names, patterns such as ``"stage*"``, or ``"all"``. As in paths, a ``*`` stays within one
        level: ``"layer1.*"`` are the children of layer1.
    backbone : Backbone
    X : ndarray
        At least one row that the network takes; "all" sends two of them through it.
    image_shape : tuple of int or None

    Returns
    -------
    names : tuple of str
        Each once.

    Raises
    ------
    ValueError
        If a pattern matches no layer.
    """
    layers = (layers,) if isinstance(layers, str) else layers
    names = {}
    for layer in layers:
        if layer == "all":
            key = backbone.fingerprint, X.shape[1:], image_shape and tuple(image_shape)
            if key not in _ALL_LAYERS:
                _ALL_LAYERS[key] = _find_all(backbone, X, image_shape)
            found = _ALL_LAYERS[key]
        elif _WILDCARDS & set(layer):
            found = _match(layer, backbone)
        else:
            found = (layer,)
        names.update(dict.fromkeys(found))
    return tuple(names)


def _match(pattern, backbone):
    name, _, side = pattern.partition(":")
    levels = name.split(".")
    found = [
        f"{layer}:{side}" if side else layer
        for layer in backbone.layer_names
        if len(layer.split(".")) == len(levels)
        and all(map(fnmatch.fnmatchcase, layer.split("."), levels))
    ]
    if not found:
        near = suggest(name.strip("*?"), backbone.layer_names)
        raise ValueError(
            f"Got layers={pattern!r}, a pattern that matches none of the backbone's layers: "
            f"{list_options(backbone.layer_names)}. A * stays within one level, between two "
            f"dots.{near}"
        )
    with backbone.borrowed() as network:
        # These only hold layers and are never called.
        holders = (nn.ModuleList, nn.ModuleDict)
        called = [n for n in found if not isinstance(_layer_of(network, n), holders)]
    return called or found


def _layer_of(network, name):
    return network.get_submodule(name.partition(":")[0])


def _find_all(backbone, X, image_shape):
    """Return the blocks that a pass reaches, but for a head, and "penultimate" where it differs."""
    # Whether the network takes such rows is said in plain words there.
    compute_activations(backbone, X[:1], image_shape=image_shape, cache=False)
    inputs = to_tensor(backbone.input.prepare(X[:2], image_shape))
    with backbone.borrowed() as network, evaluating(network), torch.inference_mode():
        end = PenultimateTap()
        reach_taps(network, inputs, [end])
        head = end.head
        names = list_block_outputs(network, leave_out=[] if head is None else [head])
        # A block may hold the head and a normalisation, say, before it: it gives logits, too.
        ends = {
            name for name in names if any(m is head for m in _layer_of(network, name).modules())
        }
        blocks = [LayerTap(name) for name in names if name not in ends]
        # With a tap that needs the whole pass, since blocks may be called in any order.
        reach_taps(network, inputs, [*blocks, end])
    reached = [tap for tap in blocks if tap.value is not None and len(tap.value) == len(inputs)]
    if not any(_are_equal(tap.value, end.value) for tap in reached):
        return *(tap.name for tap in reached), "penultimate"
    return tuple(tap.name for tap in reached)


def _are_equal(one, other):
    return one.shape == other.shape and torch.allclose(one, other)
