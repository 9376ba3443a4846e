"""Source rows that lie where the target has rows."""

from typing import NamedTuple

import numpy as np

from sktransfer.domain import take_rows
from sktransfer.instance._kernels import KernelRows, compute_squared_distances, prepare_rows

__all__ = ["prepare_rows_within_reach"]

N_CENTERS = 100  # target rows that distances are measured to
SIGNIFICANCE = 0.01
ROWS_AT_ONCE = 10_000
ROUNDING = 1e-10  # of squared distances between rows with a variance of 1 in each column


class RowsWithinReach(NamedTuple):
    """Comparable rows of both domains, without the source rows beyond the target."""

    rows: KernelRows
    kept: np.ndarray  # positions of source rows
    n_source: int

    @property
    def share(self):
        """Share of the source rows that are within reach."""
        return len(self.kept) / self.n_source

    def in_given_order(self, log_values):
        """Return one logarithm a source row, as given; ``-inf`` for those beyond reach."""
        given = np.full(self.n_source, -np.inf)
        given[self.kept] = self.rows.in_given_order(log_values)
        return given


def prepare_rows_within_reach(X_source, X_target, method, least_share=0.0, most_share=1.0):
    """Leave out source rows farther from the target than its rows are, and prepare the others.

    A least-squares fit of a ratio gives what it finds no reason against, rows beyond the target
    included: where these are many, they get most of the weight, or waves of it. So a source row
    is left out if it is farther from the target than every target row is from the others. It is
    not, if as many source rows would be as far by chance, nor if fewer than ``least_share``
    or more than ``most_share`` would be left.

    Parameters
    ----------
    X_source, X_target : array or DataFrame
        Rows of the two domains.

    method : str
        Name of the class that asks, for errors.

    least_share, most_share : float
        Shares of the source rows.

    Returns
    -------
    RowsWithinReach
    """
    rows = prepare_rows(X_source, X_target, method)
    n_source, n_target = len(rows.source), len(rows.target)
    within = _is_within_reach(rows.source, rows.target)
    share = np.mean(within)
    # The share is the chance that a row of the same kind is within reach.
    is_chance = share**n_target > SIGNIFICANCE
    if is_chance or share == 0 or not least_share <= share <= most_share:
        return RowsWithinReach(rows, np.arange(n_source), n_source)
    kept = np.sort(rows.source_order[within])
    rows = prepare_rows(take_rows(X_source, kept), X_target, method)
    return RowsWithinReach(rows, kept, n_source)


def _is_within_reach(source, target):
    """Whether source rows are as near to the target as its own rows, which are sorted."""
    steps = np.linspace(0, len(target) - 1, min(len(target), N_CENTERS))
    positions = np.unique(steps.astype(int))
    if len(positions) < 2:
        return np.ones(len(source), dtype=bool)
    centers = target[positions]
    own = _nearest(target, centers, positions)
    return _nearest(source, centers) <= own.max() + ROUNDING


def _nearest(rows, centers, positions=()):
    """Return the squared distance of each row to its nearest center.

    ``positions`` are those of the centers among the rows: no row is the nearest to itself.
    """
    nearest = np.empty(len(rows))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        distances = compute_squared_distances(rows[start : start + ROWS_AT_ONCE], centers)
        for center, position in enumerate(positions):
            if start <= position < start + len(distances):
                distances[position - start, center] = np.inf
        nearest[start : start + len(distances)] = distances.min(axis=1)
    return nearest
