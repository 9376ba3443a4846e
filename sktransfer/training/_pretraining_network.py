"""A network that is pretrained: body, the source's head, and what self-supervision needs."""

import dataclasses

import torch
from torch import nn

from sktransfer.training._objectives import Objective


class PretrainingNetwork(nn.Module):
    """A body whose features go to the source's head, and to a space in which rows are compared.

    Parameters
    ----------
    backbone : nn.Module
        Gives features of shape (n, d).
    head : nn.Module or None
        The source's head, which is kept; None without labels.
    projection : nn.Module or None
        For `SCARF`, not kept; None without self-supervision.
    """

    def __init__(self, backbone, head, projection):
        super().__init__()
        self.backbone, self.head, self.projection = backbone, head, projection

    def forward(self, inputs):
        """Return outputs of the head, then comparable rows, then their comparable copies.

        ``inputs`` are rows (n, d), or with self-supervision pairs of a row and its copy (n, 2, d).
        """
        if self.projection is None:
            return self.head(self.backbone(inputs))
        rows, copies = self.backbone(inputs.transpose(0, 1).flatten(0, 1)).chunk(2)
        outputs = [] if self.head is None else [self.head(rows)]
        return torch.cat([*outputs, self.projection(rows), self.projection(copies)], dim=1)


@dataclasses.dataclass(frozen=True)
class PretrainingObjective:
    """The losses of a `PretrainingNetwork`.

    Parameters
    ----------
    supervised : Objective or None
    scarf : SCARF or None
    """

    supervised: Objective | None
    scarf: object

    def losses(self, outputs, targets):
        """Return the loss of each row, of shape (n,)."""
        if self.scarf is None:
            return self.supervised.losses(outputs, targets)
        outputs, rows, copies = self.split(outputs)
        losses = self.scarf.losses(rows, copies)
        if self.supervised is None:
            return losses
        return self.supervised.losses(outputs, targets) + self.scarf.weight * losses

    def split(self, outputs):
        """Return outputs of the head (or None), comparable rows and copies."""
        n_outputs = 0 if self.supervised is None else self.supervised.n_outputs
        rows, copies = outputs[:, n_outputs:].chunk(2, dim=1)
        return (outputs[:, :n_outputs] if n_outputs else None), rows, copies
