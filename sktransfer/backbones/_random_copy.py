"""The same network without what it learned: the control that tells what pretraining is worth."""

import torch
from torch import nn

from sktransfer.utils._torch import seeded

# Not one that people use: a network made under the same seed would be its own random copy.
_SEED = 720_917


def make_random_copy(backbone, seed=_SEED):
    """Return a backbone of the same architecture with random weights.

    Layers that know how to begin do so; weights that belong to no such layer are drawn from a
    normal distribution of the mean and standard deviation that they have.

    Parameters
    ----------
    backbone : Backbone
    seed : int
        Same seed, same weights, in any process.
    """
    network = backbone.copy_module()
    with seeded(seed), torch.no_grad():
        begun = set()
        for module in network.modules():
            if hasattr(module, "reset_parameters") and not isinstance(module, nn.Sequential):
                module.reset_parameters()
                begun.update(id(p) for p in module.parameters())
        for parameter in network.parameters():
            if id(parameter) not in begun:
                spread = float(parameter.detach().std()) if parameter.numel() > 1 else 0.0
                parameter.normal_(float(parameter.detach().mean()), spread)
    return backbone.with_module(network, name=f"{backbone.name}, random weights")
