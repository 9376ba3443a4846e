"""Networks that went through torch.compile; a backbone keeps them per process.

Hooks that come for one pass and end it early would break a graph into pieces. So a copy of the
network, which shares all weights, carries hooks that stay, and what lies behind the last of them is
for the compiler to leave out.
"""

import collections
import inspect
import types
import warnings

import torch

from sktransfer.backbones._taps import Tapped
from sktransfer.backbones.cache._fingerprint import describe_value
from sktransfer.backbones.cache._trial import are_close
from sktransfer.backbones.speed._folding import fold

# Networks kept, one for each set of layers, poolings and shapes of a batch.
_N_KEPT = 4


def check_compile(compile):
    """Return the options of torch.compile, None for no compilation.

    Parameters
    ----------
    compile : bool or dict
    """
    if compile is False or compile is None:
        return None
    if compile is True:
        return {}
    names = [name for name in inspect.signature(torch.compile).parameters if name != "model"]
    if not isinstance(compile, dict):
        raise TypeError(
            f"Got compile={compile!r}, but expected False, True, or a dict of options of "
            "torch.compile."
        )
    unknown = [name for name in compile if name not in names]
    if unknown:
        raise ValueError(
            f"Got compile={compile!r}, but torch.compile has no option {unknown[0]!r}; expected "
            f"some of {', '.join(map(repr, names))}."
        )
    return compile


class CompiledNetworks:
    """The compiled copies of one network, each made when a batch of its shape first comes."""

    def __init__(self):
        self._ready = collections.OrderedDict()

    def find(self, network, forward, inputs):
        """Return what to send a batch through: a `CompiledNetwork`, or the network as it is.

        A compiled network is used if this batch comes out of it as it does without. Else one
        warning says why, and the network goes on as it is.

        Parameters
        ----------
        network : nn.Module
            In eval mode.
        forward : object
            With ``run(network, inputs)``, ``layers``, ``taps``, ``precision`` and
            ``compile_options``.
        inputs : ndarray
            A full batch, prepared.
        """
        key = _make_key(forward, inputs)
        held = self._ready.get(key)
        if held is None or held[0] is not network:
            compiled = self._compile(network, forward, inputs)
            # With the poolings, whose ids are in the key.
            held = network, compiled, [tap.pooling for tap in forward.taps]
            self._ready[key] = held
        self._ready.move_to_end(key)
        while len(self._ready) > _N_KEPT:
            self._ready.popitem(last=False)
        return held[1]

    def _compile(self, network, forward, inputs):
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules()):
            return _go_on(network, forward, "it carries forward hooks, which would be compiled in")
        expected = forward.run(network, inputs)
        compiled = CompiledNetwork(fold(network, ()), forward.taps, network, forward)
        try:
            blocks = forward.run(compiled, inputs)
        except Exception as error:
            # Failures of compilers have no common class; without one this batch came through.
            return _go_on(network, forward, _find_reason(error.__cause__ or error))
        if not are_close(blocks, expected, forward.precision):
            return _go_on(network, forward, "the compiled network gives other activations")
        return compiled


class CompiledNetwork:
    """A compiled copy of a network that gives the pooled activations at its taps.

    Parameters
    ----------
    copied : nn.Module
        Carries hooks from now on.
    taps : list of Tap
        That have seen a batch.
    network : nn.Module
        The original, in which taps may have found a layer.
    forward : object
        With ``compile_options``.
    """

    def __init__(self, copied, taps, network, forward):
        tapped = Tapped(copied, [tap.find_place(network) for tap in taps])
        self.send = torch.compile(_with_code_of_its_own(tapped), **forward.compile_options)


def _with_code_of_its_own(tapped):
    """Return a function that calls ``tapped``; torch limits what is compiled of one piece of code.

    That of a method, or of a function that is made here, would be one for all networks.
    """

    def send(inputs):
        return tapped(inputs)

    return types.FunctionType(
        send.__code__.replace(), send.__globals__, "send", None, send.__closure__
    )


def _make_key(forward, inputs):
    # What a function or an object computes may change while it stays the same object.
    poolings = tuple(
        (id(tap.pooling), describe_value(tap.pooling)) if callable(tap.pooling) else tap.pooling
        for tap in forward.taps
    )
    device, precision, layers = str(forward.device), forward.precision, forward.layers
    options = repr(sorted(forward.compile_options.items()))
    return device, precision, layers, poolings, inputs.shape, options


def _find_reason(error):
    """Return the beginning of what a compiler says, which may be pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]).partition(" Set TORCH")[0].rstrip(".:") or type(error).__name__


def _go_on(network, forward, why):
    warnings.warn(
        f"Got compile={forward.compile_options or True!r}, but {forward.backbone!r} goes on "
        f"without torch.compile: {why}. Expected compile=False, or other options of "
        "torch.compile; its default backend needs a C++ compiler.",
        UserWarning,
        stacklevel=2,
    )
    return network
