"""Penalties that fine-tuning adds to its loss, to keep what the source has taught.

They differ in what is kept: weights (`L2SP`), feature maps (`DELTA`), or all but the weakest
directions of the features (`BSS`).
"""

import contextlib
import dataclasses
import math

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from sktransfer.backbones._blocks import list_blocks
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.utils._torch import copy_module
from sktransfer.utils._validation import (
    check_count,
    check_number,
    check_option,
    list_options,
    suggest,
)


class Penalty:
    """Base of the penalties: immutable descriptions, which know no network until training starts.

    One penalty may be attached to any number of networks, and a network may have several. Your own
    is a subclass with `attached`, a context manager.

    Examples
    --------
    >>> import contextlib
    >>> from sktransfer.training import Penalty
    >>> class SmallFeatures(Penalty):
    ...     @contextlib.contextmanager
    ...     def attached(self, network, rows):
    ...         kept = []
    ...         hook = network.backbone.register_forward_hook(
    ...             lambda layer, inputs, features: kept.append(features)
    ...         )
    ...         try:
    ...             yield lambda: 1e-3 * kept.pop().square().mean()
    ...         finally:
    ...             hook.remove()
    """

    # Whether it needs the whole backbone to run in each step, also the layers that are frozen.
    looks_at_layers = False

    def attached(self, network, rows):
        """Hook into a network for one training.

        Parameters
        ----------
        network : TransferNetwork
            At its starting weights, on the device on which it will be trained.
        rows : PreparedRows
            The training set: ``rows.__getitems__(row_numbers)`` gives ``(inputs, (targets,
            weights))`` on the CPU, with targets as float of shape (n, n_outputs) and one-hot for
            classes.

        Returns
        -------
        context : context manager
            Gives a function without arguments. Called after a forward pass in training, it
            returns the penalty of that pass, a scalar tensor with a graph to the weights that it
            depends on. At the end of the context, also after an exception, the network is free of
            hooks again.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class L2SP(Penalty):
    """Keep the weights of the backbone near their starting point.

    The penalty is ``strength / 2 * ||w - w0||² + head_strength / 2 * ||v||²``, with the parameters
    ``w`` of the backbone that can move when training starts, their starting values ``w0``, and the
    weights ``v`` of the head without its biases.

    Parameters
    ----------
    strength : float, default=1e-2
    head_strength : float, default=0.0

    References
    ----------
    Li, Grandvalet and Davoine (2018). Explicit inductive bias for transfer learning with
    convolutional networks. ICML. https://arxiv.org/abs/1802.01483

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sktransfer.training._net import TransferNetwork
    >>> from sktransfer.training import L2SP
    >>> network = TransferNetwork(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> with L2SP(strength=0.1).attached(network, rows=None) as compute_penalty:
    ...     at_start = compute_penalty().item()
    ...     with torch.no_grad():
    ...         _ = network.backbone.bias.add_(1.0)
    ...     moved = compute_penalty().item()
    >>> at_start, round(moved, 3)
    (0.0, 0.15)
    """

    strength: float = 1e-2
    _: dataclasses.KW_ONLY
    head_strength: float = 0.0

    def __post_init__(self):
        check_number("strength", self.strength, low=0)
        check_number("head_strength", self.head_strength, low=0)

    @contextlib.contextmanager
    def attached(self, network, rows):
        moving = [p for p in network.backbone.parameters() if p.requires_grad]
        starts = [p.detach().clone() for p in moving]

        def compute_penalty():
            distance = _zero(network)
            for parameter, start in zip(moving, starts, strict=True):
                distance = distance + (parameter - start).square().sum()
            return distance * (self.strength / 2) + _penalise_head(network, self.head_strength)

        yield compute_penalty


@dataclasses.dataclass(frozen=True)
class DELTA(Penalty):
    """Keep the feature maps of the backbone near those of the starting network.

    The penalty is ``strength / 2`` times the sum, over layers and their channels ``c``, of
    ``attention[c] * ||map[c] - map0[c]||²``, as a mean over rows and positions, where ``map0`` is
    what the starting network gives for the same batch. To it comes ``head_strength / 2 * ||v||²``
    with the weights ``v`` of the head without its biases. The starting network is in eval mode: if
    the other one trains with dropout, or on the batch's own BatchNorm statistics, then its maps
    differ from the beginning.

    Parameters
    ----------
    strength : float, default=1.0
    layers : str, sequence of str or None, default=None
        Names of layers of the backbone that give tensors. None: the last block of each quarter of
        those that run, in the order in which they run.
    attention : bool, default=True
        Weigh channels by their importance to the starting network, see Notes. False: all alike.
    head_strength : float, default=0.0

    Notes
    -----
    A channel is important if the loss rises when the channel is taken away. One forward pass per
    channel would tell by how much; we take the first-order estimate, ``|Σ activation * gradient|``
    over the positions of a row [2]_, as a mean over at most 256 rows of the training set. The loss
    is cross-entropy if there are several outputs and the targets of each row sum to one, else
    squared error. As in the code of the authors of [1]_, attention is the softmax of a fifth of the
    standardised importance, times the number of channels: its mean is one.

    References
    ----------
    .. [1] Li, Xiong, Wang, Rao, Liu and Huan (2019). DELTA: deep learning transfer using feature
       map with attention for convolutional networks. ICLR. https://arxiv.org/abs/1901.09229
    .. [2] Molchanov, Tyree, Karras, Aila and Kautz (2017). Pruning convolutional neural networks
       for resource efficient inference. ICLR. https://arxiv.org/abs/1611.06440

    Examples
    --------
    >>> from sktransfer.training import DELTA
    >>> DELTA(0.1, layers=["layer3", "layer4"])
    DELTA(strength=0.1, layers=('layer3', 'layer4'), attention=True, head_strength=0.0)
    """

    strength: float = 1.0
    _: dataclasses.KW_ONLY
    layers: tuple | None = None
    attention: bool = True
    head_strength: float = 0.0

    looks_at_layers = True

    def __post_init__(self):
        check_number("strength", self.strength, low=0)
        check_option("attention", self.attention, (True, False))
        check_number("head_strength", self.head_strength, low=0)
        if self.layers is not None:
            object.__setattr__(self, "layers", _check_layers(self.layers))

    @contextlib.contextmanager
    def attached(self, network, rows):
        start = copy_module(network).eval().requires_grad_(False)
        layers = _take_layers(network.backbone, self._choose_layers(start, rows))
        start_layers = _take_layers(start.backbone, layers)
        attention = dict.fromkeys(layers, 1.0)
        if self.attention:
            attention = compute_attention(start, start_layers, rows)

        with (
            _recorded(network.backbone, layers) as now,
            _recorded(start.backbone, start_layers) as before,
        ):

            def compute_penalty():
                with torch.no_grad():
                    start.backbone(now.inputs)
                distance = _zero(network)
                # Not over all layers: a network may leave some out by chance while it trains.
                for name, maps in now.outputs.items():
                    change = _sort_by_channel(maps - before.outputs[name], layers[name])
                    distance = distance + (change.square() * attention[name]).sum(-1).mean()
                return distance * (self.strength / 2) + _penalise_head(network, self.head_strength)

            yield compute_penalty

    def _choose_layers(self, start, rows):
        """Return the names of the layers, of which it is certain that they run."""
        candidates = _name_layers(start.backbone)
        if self.layers is None:
            blocks = {block.name for block in list_blocks(candidates[""])}
            candidates = {n: layer for n, layer in candidates.items() if n in blocks}
        else:
            for name in self.layers:
                if name not in candidates:
                    raise ValueError(
                        f"Got layers={self.layers!r}, but expected layers of the backbone: "
                        f"{list_options(n for n in candidates if n)}.{suggest(name, candidates)}"
                    )
            candidates = {name: candidates[name] for name in self.layers}
        running = _find_running(start, candidates, rows)
        if self.layers is None:
            return _take_last_of_quarters(running)
        for name in self.layers:
            if name not in running:
                raise ValueError(
                    f"Got layers={self.layers!r}, but the backbone computes its features without "
                    f"calling {name!r} to its end; expected layers below its features."
                )
        return self.layers


@dataclasses.dataclass(frozen=True)
class BSS(Penalty):
    """Batch spectral shrinkage: suppress the weakest directions of the features.

    The penalty is ``strength`` times the sum of the ``k`` smallest squared singular values of the
    batch's features, a matrix of shape (n, d) with min(n, d) singular values; of all if there are
    fewer than ``k``. Weak directions transfer worst, so that keeping them harms: this penalty goes
    with one that keeps the rest, or alone.

    Parameters
    ----------
    strength : float, default=1e-3
    k : int, default=1

    References
    ----------
    Chen, Wang, Fu, Long and Wang (2019). Catastrophic forgetting meets negative transfer: batch
    spectral shrinkage for safe transfer learning. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sktransfer.training._net import TransferNetwork
    >>> from sktransfer.training import BSS
    >>> network = TransferNetwork(nn.Identity(), nn.Linear(2, 1))
    >>> with BSS(strength=0.1).attached(network, rows=None) as compute_penalty:
    ...     _ = network(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    ...     penalty = compute_penalty().item()
    >>> round(penalty, 3)
    0.9
    """

    strength: float = 1e-3
    _: dataclasses.KW_ONLY
    k: int = 1

    def __post_init__(self):
        check_number("strength", self.strength, low=0)
        check_count("k", self.k)

    @contextlib.contextmanager
    def attached(self, network, rows):
        with _recorded(network.backbone, {"features": network.backbone}) as now:

            def compute_penalty():
                squares = compute_squared_singular_values(now.outputs["features"])
                return squares[: self.k].sum() * self.strength

            yield compute_penalty


def compute_squared_singular_values(matrix):
    """Return the min(n, d) squared singular values of a matrix, in ascending order.

    They are the eigenvalues of the smaller Gram matrix, whose gradient is finite for repeated ones
    too, unlike that of singular vectors.
    """
    n, d = matrix.shape
    gram = matrix @ matrix.T if n <= d else matrix.T @ matrix
    if not torch.isfinite(gram).all():
        # The solver would raise something obscure; so the loss says that training diverged.
        return gram.diagonal() * math.nan
    # Rounding makes zeros negative.
    return torch.linalg.eigvalsh(gram).clamp(min=0)


def compute_attention(network, layers, rows):
    """Return the attention on each channel of each layer, of mean one, see `DELTA`.

    Parameters
    ----------
    network : TransferNetwork
        In eval mode.
    layers : dict of str to nn.Module
        Layers of its backbone.
    rows : PreparedRows

    Returns
    -------
    attention : dict of str to tensor of shape (n_channels,)
    """
    device = _zero(network).device
    n_used = min(len(rows), 256)
    # Spread over the rows, since these may be sorted by class.
    used = [i * len(rows) // n_used for i in range(n_used)]
    inputs, (targets, weights) = rows.__getitems__(used)
    compute_losses = _choose_losses(targets)
    importance = dict.fromkeys(layers, 0.0)
    with _recorded(network.backbone, layers) as now, torch.enable_grad():
        # In parts, since the maps of all rows with their graph may take too much memory.
        for part in zip(*(tensor.split(32) for tensor in (inputs, targets, weights)), strict=True):
            x, y, weight = (tensor.to(device) for tensor in part)
            # So there are gradients also where all weights are frozen. A clone, since a first
            # layer may work in place.
            outputs = network(x.detach().requires_grad_().clone())
            loss = (compute_losses(outputs, y) * weight).sum()
            gradients = torch.autograd.grad(
                loss, list(now.outputs.values()), materialize_grads=True
            )
            for (name, maps), gradient in zip(now.outputs.items(), gradients, strict=True):
                terms = _sort_by_channel(maps.detach() * gradient, layers[name])
                # Of each row: over all rows the terms of a head that is fitted to them cancel.
                importance[name] = importance[name] + terms.sum(1).abs().sum(0)
    return {name: _turn_into_attention(value) for name, value in importance.items()}


def _choose_losses(targets):
    """Return a function (outputs, targets) -> loss of each row that suits these targets."""
    sums = targets.sum(1)
    if targets.shape[1] > 1 and torch.allclose(sums, torch.ones_like(sums)):
        return lambda outputs, y: nn.functional.cross_entropy(outputs, y, reduction="none")
    return lambda outputs, y: (outputs - y).square().sum(1)


def _turn_into_attention(importance):
    spread = importance.std(correction=0)
    if not spread > 0:
        return torch.ones_like(importance)
    # Standardised, since differences in loss are so small that their softmax is nearly constant.
    standardised = (importance - importance.mean()) / spread
    return (standardised / 5).softmax(0) * len(importance)


def _sort_by_channel(maps, layer):
    """Bring feature maps to the shape (n, positions, channels).

    Channels come second in images and in what convolutions give; last in tokens, and in what
    fully connected layers give.
    """
    is_tokens = maps.ndim == 3 and not isinstance(layer, _ConvNd)
    if maps.ndim > 2 and not is_tokens and not isinstance(layer, nn.Linear):
        maps = maps.movedim(1, -1)
    return maps.reshape(len(maps), -1, maps.shape[-1] if maps.ndim > 1 else 1)


def _check_layers(layers):
    """Return names of layers as a tuple."""
    names = (layers,) if isinstance(layers, str) else layers
    names = tuple(names) if np.iterable(names) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"Got layers={layers!r}, but expected None, a name or several.")
    if not 0 < len(names) == len(set(names)):
        raise ValueError(f"Got layers={layers!r}, but expected at least one layer, and each once.")
    return names


def _name_layers(backbone):
    """Return the layers of a backbone under the names that its user knows them by."""
    network = backbone.network if isinstance(backbone, FeatureExtractor) else backbone
    return dict(network.named_modules())


def _take_layers(backbone, names):
    layers = _name_layers(backbone)
    return {name: layers[name] for name in names}


def _find_running(network, layers, rows):
    """Return the names of those layers that the backbone runs, in the order in which it does."""
    inputs, _ = rows.__getitems__([0])
    with _recorded(network.backbone, layers) as now, torch.no_grad():
        network.backbone(inputs.to(_zero(network).device))
    return list(now.outputs)


def _take_last_of_quarters(names):
    if not names:
        raise ValueError(
            "Got layers=None, but the backbone calls none of its blocks; expected names of its "
            "layers."
        )
    return [names[i] for i in sorted({math.ceil(len(names) * q / 4) - 1 for q in (1, 2, 3, 4)})]


def _penalise_head(network, strength):
    squares = _zero(network)
    if strength:
        for parameter in network.head.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                squares = squares + parameter.square().sum()
    return squares * (strength / 2)


def _zero(network):
    """Return a scalar of the network's type on the network's device."""
    return next(network.parameters()).new_zeros(())


class _Record:
    """What a module was given in its latest pass, and what layers in it gave at first call."""

    def __init__(self):
        self.inputs = None
        self.outputs = {}


@contextlib.contextmanager
def _recorded(module, layers):
    """Record the passes through a module, and the tensors that its named layers give."""
    record = _Record()
    names = {layer: name for name, layer in layers.items()}

    # A copy of a module has the same hooks, and is none of our business: another penalty may make
    # one. Hence the questions who calls.
    def start_pass(caller, args):
        if caller is module:
            record.inputs = args[0].detach().clone()
            record.outputs = {}

    def keep(caller, args, output):
        name = names.get(caller)
        if name is None or name in record.outputs:
            return None
        if not isinstance(output, torch.Tensor):
            raise TypeError(
                f"Got a {type(output).__name__} from the layer {name!r}, but expected a tensor; "
                "name a layer that gives one."
            )
        # Nobody else writes to this copy in place. What follows is computed from it, so that
        # gradients with respect to it can be had.
        record.outputs[name] = output.clone()
        return record.outputs[name].clone()

    handles = [module.register_forward_pre_hook(start_pass)]
    try:
        handles += [layer.register_forward_hook(keep) for layer in layers.values()]
        yield record
    finally:
        for handle in handles:
            handle.remove()
