"""Encoded rows as a linear model takes them."""

import torch
from torch import nn

# A column of more categories tells a linear model of a few rows nothing.
_MAX_CARDINALITY = 255


class OneHotRows(nn.Module):
    """Encoded rows with a column of zeros and ones for each category instead of codes.

    Parameters
    ----------
    n_numeric : int
    cardinalities : sequence of int
        Columns of more than 255 categories are left out.
    """

    def __init__(self, n_numeric, cardinalities):
        super().__init__()
        self.n_numeric, self.cardinalities = n_numeric, tuple(cardinalities)

    def forward(self, rows):
        numbers, codes = rows[:, : 2 * self.n_numeric], rows[:, 2 * self.n_numeric :].long()
        blocks = [
            nn.functional.one_hot(codes[:, i], cardinality + 1).to(rows.dtype)
            for i, cardinality in enumerate(self.cardinalities)
            if cardinality <= _MAX_CARDINALITY
        ]
        return torch.cat([numbers, *blocks], dim=1)
