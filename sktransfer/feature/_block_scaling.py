"""Blocks of columns brought to one size, so that many columns do not drown few."""

import functools

import numpy as np
import scipy.sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

_PART = 4096


class BlockMoments:
    """Counts, means and sums of squared deviations of columns, gathered chunk by chunk.

    Missing values are left out. Chunks may come in any order and be gathered apart: `add` merges.
    """

    def __init__(self, count=0.0, mean=0.0, deviation=0.0):
        self.count, self.mean, self.deviation = count, mean, deviation

    @classmethod
    def of(cls, block):
        """Return those of one block of shape (n, d), an array or a sparse matrix."""
        # By parts, since the deviations of a part take twice the memory of the part.
        parts = [cls._of_part(block[i : i + _PART]) for i in range(0, block.shape[0], _PART)]
        return functools.reduce(cls.add, parts)

    @classmethod
    def _of_part(cls, block):
        if scipy.sparse.issparse(block):
            n_rows, n_columns = block.shape
            mean, variance = mean_variance_axis(block.tocsr().astype(np.float64), axis=0)
            return cls(np.full(n_columns, float(n_rows)), mean, variance * n_rows)
        is_there = np.isfinite(block)
        count = is_there.sum(axis=0).astype(np.float64)
        at_least_one = np.maximum(count, 1)
        if is_there.all():
            mean = block.mean(axis=0, dtype=np.float64)
            return cls(count, mean, ((block - mean) ** 2).sum(axis=0))
        mean = np.where(is_there, block, 0).sum(axis=0, dtype=np.float64) / at_least_one
        return cls(count, mean, (np.where(is_there, block - mean, 0) ** 2).sum(axis=0))

    def add(self, other):
        """Return the moments of both (Chan, Golub and LeVeque, 1983)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        step = other.mean - self.mean
        return BlockMoments(
            count,
            self.mean + share * step,
            self.deviation + other.deviation + self.count * share * step**2,
        )

    def find_scale(self, n_columns):
        """Return what divides the block so that its variances sum up to ``n_columns``.

        1.0 for a block that is constant but for rounding, which has no size.
        """
        variances = self.deviation / np.maximum(self.count, 1)
        total, size = float(np.sum(variances)), float(np.sum(np.square(self.mean)))
        is_constant = total <= size * np.finfo(np.float32).eps ** 2
        return 1.0 if is_constant else float(np.sqrt(total / n_columns))
