"""KNNProbe: whether the class of a row is that of the rows near it."""

import numpy as np

from sktransfer.evaluation._leave_one_out_probe import LeaveOneOutProbe
from sktransfer.evaluation._principal_axes import standardize
from sktransfer.utils._validation import check_count, check_number, check_option

# Similarities that are in memory at a time.
_BLOCK = 10_000_000


class KNNProbe(LeaveOneOutProbe):
    """Leave-one-out accuracy of nearest neighbours by the cosine of features [1]_.

    The neighbours of a row, itself left out, vote with the weight ``exp(cosine / temperature)``.
    Numbers are averaged with these weights.

    Parameters
    ----------
    n_neighbors : int, default=20
        At most all other rows.
    temperature : float, default=0.07
        Small: the nearest count most.
    center : bool, default=True
        Subtract the mean of the features first. Activations behind a ReLU all point into one
        direction, more or less, so that their cosines hardly differ. False is as in [1]_.

    Notes
    -----
    The score is the share of rows that are predicted, so it can be held against the share of the
    largest class. It takes n² d operations. Rows that occur twice find each other: leave copies
    out first.

    References
    ----------
    .. [1] Z. Wu, Y. Xiong, S. X. Yu and D. Lin, "Unsupervised feature learning via non-parametric
       instance discrimination", CVPR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer.evaluation import KNNProbe
    >>> X, y = load_digits(return_X_y=True)
    >>> KNNProbe(n_neighbors=5).score(X, y) > 0.95
    True
    """

    def __init__(self, n_neighbors=20, *, temperature=0.07, center=True):
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.center = center

    def _check_parameters(self):
        check_count("n_neighbors", self.n_neighbors)
        check_number("temperature", self.temperature, low=0, low_open=True)
        check_option("center", self.center, (True, False))

    def _predict(self, F, targets):
        directions = _to_unit_length(standardize(F) if self.center else F)
        n = len(directions)
        n_neighbors = min(self.n_neighbors, n - 1)
        predictions = np.empty(targets.columns.shape)
        step = max(1, _BLOCK // n)
        for start in range(0, n, step):
            rows = np.arange(start, min(start + step, n))
            cosines = directions[rows] @ directions.T
            cosines[np.arange(len(rows)), rows] = -np.inf
            nearest = np.argpartition(-cosines, n_neighbors - 1, axis=1)[:, :n_neighbors]
            found = np.take_along_axis(cosines, nearest, axis=1)
            weights = np.exp((found - found.max(axis=1, keepdims=True)) / self.temperature)
            weights /= weights.sum(axis=1, keepdims=True)
            predictions[rows] = np.einsum("ij,ijc->ic", weights, targets.columns[nearest])
        return predictions


def _to_unit_length(F):
    """Return the directions of the rows; a row of zeros has none, and is near to nothing."""
    largest = np.abs(F).max(axis=1, keepdims=True)
    F = F / np.where(largest > 0, largest, 1.0)
    lengths = np.linalg.norm(F, axis=1, keepdims=True)
    return F / np.where(lengths > 0, lengths, 1.0)
