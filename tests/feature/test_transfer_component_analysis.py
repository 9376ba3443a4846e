import numpy as np
import pytest
from scipy.linalg import eigh

from sktransfer import SourceDomain, TransferComponentAnalysis
from sktransfer.feature._transfer_component_analysis import solve_transfer_components


def rows(n_source=25, n_target=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_source, 4)), rng.normal(size=(n_target, 4)) + [2, 1, 0, 0]


def matrices(K, n_source, n_target):
    """K H K and K L K as the paper has them."""
    n = n_source + n_target
    ell = np.repeat([1 / n_source, -1 / n_target], [n_source, n_target])
    return K @ (np.eye(n) - 1 / n) @ K, K @ np.outer(ell, ell) @ K


@pytest.mark.parametrize("mu", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_components_of_the_generalized_symmetric_problem(kernel, mu):
    X_source, X_target = rows()
    alignment = TransferComponentAnalysis(
        SourceDomain(X_source),
        n_components=3,
        kernel=kernel,
        gamma=0.3,
        regularization=mu,
        standardize=False,
    ).fit(X_target)
    X = np.concatenate([X_source, X_target])
    K = X @ X.T
    if kernel == "rbf":
        squares = (X**2).sum(axis=1)
        K = np.exp(-0.3 * (squares[:, None] + squares - 2 * K))
    scatter, discrepancy = matrices(K, 25, 20)
    values, W = eigh(scatter, discrepancy + mu * np.eye(45))
    assert alignment.objective_ == pytest.approx(values[-3:].sum(), rel=1e-6)
    expected = K @ W[:, :-4:-1]
    expected -= (expected[:25].mean(axis=0) + expected[25:].mean(axis=0)) / 2
    mapped = np.concatenate([alignment.transform_source(), alignment.transform(X_target)])
    signs = np.sign((mapped * expected).sum(axis=0))
    np.testing.assert_allclose(mapped, expected * signs, atol=1e-5 * np.abs(expected).max())


def test_no_other_directions_have_a_larger_objective():
    X_source, X_target = rows()
    features = np.concatenate([X_source, X_target])
    ell = np.repeat([1 / 25, -1 / 20], [25, 20])
    _, best = solve_transfer_components(features, np.ones(45), ell, 1.0, 2)
    scatter, discrepancy = matrices(features @ features.T, 25, 20)
    constraint = discrepancy + np.eye(45)
    rng = np.random.default_rng(0)
    others = []
    for _ in range(200):
        W = rng.normal(size=(45, 2))
        W = W @ np.linalg.inv(np.linalg.cholesky(W.T @ constraint @ W)).T
        np.testing.assert_allclose(W.T @ constraint @ W, np.eye(2), atol=1e-8)
        others.append(np.trace(W.T @ scatter @ W))
    assert max(others) < best


def test_small_regularization_makes_the_means_equal_and_a_large_one_does_not():
    X_source, X_target = rows(300, 200)

    def gap(mu):
        alignment = TransferComponentAnalysis(SourceDomain(X_source), regularization=mu)
        source, target = alignment.fit(X_target).source_, alignment.transform(X_target)
        return np.abs(source.mean(axis=0) - target.mean(axis=0)).max() / target.std()

    assert gap(1e-3) < 1e-3
    assert gap(1e9) > 1


def test_a_row_of_weight_two_is_two_rows():
    X_source, X_target = rows()
    ell = np.repeat([1 / 25, -1 / 20], [25, 20])
    repeated = np.repeat(np.concatenate([X_source, X_target]), 2, axis=0)
    twice = solve_transfer_components(repeated, np.ones(90), np.repeat(ell / 2, 2), 1.0, 2)
    weighted = solve_transfer_components(
        np.concatenate([X_source, X_target]), np.full(45, 2.0), ell, 1.0, 2
    )
    np.testing.assert_allclose(twice[0], weighted[0], atol=1e-9)
    assert twice[1] == pytest.approx(weighted[1])


def test_landmarks_come_near_the_exact_kernel():
    X_source, X_target = rows(150, 100)
    exact, near, again, far = (
        TransferComponentAnalysis(
            SourceDomain(X_source),
            n_components=2,
            kernel="rbf",
            max_landmarks=m,
            random_state=0,
        ).fit(X_target)
        for m in (250, 120, 120, 5)
    )
    np.testing.assert_array_equal(near.source_, again.source_)

    def miss(other):
        overlap = np.linalg.lstsq(other.source_, exact.source_, rcond=None)[0]
        return np.linalg.norm(other.source_ @ overlap - exact.source_)

    assert miss(near) < 0.02 * np.linalg.norm(exact.source_)
    assert miss(near) < miss(far) / 3


def test_gamma_by_default_is_one_over_the_median_squared_distance():
    X_source, X_target = np.zeros((1, 1)), np.array([[1.0], [3.0]])
    alignment = TransferComponentAnalysis(
        SourceDomain(X_source), kernel="rbf", standardize=False
    ).fit(X_target)
    assert alignment.gamma_ == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": "poly"}, "Got kernel='poly'"),
        ({"gamma": 0.0}, "Got gamma=0.0"),
        ({"regularization": 0}, "Got regularization=0, but expected a number > 0"),
        ({"standardize": "no"}, "Got standardize='no'"),
    ],
)
def test_bad_parameters(parameters, message):
    X_source, X_target = rows()
    with pytest.raises(ValueError, match=message):
        TransferComponentAnalysis(SourceDomain(X_source), **parameters).fit(X_target)
