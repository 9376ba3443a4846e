import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, MultiTaskLasso

from sktransfer.feature._group_lasso import GroupLasso


def problem(link, n_rows=60, n_features=20, n_outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    X -= X.mean(axis=0)
    scores = X[:, :3] @ rng.normal(size=(3, n_outputs)) + rng.normal(size=(n_rows, n_outputs))
    if link == "softmax":
        return X, np.eye(n_outputs)[scores.argmax(axis=1)]
    return X, (scores > 0).astype(float) if link == "sigmoid" else scores


def test_squares_give_what_scikit_learn_gives():
    X, targets = problem("identity")
    lasso = GroupLasso(X, targets, np.ones(60), "identity")
    coefficients, _, _ = lasso.solve(0.2, 1e-8)
    expected = MultiTaskLasso(alpha=0.2, tol=1e-10, max_iter=100_000).fit(X, targets).coef_.T
    np.testing.assert_allclose(coefficients, expected, atol=1e-6)
    np.testing.assert_array_equal(coefficients.any(axis=1), expected.any(axis=1))


def test_one_label_gives_what_scikit_learn_gives():
    X, targets = problem("sigmoid", n_outputs=1)
    lasso = GroupLasso(X, targets, np.ones(60), "sigmoid")
    coefficients, _, _ = lasso.solve(0.05, 1e-8)
    peer = LogisticRegression(
        l1_ratio=1, C=1 / (60 * 0.05), solver="saga", tol=1e-10, max_iter=100_000
    )
    peer.fit(X, targets[:, 0])
    np.testing.assert_allclose(coefficients[:, 0], peer.coef_[0], atol=1e-4)


@pytest.mark.parametrize("link", ["identity", "softmax", "sigmoid"])
@pytest.mark.parametrize("n_features", [20, 150])
def test_optimality_conditions(link, n_features):
    X, targets = problem(link, n_features=n_features)
    weight = np.linspace(0.5, 2, 60)
    lasso = GroupLasso(X, targets, weight, link)
    alpha = 0.2 * lasso.alpha_max
    coefficients, gradient, _ = lasso.solve(alpha, 1e-6)
    norms = np.linalg.norm(coefficients, axis=1)
    used = norms > 0
    assert 3 <= used.sum() < n_features
    expected = -alpha * coefficients[used] / norms[used, None]
    np.testing.assert_allclose(gradient[used], expected, atol=1e-4 * lasso.alpha_max)
    assert np.linalg.norm(gradient[~used], axis=1).max() <= alpha * 1.001


@pytest.mark.parametrize("link", ["identity", "softmax", "sigmoid"])
def test_nothing_is_used_from_alpha_max_on(link):
    lasso = GroupLasso(*problem(link), np.ones(60), link)
    assert not lasso.solve(1.001 * lasso.alpha_max, 1e-8)[0].any()
    assert lasso.solve(0.999 * lasso.alpha_max, 1e-8)[0].any(axis=1).sum() == 1


def test_a_row_of_weight_two_is_two_rows():
    X, targets = problem("softmax")
    counts = np.arange(60) % 3
    weighted = GroupLasso(X, targets, counts.astype(float), "softmax").solve(0.05, 1e-9)[0]
    rows = np.repeat(np.arange(60), counts)
    repeated = GroupLasso(X[rows], targets[rows], np.ones(len(rows)), "softmax").solve(0.05, 1e-9)
    np.testing.assert_allclose(weighted, repeated[0], atol=1e-7)


def test_many_rows_and_columns_converge():
    X, targets = problem("softmax", n_rows=600, n_features=700)
    lasso = GroupLasso(X, targets, np.ones(600), "softmax")
    assert lasso.solve(0.1 * lasso.alpha_max)[2] < 1000
