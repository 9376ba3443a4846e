"""Where in a network activations are taken, and how they become one vector per row.

A tap puts forward hooks on a module for the length of one forward pass. Hooks work with any
network, traceable or not; they are always removed, so a module never carries them.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from sktransfer.utils._validation import list_options, suggest

_MAY_FOLLOW_A_HEAD = (nn.Identity, nn.Flatten, nn.Dropout, nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
# One that is a convolution, as in SqueezeNet, gives a map for each class, which are averaged then.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAY_FOLLOW_A_CONVOLUTION = (nn.ReLU, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_MAY_FOLLOW_A_CONVOLUTION += (nn.AdaptiveAvgPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


class StopForward(Exception):
    """Raised inside a forward pass once nothing that comes later is wanted."""


class Tap:
    """Base of the taps: `attach` hooks it to a module, `value` is what the pass left there.

    Parameters
    ----------
    pooling : str or callable, default="auto"
        Turns activations into one vector per row, see `pool`.
    """

    # Whether the value is known before the forward pass has ended.
    early = False

    def __init__(self, pooling="auto"):
        self.pooling = pooling
        self.value = None
        # Of the activations that were seen last.
        self.channels_last = False

    def attach(self, module, on_value):
        """Hook into ``module``; call ``on_value`` once the value is there. Return the handles."""
        raise NotImplementedError

    def finish(self, output):
        """Take what is only known once the pass has ended."""

    def find_place(self, module):
        """Return the `Place` where the last pass through ``module`` left the value."""
        raise NotImplementedError


class Place(NamedTuple):
    """Where in a network activations are taken, known beforehand.

    Attributes
    ----------
    name : str
        Of a layer; empty for the whole network.
    side : {"input", "output"}
    pooling : str or callable
    channels_last : bool
    """

    name: str
    side: str
    pooling: object
    channels_last: bool


class LayerTap(Tap):
    """The output (or input) of one named submodule, at its first call."""

    early = True

    def __init__(self, name, side="output", pooling="auto"):
        super().__init__(pooling)
        self.name, self.side = name, side

    def attach(self, module, on_value):
        self.value = None
        layer = module.get_submodule(self.name)

        def keep(activations):
            if self.value is None:
                # Pooled here, since maps of several layers would take much memory at once.
                activations = _first_tensor(activations, self.name)
                self.channels_last = is_channels_last(layer, activations.shape)
                pooled = pool(activations, self.pooling, self.channels_last)
                # A later layer may work in place on what it was given.
                self.value = pooled.clone() if _share_memory(pooled, activations) else pooled
                on_value()

        if self.side == "input":

            def keep_input(layer, args, kwargs):
                keep(args or kwargs)

            return [layer.register_forward_pre_hook(keep_input, with_kwargs=True)]
        return [layer.register_forward_hook(lambda _, args, output: keep(output))]

    def find_place(self, module):
        return Place(self.name, self.side, self.pooling, self.channels_last)


def _share_memory(one, other):
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class OutputTap(Tap):
    """The output of the whole network."""

    def attach(self, module, on_value):
        self.value, self._module = None, module
        return []

    def finish(self, output):
        output = _main_tensor(output)
        self.channels_last = is_channels_last(self._module, output.shape)
        self.value = pool(output, self.pooling, self.channels_last)
        self._module = None

    def find_place(self, module):
        return Place("", "output", self.pooling, self.channels_last)


class PenultimateTap(Tap):
    """The input of the last fully connected layer if the network ends in one, else its output.

    So a network with a classification head gives what its head sees, and a headless one all
    that it computes. A softmax or sigmoid may follow the head. A convolution of size 1 whose maps,
    rectified or not, are averaged to the output counts as fully connected, as it is at each place.
    """

    _side = "input"

    def attach(self, module, on_value):
        self.value = self.head = self._head_output = None
        self._module = module
        # A parametrized linear layer has children of its own.
        layers = [m for m in module.modules() if isinstance(m, nn.Linear) or not list(m.children())]
        return [layer.register_forward_hook(self._follow, with_kwargs=True) for layer in layers]

    def _follow(self, layer, args, kwargs, output):
        if isinstance(layer, nn.Linear) or _may_be_a_head(layer):
            self.value = args[0] if args else kwargs["input"]
            self.head, self._head_output = layer, output
        elif not isinstance(layer, _MAY_FOLLOW_A_HEAD):
            is_convolution = isinstance(self.head, _CONVOLUTIONS)
            if not (is_convolution and isinstance(layer, _MAY_FOLLOW_A_CONVOLUTION)):
                self.head = None

    def finish(self, output):
        output = _main_tensor(output)
        self._logits = None
        if self.head is not None:
            self._logits = _find_logits(self.head, output, self._head_output)
        if self._logits is None:
            self.value, self.head = output, None
        self.channels_last = is_channels_last(self._module, self.value.shape)
        self._head_output = self._module = None
        self.value = pool(self.value, self.pooling, self.channels_last)

    def find_place(self, module):
        if self.head is None:
            return Place("", "output", self.pooling, self.channels_last)
        (name,) = [name for name, layer in module.named_modules() if layer is self.head]
        return Place(name, self._side, self.pooling, self.channels_last)


class LogitsTap(PenultimateTap):
    """What the classification head of the network gives, before a softmax that may follow."""

    def finish(self, output):
        super().finish(output)
        if self.head is None:
            raise ValueError(
                "Got output='logits' or 'proba', but the network does not end in a fully connected "
                "layer that gives logits; expected output='features'."
            )
        self.value = self._logits

    def find_place(self, module):
        if isinstance(self.head, nn.Linear):
            return super().find_place(module)._replace(side="output")
        # Rectified maps are not what the convolution gives; a softmax shows in the values.
        return Place("", "output", self.pooling, False)


def _may_be_a_head(layer):
    """Tell whether a convolution works at each place by itself, and no BatchNorm has to follow."""
    if not isinstance(layer, _CONVOLUTIONS) or layer.bias is None or layer.groups > 1:
        return False
    return {*layer.kernel_size, *layer.stride} == {1} and not any(layer.padding)


def _find_logits(head, output, head_output):
    """Return the logits that a head gave, if the output of the network is made of them."""
    if isinstance(head, nn.Linear):
        is_end = head_output.ndim == 2 and _is_made_of_logits(output, head_output)
        return head_output if is_end else None
    if head_output[0, 0].numel() == 1:
        # At a single place it may as well be the last layer of a network without a head.
        return None
    output, places = output.flatten(1), tuple(range(2, head_output.ndim))
    for logits in (head_output.mean(places), head_output.relu().mean(places)):
        if logits.shape == output.shape and torch.allclose(output, logits, rtol=1e-4, atol=1e-5):
            return logits
        if _is_made_of_logits(output, logits):
            return logits
    return None


def _is_made_of_logits(output, logits):
    """Tell whether the network's output is these logits, or their softmax or sigmoid.

    Not by equal values alone, since in some batch a rectifier may have changed none of them.
    """
    if logits.shape != output.shape:
        return False
    if _share_memory(output, logits):
        return True
    output, logits = output.detach().float(), logits.detach().float()
    links = (logits.softmax(1), logits.log_softmax(1), logits.sigmoid())
    return any(torch.allclose(output, linked, atol=1e-5) for linked in links)


def make_tap(layer, layer_names, pooling="auto"):
    """Turn a name into a tap.

    ``"penultimate"``, ``"output"``, ``"logits"``, a layer name or ``"<name>:input"``.
    """
    if layer == "penultimate":
        return PenultimateTap(pooling)
    if layer == "output":
        return OutputTap(pooling)
    if layer == "logits":
        return LogitsTap()
    name, _, side = str(layer).partition(":")
    if name not in layer_names or side not in ("", "input", "output"):
        raise ValueError(
            f"Got layers={layer!r}, but expected 'penultimate', 'output', 'all' or one of the "
            f"backbone's layers: {list_options(layer_names)}.{suggest(name, layer_names)}"
        )
    return LayerTap(name, side or "output", pooling)


def run_taps(module, inputs, taps):
    """Send one batch through ``module`` and return the value of each tap, of shape (n, d).

    The pass ends as soon as all values are there.
    """
    reach_taps(module, inputs, taps)
    for tap in taps:
        if tap.value is None:
            raise ValueError(f"Got layers={tap.name!r}, but the network never calls this layer.")
        if len(tap.value) != len(inputs):
            # Only named layers can, since a network has a row of output for each of input.
            raise ValueError(
                f"Got layers={getattr(tap, 'name', 'output')!r}, whose activations have "
                f"{len(tap.value)} rows for {len(inputs)} rows of X; expected a layer whose first "
                "axis is that of the rows."
            )
    return [tap.value for tap in taps]


def reach_taps(module, inputs, taps):
    """Send one batch through ``module``; the value of a tap that is never reached stays None."""
    waiting = {tap for tap in taps if tap.early}
    stops_early = len(waiting) == len(taps)

    def reached(tap):
        waiting.discard(tap)
        if stops_early and not waiting:
            raise StopForward(taps)

    handles = []
    try:
        for tap in taps:
            handles += tap.attach(module, lambda tap=tap: reached(tap))
        output = module(inputs)
        for tap in taps:
            tap.finish(output)
    except StopForward as stop:
        # Of a pass around this one, when a network holds a network that takes activations.
        if stop.args[0] is not taps:
            raise
    finally:
        for handle in handles:
            handle.remove()


class Tapped(nn.Module):
    """A network that gives the pooled activations at some places, by hooks that stay on it.

    Parameters
    ----------
    network : nn.Module
    places : list of Place
    """

    def __init__(self, network, places):
        super().__init__()
        self.network = network
        self.n_places = len(places)
        self._seen = {}
        for number, place in enumerate(places):
            self._hook(number, place)

    def _hook(self, number, place):
        layer, seen = self.network.get_submodule(place.name), self._seen

        def keep(value):
            if number not in seen:
                value = _first_tensor(value, place.name) if place.name else _main_tensor(value)
                # A later layer may work in place on what it was given.
                seen[number] = pool(value, place.pooling, place.channels_last).clone()

        if place.side == "input":
            layer.register_forward_pre_hook(
                lambda _, args, kwargs: keep(args or kwargs), with_kwargs=True
            )
        else:
            layer.register_forward_hook(lambda _, args, output: keep(output))

    def forward(self, inputs):
        self._seen.clear()
        self.network(inputs)
        # Left empty, since what is compiled is compiled again where it meets another state.
        return tuple(self._seen.pop(number) for number in range(self.n_places))


# What transformers' networks give besides others that come first, such as a loss or all tokens.
_MAIN_OUTPUTS = ("logits", "pooler_output")


def _main_tensor(output):
    """Return the tensor that the output of a whole network is about."""
    if isinstance(output, dict):
        names = [name for name in _MAIN_OUTPUTS if isinstance(output.get(name), torch.Tensor)]
        output = output[names[0]] if names else output
    return _first_tensor(output, "output")


def _first_tensor(value, where):
    """Return the tensor that a layer gave, also from a tuple, a list or a mapping."""
    while not isinstance(value, torch.Tensor):
        if isinstance(value, dict) and value:
            value = next(iter(value.values()))
        elif isinstance(value, list | tuple) and value:
            value = value[0]
        else:
            raise TypeError(
                f"Got {type(value).__name__} from the layer {where!r}, but expected a tensor."
            )
    return value


def is_channels_last(module, shape):
    """Tell whether maps of this shape, which a module gives or takes, have their channels last.

    The shape alone cannot tell, but layers can: fully connected ones and LayerNorm work on the
    last axis, convolutions and BatchNorm on the first one behind the rows.
    """
    if len(shape) != 4:
        return False
    on_last, on_first = set(), set()
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            on_last |= {layer.in_features, layer.out_features}
        # Not subclasses, some of which work on the first axis.
        elif type(layer) is nn.LayerNorm:
            on_last.add(layer.normalized_shape[-1])
        elif isinstance(layer, _ConvNd):
            on_first |= {layer.in_channels, layer.out_channels}
        elif isinstance(layer, _NormBase):
            on_first.add(layer.num_features)
    return shape[-1] in on_last and shape[1] not in on_first


def _average(activations):
    return activations.mean(dim=_pooled_dims(activations))


def _maximum(activations):
    return activations.amax(dim=_pooled_dims(activations))


def _generalised_mean(activations):
    """Cubic mean, between average and maximum; what is below 1e-6 counts as 1e-6."""
    cubes = activations.clamp(min=1e-6) ** 3
    return cubes.mean(dim=_pooled_dims(activations)) ** (1 / 3)


def _pooled_dims(activations):
    """Token axis of (n, tokens, d); all spatial axes of (n, channels, height, width)."""
    return (1,) if activations.ndim == 3 else tuple(range(2, activations.ndim))


def _first_token(activations):
    if activations.ndim != 3:
        raise ValueError(
            f"Got pooling='cls', but the layer's activations have shape "
            f"{tuple(activations.shape)}; expected (rows, tokens, features)."
        )
    return activations[:, 0]


def _average_behind_the_first(activations):
    is_sequence = activations.ndim == 3 and activations.shape[1] > 1
    return _average(activations[:, 1:] if is_sequence else activations)


POOLINGS = {
    "auto": _average,
    "avg": _average,
    "max": _maximum,
    "gem": _generalised_mean,
    "cls": _first_token,
    "mean": _average_behind_the_first,
    "flatten": lambda activations: activations.flatten(1),
}


def pool(activations, pooling, channels_last=False):
    """Turn the activations of one batch into (n, d).

    Poolings, functions of the user's among them, get maps with channels first. Those that are
    flattened stay as they are, so that they can be put back into the network.
    """
    if activations.ndim == 2:
        return activations
    if activations.ndim == 1:
        return activations[:, None]
    if channels_last and pooling != "flatten":
        activations = activations.movedim(-1, 1)
    pooled = pooling(activations) if callable(pooling) else POOLINGS[pooling](activations)
    if pooled.ndim != 2 or len(pooled) != len(activations):
        raise ValueError(
            f"Got pooling={pooling!r}, which made an array of shape {tuple(pooled.shape)}, but "
            f"expected ({len(activations)}, n_features)."
        )
    return pooled
