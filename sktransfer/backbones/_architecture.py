"""Networks as plain data: what can be rebuilt from a description without running foreign code.

A closed list of classes, each with the constructor arguments that make it again.
"""

from torch import nn

from sktransfer.backbones._activations import FeatureExtractor
from sktransfer.backbones._glyphs import GlyphNetwork
from sktransfer.backbones._rescale import Rescale

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride"),
    *("padding", "dilation", "groups"),
)
# Class -> names of attributes that are the keyword arguments of its constructor.
_LAYERS = {
    nn.Linear: ("in_features", "out_features"),
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.BatchNorm1d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Dropout: ("p",),
    nn.Dropout2d: ("p",),
    nn.Identity: (),
    nn.ReLU: (),
    nn.GELU: ("approximate",),
    nn.SiLU: (),
    nn.Tanh: (),
    nn.Sigmoid: (),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
    GlyphNetwork: (),
    Rescale: ("n_features",),
    FeatureExtractor: ("layer", "pooling"),
}
_WITH_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_BY_NAME = {kind.__name__: kind for kind in _LAYERS}


def describe(module):
    """Return a JSON-ready description of the network, or None if it has other classes."""
    kind = type(module)
    if kind is nn.Sequential:
        children = {name: describe(child) for name, child in module.named_children()}
        if None in children.values():
            return None
        return {"class": "Sequential", "children": children}
    if kind not in _LAYERS:
        return None
    arguments = {name: getattr(module, name) for name in _LAYERS[kind]}
    if kind in _WITH_BIAS:
        arguments["bias"] = module.bias is not None
    description = {"class": kind.__name__, "arguments": arguments}
    if kind is FeatureExtractor:
        description["network"] = describe(module.network)
        if description["network"] is None or not isinstance(module.pooling, str):
            return None
    return description


def build(description):
    """Make the network of a description, with random weights."""
    name = description["class"]
    if name == "Sequential":
        network = nn.Sequential()
        for child, inner in description["children"].items():
            network.add_module(child, build(inner))
        return network
    if name not in _BY_NAME:
        raise ValueError(f"Got a layer of class {name!r}, but expected one of {sorted(_BY_NAME)}.")
    arguments = dict(description["arguments"])
    if "network" in description:
        arguments["network"] = build(description["network"])
    # JSON has lists where torch wants tuples.
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return _BY_NAME[name](**arguments)
