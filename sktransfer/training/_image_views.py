"""Images that come as two views of themselves in each batch."""

import torch

from sktransfer.training._augment import (
    AugmentationSequence,
    ColorJitter,
    RandomCrop,
    RandomFlip,
    RandomShift,
    augment_batch,
)
from sktransfer.training._batches import AugmentedRows
from sktransfer.utils._torch import to_tensor


class TwoViews(AugmentedRows):
    """Rows as pairs of two variants, of shape (n, 2, channels, height, width)."""

    def __getitems__(self, rows):
        images = to_tensor(self.arrange(self.X[rows]))
        views = [augment_batch(self.augment, images)[0] for _ in range(2)]
        views = [to_tensor(self.prepare(view.numpy())) for view in views]
        return torch.stack(views, dim=1), (self.targets[rows], self.sample_weight[rows])


def default_views(flip=True):
    """Return the augmentation that makes views, stronger than one that keeps labels has to be.

    Parameters
    ----------
    flip : bool, default=True
        Whether a mirrored image shows the same; False for characters.
    """
    steps = (RandomShift(0.1), RandomCrop(0.5), ColorJitter(0.4, contrast=0.4, saturation=0.4))
    return AugmentationSequence(RandomFlip(), *steps) if flip else AugmentationSequence(*steps)
