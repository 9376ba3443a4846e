import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from sktransfer.evaluation import KNNProbe, _knn_probe


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    return rng.normal(size=(90, 6)) + rng.normal(size=(3, 6))[y], y


def weigh(distances):
    return np.exp((1 - distances) / 0.07)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("n_neighbors", [1, 5, 20, 200])
def test_equals_neighbours_that_are_fitted_without_each_row(rows, n_neighbors, center):
    X, y = rows
    X = X + 1
    classifier = KNeighborsClassifier(
        min(n_neighbors, 89), metric="cosine", weights=weigh, algorithm="brute"
    )
    shown = X - X.mean(axis=0) if center else X
    predicted = cross_val_predict(classifier, shown, y, cv=LeaveOneOut())
    probe = KNNProbe(n_neighbors, center=center)
    np.testing.assert_array_equal(probe.score_rows(X, y), predicted == y)


def test_blocks_of_rows_give_the_same(rows, monkeypatch):
    expected = KNNProbe().score_rows(*rows)
    monkeypatch.setattr(_knn_probe, "_BLOCK", 500)
    np.testing.assert_array_equal(KNNProbe().score_rows(*rows), expected)


def test_directions_count_not_lengths(rows):
    X, y = rows
    lengths = np.random.default_rng(1).uniform(0.1, 10, size=(90, 1))
    probe = KNNProbe(center=False)
    assert probe.score(X * lengths, y) == probe.score(X, y)


def test_a_constant_added_to_features_does_not_matter(rows):
    X, y = rows
    expected = KNNProbe().score_rows(X, y)
    np.testing.assert_array_equal(KNNProbe().score_rows(X + 100, y), expected)
    # All cosines are nearly one then, and all twenty neighbours count alike.
    plain = KNNProbe(center=False)
    assert (plain.score_rows(X + 100, y) != plain.score_rows(X, y)).any()


def test_numbers_are_averaged_over_neighbours():
    angle = np.linspace(0, 1, 50)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert KNNProbe(2).score(circle, angle) > 0.99
    assert KNNProbe(2).score_rows(circle, angle) is None
