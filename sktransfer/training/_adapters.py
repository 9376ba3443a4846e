"""Low-rank adapters: fine-tuning that moves few weights, and leaves a network as it was."""

import dataclasses
import re
from collections import Counter
from fnmatch import fnmatchcase

from torch import nn

from sktransfer.utils._optional import import_optional
from sktransfer.utils._validation import check_count, check_number, list_options, suggest

_ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclasses.dataclass(frozen=True)
class LowRankAdapters:
    r"""Fine-tune low-rank updates of a backbone's layers in place of their weights.

    An adapted layer with weights :math:`W` computes with

    .. math:: W + \frac{\alpha}{r} B A

    where only :math:`A` and :math:`B`, of rank :math:`r`, are trained [1]_. For a convolution,
    :math:`A` is a convolution into :math:`r` channels and :math:`B` one of size 1. At first
    :math:`B = 0`, so that training starts from the network as it is; afterwards the updates are
    added to the weights, and the layers are ordinary ones again. Biases and all other layers
    stay as they are. Needs the package peft: ``pip install "sktransfer[peft]"``.

    Parameters
    ----------
    rank : int, default=8
        Rank of the updates.

    alpha : float, default=8.0
        Size of the updates, divided by the rank.

    dropout : float in [0, 1], default=0.0
        Share of a layer's inputs that its adapter does not see at a step of training.

    layers : str or tuple of str, default="all"
        Names of the layers to adapt, or patterns such as ``"layer4.*"``, in which ``*`` stands
        for any characters. ``"all"`` stands for all that can be adapted: fully connected layers
        and convolutions in one or two dimensions, but for subclasses of these, convolutions
        with groups, dilation or a padding other than zeros, and layers that share their weights
        or compute them.

    References
    ----------
    .. [1] Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: low-rank adaptation of
       large language models", International Conference on Learning Representations, 2022.

    Examples
    --------
    >>> from sktransfer.training import LowRankAdapters
    >>> LowRankAdapters(rank=4, layers="layer4.*")
    LowRankAdapters(rank=4, alpha=8.0, dropout=0.0, layers='layer4.*')
    """

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    layers: str | tuple = "all"

    def __post_init__(self):
        check_count("rank", self.rank)
        check_number("alpha", self.alpha, low=0, low_open=True)
        check_number("dropout", self.dropout, low=0, high=1)
        _check_layers(self.layers)

    def add_to(self, module):
        """Freeze a network in place, and add adapters, which are all that trains in it.

        Their random weights come from torch's global generator.

        Parameters
        ----------
        module : nn.Module

        Returns
        -------
        module : nn.Module
            The network that was given; an adapter around it if it is one layer.
        """
        # Takes seconds, since it imports transformers.
        peft = import_optional(
            "peft", "peft", f"Got adapters={self!r}, which needs the package peft"
        )
        _check_has_no_adapters(module, peft.tuners.tuners_utils.BaseTunerLayer)
        targets = _select_layers(module, self.layers)
        config = peft.LoraConfig(
            r=int(self.rank),
            lora_alpha=float(self.alpha),
            lora_dropout=float(self.dropout),
            target_modules=_match_exactly(targets),
        )
        # Older versions of peft leave all weights trainable that have "lora_" in their names.
        holder = _hold(module).requires_grad_(False)
        peft.inject_adapter_in_model(config, holder)
        for _, _, adapter in _find_adapters(holder):
            adapter.train(adapter.get_base_layer().training)
            adapter.register_forward_hook(_do_nothing)
        return holder["module"]

    def merge(self, module):
        """Add the adapters' updates to the weights, and put the layers back, in place.

        All parameters require gradients afterwards, as in a new network.

        Parameters
        ----------
        module : nn.Module
            As `add_to` gave it.

        Returns
        -------
        module : nn.Module
            The network that was given; the layer in it if it is an adapter.
        """
        holder = _hold(module)
        for parent, name, adapter in _find_adapters(holder):
            adapter.merge()
            setattr(parent, name, adapter.get_base_layer())
        return holder["module"].requires_grad_(True)


