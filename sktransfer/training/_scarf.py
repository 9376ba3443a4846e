"""SCARF: learn a table from its rows alone, by telling which of them a damaged row was."""

import dataclasses

import torch
from torch.nn import functional as F

from sktransfer.utils._validation import check_count, check_number


@dataclasses.dataclass(frozen=True)
class SCARF:
    """Self-supervised learning on the rows of a table.

    In each batch a copy of every row has some of its columns replaced by values of other rows, and
    the network learns to find for each row the copy that was made of it (InfoNCE) [1]_.

    Parameters
    ----------
    weight : float, default=1.0
        Of this loss, where there are labels too, whose loss has the weight 1.
    corruption : float, default=0.6
        Share of the columns that are replaced.
    temperature : float, default=0.5
        Cosines of two rows are divided by it.
    n_components : int, default=64
        Width of the space in which rows are compared. The layers that lead there are not kept.

    References
    ----------
    .. [1] Bahri, Jiang, Tay and Metzler, "SCARF: Self-Supervised Contrastive Learning using Random
       Feature Corruption", ICLR 2022.

    Examples
    --------
    >>> from sktransfer.training import SCARF
    >>> SCARF(corruption=0.5)
    SCARF(weight=1.0, corruption=0.5, temperature=0.5, n_components=64)
    """

    weight: float = 1.0
    corruption: float = 0.6
    temperature: float = 0.5
    n_components: int = 64

    def __post_init__(self):
        check_number("weight", self.weight, low=0, low_open=True)
        check_number("corruption", self.corruption, low=0, high=1, low_open=True)
        check_number("temperature", self.temperature, low=0, low_open=True)
        check_count("n_components", self.n_components)

    def compare(self, rows, copies):
        """Return how alike each row and each copy are, of shape (n, n)."""
        return F.normalize(rows, dim=1) @ F.normalize(copies, dim=1).T / self.temperature

    def losses(self, rows, copies):
        """Return the loss of each row, of shape (n,): how hard it is to find its copy.

        That of a row and the copies, and of a copy and the rows, in the mean.
        """
        alike = self.compare(rows, copies)
        own = torch.arange(len(alike), device=alike.device)
        forth = F.cross_entropy(alike, own, reduction="none")
        back = F.cross_entropy(alike.T, own, reduction="none")
        return (forth + back) / 2
