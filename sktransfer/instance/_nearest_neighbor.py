"""Weights from counts of nearest neighbours."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state, gen_batches

from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._standard_columns import draw_in_order, to_standard_columns
from sktransfer.utils._validation import check_count, check_number

__all__ = ["NearestNeighborWeighting"]

MOST_NEIGHBORS = 100  # of n_neighbors="auto"
MOST_COLUMNS_OF_TREE = 5  # beyond, a tree visits most rows anyway, and matrix products are faster
VALUES = 4_000_000  # of neighbours, held at a time
TIE = 1e-9  # distances that differ by less are equal, relative and in standard deviations


class NearestNeighborWeighting(BaseWeighting):
    r"""Weight source rows by how often they are neighbours of target rows.

    Each target row hits its ``n_neighbors`` nearest source rows. With one neighbour, the hits
    of a source row are the target rows in its Voronoi cell [1]_, with more the cells overlap
    and the weights vary less. How many hits would come from the source itself is counted too:
    each source row hits its nearest ones among the others. The weight is the ratio of the two,
    as if as many rows of both domains had been looked up,

    .. math:: w(x) = \frac{hits_{target}(x) \cdot n_{source} / n_{target} + s}
              {hits_{source}(x) + s}

    with Laplace smoothing ``s``. Without the denominator (``relative=False``), rows at the edge
    of the source and rows that are neighbours of many count wrongly, the more so the more
    columns there are.

    Equal rows, and rows at the same distance, share their hits. Columns are standardised over
    both domains; each category becomes a column.

    Parameters
    ----------
    n_neighbors : int or "auto", default="auto"
        Neighbours of each row, at most the number of source rows. "auto" takes
        ``2 * sqrt(n_source)``, at most a quarter of the source rows and at most 100.

    smoothing : float >= 0, default=1.0
        Hits that each row has for nothing. With 0, source rows without hits get no weight.

    relative : bool, default=True
        Whether to divide by the hits that come from the source itself. False gives the hits of
        target rows alone, as in [1]_ with ``n_neighbors=1``.

    max_rows : int, default=20_000
        Most rows of each domain whose neighbours are looked up; ``random_state`` draws them
        where there are more. The cost grows with this number times the number of source rows.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : Backbone, str, path, torch.nn.Module, fitted estimator or None, default=None
        Network in whose activations the rows are compared, see :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Seed of the draw; not used up to ``max_rows`` rows.

    Attributes
    ----------
    n_neighbors_ : int
        The number of neighbours, with "auto" resolved.

    target_hits_ : float64 array of shape (n_source,)
        Hits of target rows on each source row. They sum to ``n_neighbors_`` times the number of
        target rows that were looked up.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`.

    References
    ----------
    .. [1] Loog, "Nearest neighbor-based importance weighting", IEEE International Workshop on
       Machine Learning for Signal Processing, 2012.

    Examples
    --------
    >>> from sktransfer.instance import NearestNeighborWeighting
    >>> weighting = NearestNeighborWeighting(n_neighbors=1, smoothing=0, relative=False)
    >>> weighting.compute_weights([[0.0], [1.0], [1.0], [5.0]], [[0.1], [0.9], [0.9], [1.2]])
    array([1. , 1.5, 1.5, 0. ])
    """

    _compares_rows = True

    def __init__(
        self,
        *,
        n_neighbors="auto",
        smoothing=1.0,
        relative=True,
        max_rows=20_000,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.n_neighbors = n_neighbors
        self.smoothing = smoothing
        self.relative = relative
        self.max_rows = max_rows
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        self.n_neighbors_ = self._resolve_n_neighbors(len(X_source))
        # Two hits of none would be 0 / 0.
        check_number("smoothing", self.smoothing, low=0, low_open=bool(self.relative))
        check_count("max_rows", self.max_rows)
        random_state = check_random_state(self.random_state)
        source, target = to_standard_columns(X_source, X_target, type(self).__name__)
        n_source = len(source)

        neighbors = _Neighbors(source, self.n_neighbors_)
        drawn = draw_in_order(target, self.max_rows, random_state)
        self.target_hits_ = neighbors.count_hits(target[drawn])
        if self.relative:
            own = draw_in_order(source, self.max_rows, random_state)
            expected, n_expected = neighbors.count_hits_of_own(own), len(own)
        else:
            expected, n_expected = self.n_neighbors_, n_source
        hits = self.target_hits_ * (n_expected / len(drawn))
        with np.errstate(divide="ignore"):
            return np.log(hits + self.smoothing) - np.log(expected + self.smoothing)

    def _resolve_n_neighbors(self, n_source):
        if self.n_neighbors == "auto":
            wanted = min(int(np.ceil(2 * np.sqrt(n_source))), MOST_NEIGHBORS)
            return max(1, min(wanted, n_source // 4))
        check_count("n_neighbors", self.n_neighbors)
        return min(self.n_neighbors, n_source)


class _Neighbors:
    """The nearest of some rows, equal ones and equally distant ones together.

    Each distinct row is held once, with the number of rows that it stands for.
    """

    def __init__(self, rows, n_neighbors):
        self.rows, self.row_ids, counts = np.unique(
            rows, axis=0, return_inverse=True, return_counts=True
        )
        self.row_ids, self.counts = self.row_ids.ravel(), counts.astype(np.float64)
        self.n_neighbors = n_neighbors
        is_narrow = rows.shape[1] <= MOST_COLUMNS_OF_TREE
        self.index = NearestNeighbors(algorithm="kd_tree" if is_narrow else "brute").fit(self.rows)

    def count_hits(self, rows):
        """Return how often each row is among the nearest of other rows."""
        distinct, n_times = np.unique(rows, axis=0, return_counts=True)
        return self._count(distinct, n_times, None)

    def count_hits_of_own(self, positions):
        """Return how often each row is among the nearest of the rows at some positions.

        No row is its own neighbour.
        """
        own_ids, n_times = np.unique(self.row_ids[positions], return_counts=True)
        return self._count(self.rows[own_ids], n_times, own_ids)

    def _count(self, queries, n_times, own_ids):
        # One more than there can be neighbours tells whether the last of them is tied.
        n_looked_up = min(self.n_neighbors + 1 + (own_ids is not None), len(self.rows))
        hits = np.zeros(len(self.rows))
        for batch in gen_batches(len(queries), max(1, VALUES // (n_looked_up * queries.shape[1]))):
            own = None if own_ids is None else own_ids[batch]
            ids, distances = self._look_up(queries[batch], n_looked_up)
            shares, is_complete = self._share_hits(ids, distances, own)
            is_complete |= n_looked_up == len(self.rows)
            shares *= (n_times[batch] * is_complete)[:, None]
            hits += np.bincount(ids.ravel(), shares.ravel(), minlength=len(hits))
            for row in np.flatnonzero(~is_complete):
                hits += n_times[batch][row] * self._hit_all_tied(
                    queries[batch][row], distances[row, -1], None if own is None else own[[row]]
                )
        return (hits / self.counts)[self.row_ids]

    def _look_up(self, queries, n_looked_up):
        ids = self.index.kneighbors(queries, n_looked_up, return_distance=False)
        # Those of matrix products are too inexact to tell ties.
        distances = np.sqrt(((self.rows[ids] - queries[:, None]) ** 2).sum(axis=2))
        order = np.argsort(distances, axis=1)
        return np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)

    def _share_hits(self, ids, distances, own):
        """Return the hits of all rows that an id stands for, and whether all tied were looked up.

        Groups of equally distant rows are served from the nearest on, until there are no more
        hits; the rows of the last group share what is left.
        """
        counts = self.counts[ids]
        if own is not None:
            counts -= ids == own[:, None]
        is_next = np.ones(ids.shape, dtype=bool)
        is_next[:, 1:] = distances[:, 1:] > distances[:, :-1] * (1 + TIE) + TIE
        groups = np.cumsum(is_next, axis=1) - 1
        flat = groups + np.arange(len(ids))[:, None] * ids.shape[1]
        sizes = np.bincount(flat.ravel(), counts.ravel(), ids.size).reshape(ids.shape)
        before = np.cumsum(sizes, axis=1) - sizes
        given = np.clip(self.n_neighbors - before, 0, sizes) / np.maximum(sizes, 1)
        is_complete = np.take_along_axis(before, groups[:, -1:], 1)[:, 0] >= self.n_neighbors
        return counts * np.take_along_axis(given, groups, 1), is_complete

    def _hit_all_tied(self, query, distance, own):
        """Return the hits of one row, once all that are as far as the last are looked up."""
        radius = distance * (1 + 2 * TIE) + 2 * TIE
        (ids,) = self.index.radius_neighbors(query[None], radius, return_distance=False)
        distances = np.sqrt(((self.rows[ids] - query) ** 2).sum(axis=1))
        order = np.argsort(distances)
        shares, _ = self._share_hits(ids[order][None], distances[order][None], own)
        return np.bincount(ids[order], shares[0], minlength=len(self.rows))
