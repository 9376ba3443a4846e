"""Networks as plain data: what can be rebuilt from a description without running foreign code.

A closed list of classes, each with the constructor arguments that make it again, and networks that
a library of a closed list makes by name.
"""

import copy
import json

from torch import nn

from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.backbones._glyphs import GlyphNetwork
from sktransfer.backbones._recipe import get_recipe
from sktransfer.backbones._rescale import Rescale, UnitLength
from sktransfer.backbones._side_by_side import SideBySide
from sktransfer.backbones.cache._fingerprint import digest_network
from sktransfer.backbones.hubs._origins import ORIGINS
from sktransfer.backbones.tables._one_hot_rows import OneHotRows
from sktransfer.backbones.tables._tabular_network import TabularNetwork
from sktransfer.utils._torch import seeded

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride"),
    *("padding", "dilation", "groups", "padding_mode"),
)
_BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_POOL = (
    *("kernel_size", "stride", "padding", "ceil_mode"),
    *("count_include_pad", "divisor_override"),
)
# Class -> names of attributes that are the keyword arguments of its constructor.
_LAYERS = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.BatchNorm1d: _BATCH_NORM,
    nn.BatchNorm2d: _BATCH_NORM,
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.MaxPool2d: _MAX_POOL,
    nn.AvgPool2d: _AVERAGE_POOL,
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Dropout: ("p", "inplace"),
    nn.Dropout2d: ("p", "inplace"),
    nn.Identity: (),
    nn.ReLU: ("inplace",),
    nn.GELU: ("approximate",),
    nn.SiLU: ("inplace",),
    nn.Tanh: (),
    nn.Sigmoid: (),
    nn.LeakyReLU: ("negative_slope", "inplace"),
    nn.ELU: ("alpha", "inplace"),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
    GlyphNetwork: (),
    Rescale: ("n_features",),
    UnitLength: ("n_features",),
    FeatureExtractor: ("layer", "pooling"),
    OneHotRows: ("n_numeric", "cardinalities"),
    TabularNetwork: (
        *("n_numeric", "cardinalities", "hidden_layer_sizes"),
        *("dropout", "n_outputs"),
    ),
}
_CONTAINERS = {kind.__name__: kind for kind in (nn.Sequential, SideBySide)}
_WITH_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_BY_NAME = {kind.__name__: kind for kind in _LAYERS}


def describe(module):
    """Return a JSON-ready description of the network, or None if it cannot be made from one.

    That is where it has other classes, or is not the same when it is made again: a description
    may be silent on a rare argument.
    """
    description = _describe(module)
    if description is None:
        return None
    with seeded(0):
        rebuilt = build(json.loads(json.dumps(description))).eval()
    if _get_shapes(rebuilt) != _get_shapes(module):
        return None
    rebuilt.load_state_dict(module.state_dict())
    is_same = digest_network(rebuilt, None) == digest_network(copy.deepcopy(module).eval(), None)
    return description if is_same else None


def _get_shapes(module):
    return {name: value.shape for name, value in module.state_dict().items()}


def _describe(module):
    kind = type(module)
    if (recipe := get_recipe(module)) is not None:
        return {"class": recipe["prefix"], "arguments": recipe["arguments"]}
    if kind in _CONTAINERS.values():
        # A module that stands in several places is described, and made, once for each.
        children = {name: _describe(child) for name, child in module._modules.items()}
        if None in children.values():
            return None
        return {"class": kind.__name__, "children": children}
    if kind not in _LAYERS:
        return None
    arguments = {name: getattr(module, name) for name in _LAYERS[kind]}
    if kind in _WITH_BIAS:
        arguments["bias"] = module.bias is not None
    description = {"class": kind.__name__, "arguments": arguments}
    if kind is FeatureExtractor:
        description["network"] = _describe(module.network)
        if description["network"] is None or not isinstance(module.pooling, str):
            return None
    return description


def name_foreign_class(module):
    """Return the name of the first class that a description cannot hold, or of the network's."""
    known = {*_CONTAINERS.values(), *_LAYERS}
    foreign = [type(m) for m in module.modules() if type(m) not in known]
    return foreign[0].__qualname__ if foreign else type(module).__qualname__


def build(description):
    """Make the network of a description, with random weights."""
    name = description["class"]
    if name in _CONTAINERS:
        network = _CONTAINERS[name]()
        for child, inner in description["children"].items():
            network.add_module(child, build(inner))
        return network
    if name in ORIGINS:
        return ORIGINS[name].remake(**description["arguments"])
    if name not in _BY_NAME:
        raise ValueError(f"Got a layer of class {name!r}, but expected one of {sorted(_BY_NAME)}.")
    arguments = dict(description["arguments"])
    if "network" in description:
        arguments["network"] = build(description["network"])
    # JSON has lists where torch wants tuples.
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return _BY_NAME[name](**arguments)
