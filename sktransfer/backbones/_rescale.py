"""Features brought to a size of their own: all by one number, or each row by its length."""

import torch
from torch import nn


class Rescale(nn.Module):
    """Shift features by a vector and divide them by one number, both fixed.

    So the layers that follow see features of the same size from any backbone, and a learning rate
    means the same for all.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features):
        super().__init__()
        self.n_features = n_features
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features):
        return (features - self.center) / self.scale


class UnitLength(nn.Module):
    """Shift features by a fixed vector and bring each row to length one: only directions count.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features):
        super().__init__()
        self.n_features = n_features
        self.register_buffer("center", torch.zeros(n_features))

    def forward(self, features):
        return nn.functional.normalize(features - self.center, dim=1)