def _check_layers(layers):
    names = _as_patterns(layers)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"Got layers={layers!r}, but expected 'all', the name of a layer, or a tuple of names."
        )
    if not names:
        raise ValueError(f"Got layers={layers!r}, but expected at least one name.")


def _as_patterns(layers):
    if layers == "all":
        return ("*",)
    return (layers,) if isinstance(layers, str) else layers


def _check_has_no_adapters(module, adapter_class):
    for name, layer in module.named_modules():
        if isinstance(layer, adapter_class):
            raise ValueError(
                f"Got a network with adapters, such as {name!r}, but expected one without; merge "
                "them first, for instance with merge_and_unload() of peft."
            )


def _select_layers(module, layers):
    """Return the names of the layers to adapt.

    A pattern takes what can be adapted among the layers that match; a name insists.
    """
    obstacles = _find_obstacles(module)
    options = [name for name, obstacle in obstacles.items() if obstacle is None]
    selected = set()
    for pattern in _as_patterns(layers):
        matches = [name for name in options if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(_explain_no_match(layers, pattern, obstacles, options))
        selected.update(matches)
    return [name for name in options if name in selected]


def _explain_no_match(layers, pattern, obstacles, options):
    for name, obstacle in obstacles.items():
        if obstacle and fnmatchcase(name, pattern):
            return (
                f"Got layers={layers!r}, but {name!r} cannot be adapted: {obstacle}; expected "
                f"{_describe_options(options)}."
            )
    return (
        f"Got layers={layers!r}, but expected {_describe_options(options)}."
        f"{suggest(pattern, options)}"
    )


def _describe_options(options):
    expected = "fully connected layers or convolutions in one or two dimensions"
    return f"{expected}: {list_options(options)}" if options else f"a network with {expected}"


def _find_obstacles(module):
    """Return why an adapter of peft would be wrong, or None, for each layer of these classes."""
    n_uses = Counter(id(p) for _, p in module.named_parameters(remove_duplicate=False))
    return {
        name: _find_obstacle(layer, n_uses)
        for name, layer in module.named_modules()
        if isinstance(layer, _ADAPTABLE)
    }


def _find_obstacle(layer, n_uses):
    # A subclass may compute otherwise, as convolutions do that pad their inputs themselves, or
    # not compute at all, like the projection in nn.MultiheadAttention.
    if type(layer) not in _ADAPTABLE:
        return f"its class is {type(layer).__name__}, a subclass"
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    if weight is None:
        return "its weights are computed, so that none can be added to"
    if n_uses[id(weight)] > 1:
        return "its weights are used in several places"
    # What follows is left out by the convolutions of peft's adapters, or when they are merged.
    for name, plain in (("groups", 1), ("padding_mode", "zeros")):
        if getattr(layer, name, plain) != plain:
            return f"it has {name}={getattr(layer, name)!r}"
    if any(step != 1 for step in getattr(layer, "dilation", ())):
        return f"it has dilation={layer.dilation!r}"
    return None


def _match_exactly(names):
    """Return a regular expression; in a list of names, peft takes each as an ending too."""
    return "|".join(re.escape(f"module.{name}" if name else "module") for name in names)


def _hold(module):
    """Return a network around this one: so it may be one layer, and keeps no attributes of peft."""
    return nn.ModuleDict({"module": module})


def _find_adapters(holder):
    """Return the parent, the name there and the adapter, for each adapter."""
    from peft.tuners.lora import LoraLayer

    return [
        (parent, name, child)
        for parent in holder.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLayer)
    ]


def _do_nothing(layer, args, output):
    """A hook keeps nn.TransformerEncoderLayer from reading the weights past the adapter.

    It does so in eval mode, where no layer in it has hooks.
    """
