"""By how much one model predicts held-out rows better than another."""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Gain", "compare_losses"]


class Gain(NamedTuple):
    """By how much a held-out loss is lower with transfer than without, in the mean over rows."""

    mean: float
    standard_error: float

    def __str__(self):
        return f"{self.mean:+.3f} ± {self.standard_error:.3f}"


def compare_losses(losses, others, sample_weight):
    """Return by how much the first losses are lower than the others, paired over rows.

    Parameters
    ----------
    losses, others : arrays of shape (n_rows,)
    sample_weight : array of shape (n_rows,)
        With a mean of one.

    Returns
    -------
    Gain
    """
    gains = (others - losses) * sample_weight
    n = len(gains)
    # Squares of squared errors overflow; to scale by a power of two loses nothing.
    exponent = math.frexp(np.abs(gains).max())[1]
    error = math.inf
    if n > 1:
        error = math.ldexp(np.std(np.ldexp(gains, -exponent), ddof=1), exponent) / math.sqrt(n)
    return Gain(float(np.mean(gains)), error)
