"""Convolutions that do the work of the BatchNorm behind them, in a copy of a network.

In eval mode BatchNorm is a scale and a shift of each channel, which weights and bias of the
convolution before it can take over: one pass over the maps less. Pairs are found by watching one
forward pass, not by tracing, so any network can be folded: a convolution whose output nothing but
one BatchNorm has read. Its copy keeps names, classes and code of all layers.
"""

import contextlib
import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

# Not subclasses, which may compute something else.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Operations that turn values into Python's, on which the code may then depend.
_LOOKS_AT_VALUES = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal.")


def may_fold(network):
    """Tell at a glance whether a network may hold something to fold.

    Hooks may want to see the layers as they are, so a network that carries some is left alone.
    """
    kinds = {type(layer) for layer in network.modules() if not _has_hooks(layer)}
    if any(_has_hooks(layer) for layer in network.modules()):
        return False
    return not kinds.isdisjoint(_CONVOLUTIONS) and not kinds.isdisjoint(_NORMS)


def _has_hooks(layer):
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


class PairRecorder:
    """Watches one forward pass for convolutions that a BatchNorm alone reads.

    Used as a context manager around the pass.

    Parameters
    ----------
    network : nn.Module
    """

    def __init__(self, network):
        self.network = network
        self._calls = {}
        self._readers = {}
        self._watched = {}
        self._aliases = {}
        self._uses = _Uses(self._watched)

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        for name, layer in self.network.named_modules():
            for handle in self._watch(name, layer):
                self._stack.callback(handle.remove)
        self._stack.enter_context(self._uses)
        return self

    def __exit__(self, *exception):
        self._stack.close()
        # The maps are let go of; what was counted stays.
        for watch in self._watched.values():
            watch.tensor = None

    def list_pairs(self, tapped=()):
        """Return (convolution, BatchNorm) by name, but for those where activations are taken.

        Parameters
        ----------
        tapped : sequence of str
            Names of layers, ``"<name>:input"`` for what a layer is given.
        """
        if self._uses.looks_at_values:
            return []
        tapped = {name.removesuffix(":output") for name in tapped}
        pairs = []
        for watch in self._watched.values():
            norm = self._readers.get(watch.name)
            reads_alone = len(watch.uses) == 1 and "batch_norm" in watch.uses[0]
            once = self._calls[watch.name] == 1 and self._calls.get(norm) == 1
            names = {watch.name, norm, *self._aliases.get(watch.name, ())}
            if norm is not None and reads_alone and once and not names & tapped:
                pairs.append((watch.name, norm))
        return pairs

    def _watch(self, name, layer):
        def before(layer, args, kwargs):
            for value in (*args, *kwargs.values()):
                watch = self._find(value)
                if watch is not None:
                    self._aliases.setdefault(watch.name, set()).add(f"{name}:input")
                    if _can_fold_norm(layer):
                        self._readers[watch.name] = name

        def after(layer, args, output):
            self._calls[name] = self._calls.get(name, 0) + 1
            watch = self._find(output)
            if watch is not None:
                self._aliases.setdefault(watch.name, set()).add(name)
            elif type(layer) in _CONVOLUTIONS and isinstance(output, torch.Tensor):
                self._watched[id(output)] = _Watch(name, output)

        yield layer.register_forward_pre_hook(before, with_kwargs=True)
        yield layer.register_forward_hook(after)

    def _find(self, value):
        return self._watched.get(id(value))


class _Watch:
    def __init__(self, name, tensor):
        # Held, so that no other tensor gets its id meanwhile.
        self.name, self.tensor, self.uses = name, tensor, []


class _Uses(TorchDispatchMode):
    """Notes which operations of this thread read the watched tensors."""

    def __init__(self, watched):
        super().__init__()
        self.watched = watched
        self.looks_at_values = False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(operation)
        self.looks_at_values |= any(part in name for part in _LOOKS_AT_VALUES)
        for value in _flatten([args, list(kwargs.values())]):
            if id(value) in self.watched:
                self.watched[id(value)].uses.append(name)
        return operation(*args, **kwargs)


def _flatten(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flatten(value)
        else:
            yield value


def _can_fold_norm(layer):
    return type(layer) in _NORMS and not layer.training and layer.running_mean is not None


def fold(network, pairs, share=True):
    """Return a copy of a network in which these pairs are folded.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    pairs : sequence of (str, str)
        Names of a convolution and of the BatchNorm that reads it.
    share : bool, default=True
        Whether the copy shares all other weights with the network.

    Returns
    -------
    folded : nn.Module
    """
    tensors = itertools.chain(network.parameters(), network.buffers()) if share else ()
    folded = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for conv_name, norm_name in pairs:
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        weight, bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        if weight.ndim == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bias, requires_grad=False)
        # Of the copy alone; the layer stays where code and hooks expect it.
        norm.forward = _pass_on
    return folded


def _pass_on(maps):
    return maps
