"""Several networks that are given the same rows."""

import torch
from torch import nn


class SideBySide(nn.Sequential):
    """Networks that are all given the same rows; their outputs, (n, d) each, side by side.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sktransfer.backbones._side_by_side import SideBySide
    >>> SideBySide(nn.Identity(), nn.Linear(3, 2))(torch.ones(4, 3)).shape
    torch.Size([4, 5])
    """

    def forward(self, inputs):
        return torch.cat([network(inputs) for network in self], dim=1)
