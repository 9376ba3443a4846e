import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge

from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._objectives import Multiclass, Multilabel, Regression


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


def fit(X, y, n_classes=3, **options):
    objective = Multiclass(n_classes)
    return fit_linear_probe(X, objective.encode(y), objective, **options)


@pytest.mark.parametrize(("n_rows", "n_features"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_the_logistic_regression_of_the_chosen_penalty(n_rows, n_features, n_classes):
    X, y = make_rows(n_rows, n_features, n_classes)
    probe = fit(X, y, n_classes)
    assert probe.C in Multiclass.penalties
    unit = (X - probe.center) / probe.scale / np.sqrt(n_features)
    # With two classes scikit-learn has one vector of coefficients, and here they are two halves.
    C = 2 * probe.C if n_classes == 2 else probe.C
    expected = LogisticRegression(C=C, max_iter=5000, tol=1e-8).fit(unit, y).predict_proba(unit)
    np.testing.assert_allclose(softmax(probe.compute_outputs(X), axis=1), expected, atol=2e-3)


def test_scale_and_position_of_the_features_do_not_matter():
    X, y = make_rows(60, 8)
    probe, moved = fit(X, y), fit(1000 * X + 7, y)
    assert moved.C == probe.C
    np.testing.assert_allclose(
        moved.compute_outputs(1000 * X + 7), probe.compute_outputs(X), atol=1e-2
    )


def test_noise_gets_a_stronger_penalty_than_signal():
    X, y = make_rows(200, 8)
    noise = np.random.default_rng(0).permutation(y)
    assert fit(X, noise).C < fit(X, y).C


def test_rows_of_weight_zero_do_not_count():
    X, y = make_rows(60, 8)
    weight = np.ones(60)
    weight[30:] = 0
    wrong = np.where(weight > 0, y, (y + 1) % 3)
    probe = fit(X, wrong, sample_weight=weight)
    assert (probe.compute_outputs(X[:30]).argmax(1) == y[:30]).mean() > 0.9


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 2, 3), (1, 9, 9)])
def test_classes_with_one_member(counts):
    y = np.repeat(np.arange(3), counts)
    X = 3 * np.eye(3)[y] + 0.1 * np.random.default_rng(0).normal(size=(len(y), 3))
    probe = fit(X, y)
    assert (probe.compute_outputs(X).argmax(1) == y).all()


def test_constant_features():
    y = np.array([0, 1, 0, 1])
    probe = fit(np.ones((4, 2)), y, 2)
    np.testing.assert_allclose(probe.compute_outputs(np.ones((4, 2))), 0, atol=1e-6)


def test_one_row_per_class_still_gives_a_model():
    X = 3 * np.eye(3)
    assert (fit(X, np.arange(3)).compute_outputs(X).argmax(1) == np.arange(3)).all()


def test_several_labels_are_several_logistic_regressions():
    X, y = make_rows(80, 6)
    labels = np.column_stack([y == 0, y > 0, X[:, 0] > 0]).astype(int)
    objective = Multilabel(3)
    probe = fit_linear_probe(X, objective.encode(labels), objective)
    unit = (X - probe.center) / probe.scale / np.sqrt(6)
    for i in range(3):
        expected = LogisticRegression(C=probe.C, max_iter=5000).fit(unit, labels[:, i])
        np.testing.assert_allclose(
            probe.compute_outputs(X)[:, i], expected.decision_function(unit), rtol=0.02, atol=0.02
        )


def test_a_label_that_never_occurs_is_no_error():
    X, y = make_rows(40, 6)
    labels = np.column_stack([y == 0, np.zeros(40), np.ones(40)])
    objective = Multilabel(3)
    outputs = fit_linear_probe(X, objective.encode(labels), objective).compute_outputs(X)
    assert (outputs[:, 1] < -3).all()
    assert (outputs[:, 2] > 3).all()


@pytest.mark.parametrize("width", [4, 60])
def test_real_targets_are_ridge_regression(width):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, width))
    y = X[:, :2] + 0.1 * rng.normal(size=(40, 2))
    weight = rng.uniform(0.5, 2, size=40)
    objective = Regression(2)
    probe = fit_linear_probe(X, objective.encode(y), objective, sample_weight=weight)
    unit = (X - probe.center) / probe.scale / np.sqrt(width)
    expected = Ridge(alpha=1 / probe.C).fit(unit, y, sample_weight=weight).predict(unit)
    np.testing.assert_allclose(probe.compute_outputs(X), expected, rtol=1e-3, atol=1e-3)


def test_few_rows_leave_a_good_start_as_it_is_and_many_move_a_bad_one():
    X, y = make_rows(200, 8)
    full = fit(X, y)
    start = full.coef / full.scale, full.intercept - full.coef @ full.center / full.scale
    few = np.concatenate([np.flatnonzero(y == c)[:2] for c in range(3)])
    kept = fit(X[few], y[few], start=start)
    good = (full.compute_outputs(X).argmax(1) == y).mean()
    assert (kept.compute_outputs(X).argmax(1) == y).mean() > good - 0.03
    assert (fit(X[few], y[few]).compute_outputs(X).argmax(1) == y).mean() < good
    wrong = start[0][[1, 2, 0]], start[1][[1, 2, 0]]
    moved = fit(X, y, start=wrong)
    assert (moved.compute_outputs(X).argmax(1) == y).mean() > good - 0.03
    alone = fit(X[few][:3], np.arange(3), start=start)
    np.testing.assert_allclose(alone.compute_outputs(X), full.compute_outputs(X), atol=1e-6)
