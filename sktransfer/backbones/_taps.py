"""Where in a network activations are taken, and how they become one vector per row.

A tap puts forward hooks on a module for the length of one forward pass. Hooks work with any
network, traceable or not; they are always removed, so a module never carries them.
"""

import torch
from torch import nn

from sktransfer.utils._validation import list_options, suggest

# Modules that may follow the last fully connected layer without making it a hidden one.
_TRIVIAL = (nn.Identity, nn.Flatten, nn.Dropout, nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


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

    def attach(self, module, on_value):
        """Hook into ``module``; call ``on_value`` once the value is there. Return the handles."""
        raise NotImplementedError

    def finish(self, output):
        """Take what is only known once the pass has ended."""


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
                pooled = pool(activations, self.pooling)
                # A later layer may work in place on what it was given.
                is_view = pooled.data_ptr() == activations.data_ptr()
                self.value = pooled.clone() if is_view else pooled
                on_value()

        if self.side == "input":
            return [layer.register_forward_pre_hook(lambda _, args: keep(args))]
        return [layer.register_forward_hook(lambda _, args, output: keep(output))]


class OutputTap(Tap):
    """The output of the whole network."""

    def attach(self, module, on_value):
        self.value = None
        return []

    def finish(self, output):
        self.value = pool(_first_tensor(output, "output"), self.pooling)


class PenultimateTap(Tap):
    """The input of the last fully connected layer if the network ends in one, else its output.

    So a network with a classification head gives what its head sees, and a headless one all
    that it computes.
    """

    def attach(self, module, on_value):
        self.value = self._linear_output = self._last = None
        leaves = [m for m in module.modules() if not list(m.children())]
        return [leaf.register_forward_hook(self._follow) for leaf in leaves]

    def _follow(self, layer, args, output):
        if isinstance(layer, _TRIVIAL):
            return
        self._last = layer
        if isinstance(layer, nn.Linear):
            self.value, self._linear_output = args[0], output

    @property
    def head(self):
        """The last fully connected layer of the pass that was followed, or None."""
        return self._last if self._linear_output is not None else None

    def finish(self, output):
        output = _first_tensor(output, "output")
        ends_in_linear = (
            isinstance(self._last, nn.Linear)
            and self._linear_output.ndim == 2
            and self._linear_output.shape == output.shape
        )
        if not ends_in_linear:
            self.value, self._linear_output = output, None
        self.value = pool(self.value, self.pooling)


def make_tap(layer, layer_names, pooling="auto"):
    """Turn ``"penultimate"``, ``"output"``, a layer name or ``"<name>:input"`` into a tap."""
    if layer == "penultimate":
        return PenultimateTap(pooling)
    if layer == "output":
        return OutputTap(pooling)
    name, _, side = str(layer).partition(":")
    if name not in layer_names or side not in ("", "input", "output"):
        raise ValueError(
            f"Got layers={layer!r}, but expected 'penultimate', 'output' or one of the backbone's "
            f"layers: {list_options(layer_names)}.{suggest(name, layer_names)}"
        )
    return LayerTap(name, side or "output", pooling)


def run_taps(module, inputs, taps):
    """Send one batch through ``module`` and return the value of each tap, of shape (n, d).

    The pass ends as soon as all values are there.
    """
    waiting = {tap for tap in taps if tap.early}
    stops_early = len(waiting) == len(taps)

    def reached(tap):
        waiting.discard(tap)
        if stops_early and not waiting:
            raise StopForward

    handles = []
    try:
        for tap in taps:
            handles += tap.attach(module, lambda tap=tap: reached(tap))
        output = module(inputs)
        for tap in taps:
            tap.finish(output)
    except StopForward:
        pass
    finally:
        for handle in handles:
            handle.remove()
    for tap in taps:
        if tap.value is None:
            raise ValueError(f"Got layers={tap.name!r}, but the network never calls this layer.")
    return [tap.value for tap in taps]


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


def _average(activations):
    return activations.mean(dim=_pooled_dims(activations))


def _maximum(activations):
    return activations.amax(dim=_pooled_dims(activations))


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


POOLINGS = {
    "auto": _average,
    "avg": _average,
    "max": _maximum,
    "cls": _first_token,
    "flatten": lambda activations: activations.flatten(1),
}


def pool(activations, pooling):
    """Turn the activations of one batch into (n, d)."""
    if activations.ndim == 2:
        return activations
    if activations.ndim == 1:
        return activations[:, None]
    pooled = pooling(activations) if callable(pooling) else POOLINGS[pooling](activations)
    if pooled.ndim != 2 or len(pooled) != len(activations):
        raise ValueError(
            f"Got pooling={pooling!r}, which made an array of shape {tuple(pooled.shape)}, but "
            f"expected ({len(activations)}, n_features)."
        )
    return pooled
