"""The blocks that a network is made of, from input to output."""

import dataclasses

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

NORM_LAYERS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a backbone: its name, and the names of its parameters within the backbone."""

    name: str
    parameter_names: tuple


def list_blocks(module, leave_out=()):
    """Return the blocks of a network, from input to output in the order of their registration.

    Containers (`nn.Sequential`, `nn.ModuleList`) are opened, also within a layer that holds one of
    them and little else, and so is a network that is one block as a whole, the old head aside. A
    normalisation layer belongs to the block before it. Parameters that the network holds itself
    form a block before the others.

    Parameters
    ----------
    module : nn.Module
    leave_out : collection of nn.Module
        Modules that belong to no block: the old head.
    """
    blocks, known = [], set()
    names = {id(p): name for name, p in module.named_parameters()}
    left_out = {id(p) for part in leave_out for p in part.parameters()}
    for name, part in _open(module, "", left_out):
        own = [p for p in part.parameters() if id(p) not in known | left_out]
        known.update(map(id, own))
        own = tuple(names[id(p)] for p in own)
        if own and blocks and isinstance(part, NORM_LAYERS):
            before = blocks.pop()
            blocks.append(Block(before.name, before.parameter_names + own))
        elif own:
            blocks.append(Block(name, own))
    rest = [name for key, name in names.items() if key not in known | left_out]
    return [Block("stem", tuple(rest)), *blocks] if rest else blocks


def _open(module, prefix, left_out, is_whole=True):
    """Return the names and modules that a container, or the network as a whole, is made of."""
    children = [
        (f"{prefix}{name}", child)
        for name, child in module.named_children()
        if any(id(p) not in left_out for p in child.parameters())
    ]
    own = dict(module.named_parameters(recurse=False))
    if is_whole and len(children) == 1 and not own and list(children[0][1].children()):
        return _open(children[0][1], f"{children[0][0]}.", left_out)
    opened = []
    for name, child in children:
        inner = _open(child, f"{name}.", left_out, is_whole=False) if _holds_blocks(child) else []
        opened += inner or [(name, child)]
    return opened or ([(prefix.rstrip("."), module)] if is_whole else [])


# Not subclasses, which are blocks with a name of their own.
_CONTAINERS = (nn.Sequential, nn.ModuleList)


def _holds_blocks(module):
    """Tell whether a module is a list of blocks, or a stack of alike ones and little else."""
    if type(module) in _CONTAINERS:
        return True
    children = list(module.children())
    stacks = [child for child in children if type(child) in _CONTAINERS and len(child) > 1]
    rest = [child for child in children if not any(child is stack for stack in stacks)]
    is_plain = all(isinstance(c, NORM_LAYERS) or not list(c.parameters()) for c in rest)
    are_alike = len(stacks) == 1 and len({type(block) for block in stacks[0]}) == 1
    return are_alike and is_plain and len(list(stacks[0][0].children())) > 0


def list_block_outputs(module, leave_out=()):
    """Return the names of the layers that give the activations of the blocks, in order.

    Within an `nn.Sequential` that is the last layer before the next block that is a normalisation,
    an activation function or the like, since there the order is known; elsewhere the block itself.

    Parameters
    ----------
    module : nn.Module
    leave_out : collection of nn.Module
        See `list_blocks`.
    """
    names = [block.name for block in list_blocks(module, leave_out) if not _is_bare(block)]
    # A network that is one layer has no name in itself.
    return [_follow_to_the_end(module, name) for name in names if name]


def _is_bare(block):
    """Tell whether these are parameters that the network holds itself, which give nothing."""
    start = f"{block.name}." if block.name else ""
    return not any(name.startswith(start) for name in block.parameter_names)


def _follow_to_the_end(module, name):
    parent, _, own = name.rpartition(".")
    container = module.get_submodule(parent)
    if not isinstance(container, nn.Sequential):
        return name
    siblings = list(container.named_children())
    place = [sibling for sibling, _ in siblings].index(own)
    for following, layer in siblings[place + 1 :]:
        is_norm = isinstance(layer, NORM_LAYERS)
        if not is_norm and (type(layer).__module__ not in _KEEP_THE_FORM or list(layer.children())):
            break
        own = following
    return f"{parent}.{own}" if parent else own


# Modules of torch whose layers act on each value by itself.
_KEEP_THE_FORM = ("torch.nn.modules.activation", "torch.nn.modules.dropout")
