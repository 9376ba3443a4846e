"""Batches of prepared rows, shuffled by a seed of their own."""

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sktransfer.utils._torch import to_tensor


class PreparedRows(Dataset):
    """Rows with labels and weights; a whole batch is prepared at once.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    y : ndarray of shape (n,)
    sample_weight : ndarray of shape (n,)
    prepare : callable
        Turns rows of ``X`` into what the network takes.
    """

    def __init__(self, X, y, sample_weight, prepare):
        self.X, self.prepare = X, prepare
        self.y = torch.as_tensor(y, dtype=torch.long)
        self.sample_weight = torch.as_tensor(sample_weight, dtype=torch.float32)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        inputs, targets = self.__getitems__([row])
        return inputs[0], tuple(target[0] for target in targets)

    def __getitems__(self, rows):
        return to_tensor(self.prepare(self.X[rows])), (self.y[rows], self.sample_weight[rows])


class ShuffledBatches(Sampler):
    """Lists of row numbers; a last batch of one row joins the batch before.

    Networks with BatchNorm cannot be trained on a single row.
    """

    def __init__(self, n_rows, batch_size, seed):
        self.n_rows, self.batch_size = n_rows, batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self):
        full, rest = divmod(self.n_rows, self.batch_size)
        return max(1, full + (rest > 1))

    def __iter__(self):
        batches = list(torch.randperm(self.n_rows, generator=self.generator).split(self.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1 < self.batch_size:
            batches[-2:] = [torch.cat(batches[-2:])]
        return (batch.tolist() for batch in batches)

    def __getstate__(self):
        return {**self.__dict__, "generator": self.generator.get_state()}

    def __setstate__(self, state):
        generator = torch.Generator()
        generator.set_state(state.pop("generator"))
        self.__dict__.update(state, generator=generator)


def as_batch(batch):
    """Collate nothing: `PreparedRows` gives whole batches."""
    return batch


def make_loader(dataset, batch_size, seed=0):
    """Make the loader of one training run; the signature that skorch calls."""
    batches = ShuffledBatches(len(dataset), batch_size, seed)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=as_batch)
