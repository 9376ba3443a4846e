"""NearestNeighborWeighting: its hits, counted by hand and by brute force."""

import numpy as np
import pytest

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import NearestNeighborWeighting
from sktransfer.instance._nearest_neighbor import _Neighbors


def count_hits(source, targets, n_neighbors):
    """Do the same row by row, in exact arithmetic of small integers."""
    hits = np.zeros(len(source))
    for target in targets:
        distances = ((source - target) ** 2).sum(axis=1)
        left = n_neighbors
        for distance in np.unique(distances):
            tied = distances == distance
            hits[tied] += min(left, tied.sum()) / tied.sum()
            left -= min(left, tied.sum())
    return hits


@pytest.mark.parametrize("n_neighbors", [1, 3, 10, 60])
@pytest.mark.parametrize("n_columns", [1, 2, 8])
def test_equal_and_equally_distant_rows_share_their_hits(n_neighbors, n_columns):
    rng = np.random.default_rng(n_columns)
    source = rng.integers(0, 5, size=(60, n_columns)).astype(float)
    target = rng.integers(0, 5, size=(45, n_columns)).astype(float)
    hits = _Neighbors(source, n_neighbors).count_hits(target)
    np.testing.assert_allclose(hits, count_hits(source, target, n_neighbors), atol=1e-9)


@pytest.mark.parametrize("n_neighbors", [1, 4])
@pytest.mark.parametrize("n_columns", [1, 2, 8])
def test_no_row_hits_itself(n_neighbors, n_columns):
    source = np.random.default_rng(0).integers(0, 4, size=(30, n_columns)).astype(float)
    hits = _Neighbors(source, n_neighbors).count_hits_of_own(np.arange(30))
    expected = np.zeros(30)
    for i in range(30):
        others = np.delete(np.arange(30), i)
        expected[others] += count_hits(source[others], source[[i]], n_neighbors)
    np.testing.assert_allclose(hits, expected, atol=1e-9)


@pytest.mark.parametrize(("n_source", "n_target"), [(50, 50), (50, 7), (7, 50)])
def test_hits_in_voronoi_cells(n_source, n_target):
    domains = make_covariate_shift(n_source, n_target, random_state=0)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(n_source)
    source = domains.X_source[shuffled]
    weighting = NearestNeighborWeighting(n_neighbors=1, smoothing=0, relative=False)
    weights = weighting.compute_weights(source, domains.X_target)
    scale = np.vstack([source, domains.X_target]).std(axis=0)
    nearest = [np.argmin((((source - x) / scale) ** 2).sum(axis=1)) for x in domains.X_target]
    counts = np.bincount(nearest, minlength=n_source)
    np.testing.assert_array_equal(weighting.target_hits_, counts)
    np.testing.assert_allclose(weights, counts * n_source / n_target)


def test_smoothing_gives_every_row_some_weight():
    rows = np.arange(4.0)[:, None], np.array([[0.0], [0.1]])
    plain = {"n_neighbors": 1, "relative": False}
    weights = NearestNeighborWeighting(smoothing=1.0, **plain).compute_weights(*rows)
    # Two hits, as if there were four target rows, and one for nothing.
    np.testing.assert_allclose(weights, np.array([5, 1, 1, 1]) / 2)


def test_hits_of_the_source_correct_for_its_edge():
    domains = make_covariate_shift(500, 500, shift=0, random_state=0)
    sizes = []
    for relative in (True, False):
        weighting = NearestNeighborWeighting(relative=relative)
        weighting.compute_weights(domains.X_source, domains.X_target)
        sizes.append(weighting.effective_sample_size_)
    assert sizes[0] > 470 > 460 > sizes[1]


def test_level_of_the_ratio_is_right_for_unequal_domains():
    domains = make_covariate_shift(1000, 200, shift=1.0, random_state=0)
    weighting = NearestNeighborWeighting()
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert np.median(weighting.log_ratio_ - domains.log_ratio) == pytest.approx(0, abs=0.3)


def test_drawn_rows_do_nearly_as_well():
    domains = make_covariate_shift(600, 500, shift=1.0, random_state=0)
    rows = domains.X_source, domains.X_target
    whole = NearestNeighborWeighting().compute_weights(*rows)
    drawn = NearestNeighborWeighting(max_rows=250, random_state=0).compute_weights(*rows)
    assert np.corrcoef(whole, drawn)[0, 1] > 0.9
    assert not np.array_equal(whole, drawn)


def test_number_of_neighbors():
    for n_source, expected in [(1, 1), (3, 1), (40, 10), (400, 40), (5000, 100)]:
        weighting = NearestNeighborWeighting(max_rows=50, random_state=0)
        rows = np.arange(float(n_source))[:, None]
        weighting.compute_weights(rows, rows)
        assert weighting.n_neighbors_ == expected
    with pytest.raises(ValueError, match="Got n_neighbors=0, but expected an integer >= 1"):
        NearestNeighborWeighting(n_neighbors=0).compute_weights(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="Got smoothing=0, but expected a number > 0"):
        NearestNeighborWeighting(smoothing=0).compute_weights(np.eye(3), np.eye(3))
