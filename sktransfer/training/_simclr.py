"""SimCLR: learn images without labels, by telling which two views are of one image."""

import dataclasses

import torch
from torch.nn import functional as F

from sktransfer.utils._validation import check_count, check_number


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """Self-supervised learning on images.

    Of each image of a batch two views are made by an augmentation, and the network learns to find
    the other view among those of all other images (NT-Xent) [1]_.

    Parameters
    ----------
    weight : float, default=1.0
        Of this loss, where there are labels too, whose loss has the weight 1.
    temperature : float, default=0.2
        Cosines of two views are divided by it.
    n_components : int, default=64
        Width of the space in which views are compared. The layers that lead there are not kept.
    augment : callable, default=None
        Makes a view of each image, see `sktransfer.training.Augmentation`. It has to change what
        does not matter, and must keep what does. None: shifts, crops down to half of the area,
        brightness and contrast, and of colour images mirrored ones and other saturations.

    References
    ----------
    .. [1] Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
       Visual Representations", ICML 2020.

    Examples
    --------
    >>> from sktransfer.training import SimCLR
    >>> SimCLR(temperature=0.5)
    SimCLR(weight=1.0, temperature=0.5, n_components=64, augment=None)
    """

    weight: float = 1.0
    temperature: float = 0.2
    n_components: int = 64
    augment: object = None

    def __post_init__(self):
        check_number("weight", self.weight, low=0, low_open=True)
        check_number("temperature", self.temperature, low=0, low_open=True)
        check_count("n_components", self.n_components)
        if self.augment is not None and not callable(self.augment):
            raise TypeError(
                f"Got augment={self.augment!r}, but expected a callable, batch -> batch, or None."
            )

    def compare(self, rows, copies):
        """Return how alike each view is to the other view of each image, of shape (n, n)."""
        return F.normalize(rows, dim=1) @ F.normalize(copies, dim=1).T / self.temperature

    def losses(self, rows, copies):
        """Return the loss of each image, of shape (n,), in the mean over its two views."""
        views = torch.cat([rows, copies])
        alike = self.compare(views, views).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(views), device=views.device).roll(len(rows))
        return F.cross_entropy(alike, partner, reduction="none").view(2, -1).mean(0)
