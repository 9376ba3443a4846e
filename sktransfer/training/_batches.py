"""Batches of prepared rows, shuffled by a seed of their own."""

import torch
from torch.utils.data import Dataset

from sktransfer.training._augment import augment_batch
from sktransfer.utils._torch import reseed, to_tensor


class PreparedRows(Dataset):
    """Rows with targets and weights; a whole batch is prepared at once.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    targets : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,)
    prepare : callable
        Turns rows of ``X`` into what the network takes.
    """

    def __init__(self, X, targets, sample_weight, prepare):
        self.X, self.prepare = X, prepare
        self.targets = torch.as_tensor(targets, dtype=torch.float32)
        self.sample_weight = torch.as_tensor(sample_weight, dtype=torch.float32)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        inputs, targets = self.__getitems__([row])
        return inputs[0], tuple(target[0] for target in targets)

    def __getitems__(self, rows):
        inputs = to_tensor(self.prepare(self.X[rows]))
        return inputs, (self.targets[rows], self.sample_weight[rows])


class AugmentedRows(PreparedRows):
    """Rows that are another variant of themselves in each batch.

    Parameters
    ----------
    X, targets, sample_weight
        As of `PreparedRows`.
    network_input : NetworkInput
        Arranges the rows as images, and normalises them once they are augmented.
    image_shape : tuple of int or None
    augment : callable
        See `sktransfer.training`.
    """

    def __init__(self, X, targets, sample_weight, network_input, image_shape, augment):
        super().__init__(X, targets, sample_weight, network_input.normalise)
        self.arrange = lambda rows: network_input.arrange(rows, image_shape)
        self.augment = augment

    def __getitems__(self, rows):
        images = to_tensor(self.arrange(self.X[rows]))
        images, *targets = augment_batch(
            self.augment, images, self.targets[rows], self.sample_weight[rows]
        )
        return to_tensor(self.prepare(images.numpy())), tuple(targets)


class ShuffledBatches:
    """The batches of one training: each pass is an epoch, in an order of its own.

    Order and randomness of a step depend on the seed and the number of the step alone, so that a
    training can go on from any step as if it had never stopped. A last batch of one row joins the
    batch before: networks with BatchNorm cannot be trained on a single row.

    Parameters
    ----------
    rows : PreparedRows
    batch_size : int
    seed : int
    start : int, default=0
        Step at which the first pass begins.
    """

    def __init__(self, rows, batch_size, seed=0, start=0):
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.epoch, self.skipped = divmod(start, len(self))

    def __len__(self):
        return count_batches(len(self.rows), self.batch_size)

    def __iter__(self):
        for i, batch in enumerate(self.split()):
            if i >= self.skipped:
                reseed(self.seed, self.epoch * len(self) + i)
                yield self.rows.__getitems__(batch.tolist())
        self.epoch, self.skipped = self.epoch + 1, 0

    def split(self):
        """Return the row numbers of the batches of the current epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.rows), generator=generator)
        batches = list(order.split(self.batch_size))
        if len(batches) > len(self):
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches


def count_batches(n_rows, batch_size):
    """Return the number of batches of an epoch."""
    full, rest = divmod(n_rows, batch_size)
    return max(1, full + (rest > (batch_size > 1)))
