import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from sktransfer.training._linear_probe import PENALTIES, fit_linear_probe


def make_rows(n_rows, n_features, n_classes=3, seed=0):
    return make_classification(
        n_rows,
        n_features,
        n_informative=4,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        class_sep=2.0,
        random_state=seed,
    )


@pytest.mark.parametrize(("n_rows", "n_features"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_the_logistic_regression_of_the_chosen_penalty(n_rows, n_features, n_classes):
    X, y = make_rows(n_rows, n_features, n_classes)
    probe = fit_linear_probe(X, y, n_classes)
    assert probe.C in PENALTIES
    unit = (X - probe.center) / probe.scale / np.sqrt(n_features)
    expected = LogisticRegression(C=probe.C, max_iter=5000).fit(unit, y).predict_proba(unit)
    np.testing.assert_allclose(softmax(probe.compute_logits(X), axis=1), expected, atol=2e-3)


def test_scale_and_position_of_the_features_do_not_matter():
    X, y = make_rows(60, 8)
    probe, moved = fit_linear_probe(X, y, 3), fit_linear_probe(1000 * X + 7, y, 3)
    assert moved.C == probe.C
    np.testing.assert_allclose(
        moved.compute_logits(1000 * X + 7), probe.compute_logits(X), atol=1e-2
    )


def test_noise_gets_a_stronger_penalty_than_signal():
    X, y = make_rows(200, 8)
    noise = np.random.default_rng(0).permutation(y)
    assert fit_linear_probe(X, noise, 3).C < fit_linear_probe(X, y, 3).C


def test_rows_of_weight_zero_do_not_count():
    X, y = make_rows(60, 8)
    weight = np.ones(60)
    weight[30:] = 0
    wrong = np.where(weight > 0, y, (y + 1) % 3)
    probe = fit_linear_probe(X, wrong, 3, sample_weight=weight)
    assert (probe.compute_logits(X[:30]).argmax(1) == y[:30]).mean() > 0.9


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 2, 3), (1, 9, 9)])
def test_classes_with_one_member(counts):
    y = np.repeat(np.arange(3), counts)
    X = 3 * np.eye(3)[y] + 0.1 * np.random.default_rng(0).normal(size=(len(y), 3))
    probe = fit_linear_probe(X, y, 3)
    assert (probe.compute_logits(X).argmax(1) == y).all()


def test_constant_features():
    y = np.array([0, 1, 0, 1])
    probe = fit_linear_probe(np.ones((4, 2)), y, 2)
    np.testing.assert_allclose(probe.compute_logits(np.ones((4, 2))), 0, atol=1e-6)
