"""What moves and how fast: which blocks of a backbone are trained, and their rates."""

import fnmatch
import numbers

from sktransfer.backbones._blocks import NORM_LAYERS
from sktransfer.utils._validation import check_count, list_options, suggest


def check_trainable(trainable):
    """Raise unless this is a value that `trainable` may have; names are checked later."""
    if isinstance(trainable, str) and trainable in ("all", "norm", "bias"):
        return
    if isinstance(trainable, numbers.Integral) and not isinstance(trainable, bool):
        check_count("trainable", trainable)
        return
    is_sequence = isinstance(trainable, list | tuple) and len(trainable) > 0
    if not is_sequence or not all(isinstance(pattern, str) for pattern in trainable):
        raise ValueError(
            f"Got trainable={trainable!r}, but expected 'all', 'norm', 'bias', a number of last "
            "blocks >= 1, or a sequence of patterns of layer names, such as ('layer4*', 'fc')."
            + (suggest(trainable, ("all", "norm", "bias")) if isinstance(trainable, str) else "")
        )


def set_trainable(module, trainable, blocks):
    """Set ``requires_grad`` of the parameters of a network; the old head stays frozen.

    Parameters
    ----------
    module : nn.Module
    trainable : {"all", "norm", "bias"}, int or sequence of str
        See `ParameterTransferClassifier`.
    blocks : list of Block
        Those of `list_blocks`.

    Raises
    ------
    ValueError
        If nothing is chosen: a pattern without a match, a network without such layers, or more
        blocks than there are.
    """
    in_blocks = {name for block in blocks for name in block.parameter_names}
    chosen = _choose(module, trainable, blocks) & in_blocks
    if in_blocks and not chosen:
        raise ValueError(
            f"Got trainable={trainable!r}, but the backbone has no such layers; its blocks are "
            f"{list_options([block.name for block in blocks])}."
        )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in chosen)


def _choose(module, trainable, blocks):
    if isinstance(trainable, numbers.Integral):
        if trainable > len(blocks):
            raise ValueError(
                f"Got trainable={trainable}, but the backbone has {len(blocks)} blocks: "
                f"{list_options([block.name for block in blocks])}."
            )
        return {name for block in blocks[-trainable:] for name in block.parameter_names}
    # Shared parameters may be chosen by each of their names, and go by the first.
    first_names = {parameter: name for name, parameter in module.named_parameters()}
    names = {
        name: first_names[parameter]
        for name, parameter in module.named_parameters(remove_duplicate=False)
    }
    if trainable == "all":
        return set(names.values())
    if trainable == "bias":
        return {first for name, first in names.items() if _is_bias(name.rpartition(".")[2])}
    modules = dict(module.named_modules(remove_duplicate=False))
    if trainable == "norm":
        norms = {name for name, part in modules.items() if isinstance(part, NORM_LAYERS)}
        return {first for name, first in names.items() if name.rpartition(".")[0] in norms}
    chosen = set()
    # Neither layers without weights nor the old head can be meant.
    in_blocks = {part for block in blocks for n in block.parameter_names for part in _parents(n)}
    layers = [name for name in modules if name in in_blocks]
    for pattern in trainable:
        found = {
            first
            for name, first in names.items()
            if any(fnmatch.fnmatchcase(part, pattern) for part in _parents(name))
        }
        if not found:
            raise ValueError(
                f"Got trainable={tuple(trainable)!r}, whose pattern {pattern!r} matches no layer "
                f"with weights; expected names such as {list_options(layers)}."
                f"{suggest(pattern, layers)}"
            )
        chosen |= found
    return chosen


def _is_bias(name):
    """Tell biases by their names, such as those of attention (in_proj_bias) and of LSTMs."""
    return name.startswith("bias") or name.endswith("_bias")


def _parents(parameter_name):
    """Return the name of a parameter and those of the layers that it belongs to."""
    parts = parameter_name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts), 0, -1)]


def describe_param_groups(
    network,
    *,
    head_lr,
    backbone_lr,
    weight_decay,
    blocks=(),
    layer_decay=1.0,
    by_block=False,
):
    """Return what moves and how fast: one record per part, rate and decay.

    Weight decay spares biases and the scales of normalisation layers. A learning rate of None
    stands for weights that are solved for.

    Parameters
    ----------
    network : nn.Module
        With children ``backbone`` and ``head``.
    head_lr, backbone_lr, weight_decay : float
    blocks : list of Block, default=()
        Their names are relative to the network in ``network.backbone``.
    layer_decay : float, default=1.0
        The rate of a block is this factor times that of the block behind it.
    by_block : bool, default=False
        A record for each block also where they have one rate.

    Returns
    -------
    groups : list of dict
        Keys ``name``, ``lr``, ``weight_decay``, ``n_parameters``, ``n_trainable``,
        ``parameter_names``; and ``depth``: how many blocks lie between it and the head, -1 for
        the head itself.
    """
    by_block = by_block or layer_decay != 1
    places = _list_places(blocks) if by_block else {}
    groups = {}
    for name, parameter in network.named_parameters():
        part, _, inner = name.partition(".")
        # What an adapter adds to a layer is known by the layer.
        known = (places[p] for p in _parents(inner.removeprefix("network.")) if p in places)
        block, depth = next(known, (part, 0))
        if part == "head":
            block, lr, depth = part, head_lr, -1
        else:
            lr = backbone_lr * layer_decay**depth
        moves = parameter.requires_grad and lr != 0
        record = {
            "name": block if moves else f"{part} (frozen)",
            "lr": lr if moves else 0.0,
            "weight_decay": weight_decay if moves and lr and parameter.ndim > 1 else 0.0,
            "depth": depth if moves else None,
        }
        group = groups.setdefault(
            tuple(record.values()),
            {**record, "n_parameters": 0, "n_trainable": 0, "parameter_names": []},
        )
        group["n_parameters"] += parameter.numel()
        group["n_trainable"] += parameter.numel() if moves else 0
        group["parameter_names"].append(name)
    return list(groups.values())


def _list_places(blocks):
    """Return the block and its depth for the names of parameters and of the layers they are in."""
    places = {}
    for depth, block in enumerate(reversed(blocks)):
        for name in block.parameter_names:
            for part in _parents(name):
                places.setdefault(part, (block.name, depth))
    return places
