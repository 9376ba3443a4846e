import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from sktransfer.evaluation import LogME


def maximize_evidence(F, y):
    """Return the log evidence per row, from its definition, over both variances."""

    def loss(logs):
        signal, noise = np.exp(logs)
        covariance = noise * np.eye(len(F)) + signal * F @ F.T
        return -multivariate_normal.logpdf(y, cov=covariance)

    starts = [(0.0, 0.0), (-5.0, -1.0), (2.0, -5.0)]
    fits = [minimize(loss, start, method="Nelder-Mead", tol=1e-10) for start in starts]
    return -min(fit.fun for fit in fits) / len(F)


def draw(n, d, noise=1.0):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(n, d)) * np.geomspace(1, 0.1, d) + 0.5
    return F, (F[:, 0] + noise * rng.normal(size=n) > 0.5).astype(int)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (20, 20), (20, 60)])
def test_equals_the_maximum_of_the_evidence(n, d):
    """With more columns than rows d - n singular values are zero, and count."""
    F, y = draw(n, d)
    expected = np.mean([maximize_evidence(F, (y == label).astype(float)) for label in (0, 1)])
    assert LogME(center=False).score(F, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-4, 0.1, 100.0, 1e4])
@pytest.mark.parametrize("center", [True, False])
def test_does_not_depend_on_the_scale_of_features(factor, center):
    F, y = draw(50, 120)
    method = LogME(center=center)
    assert method.score(factor * F, y) == pytest.approx(method.score(F, y), abs=1e-9)


def test_a_constant_added_to_features_does_not_matter():
    F, y = draw(50, 20)
    shift = np.linspace(-30, 30, 20)
    assert LogME().score(F + shift, y) == pytest.approx(LogME().score(F, y), abs=1e-9)
    paper = LogME(center=False)
    assert abs(paper.score(F + shift, y) - paper.score(F, y)) > 0.01


def test_noise_is_worth_what_no_features_are_worth():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    nothing = LogME().score(np.ones((100, 3)), y)
    for d in (10, 100, 1000):
        assert nothing <= LogME().score(rng.normal(size=(100, d)), y) < nothing + 0.03


def test_features_that_hold_the_labels_give_a_large_number():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    F = np.hstack([np.eye(3)[y], rng.normal(size=(60, 5))])
    score = LogME().score(F, y)
    assert np.isfinite(score)
    assert score > LogME().score(F + 0.1 * rng.normal(size=F.shape), y) + 1


def test_numbers_do_not_depend_on_their_unit():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(40, 6))
    y = F[:, 0] + rng.normal(size=40)
    expected = maximize_evidence(F, (y - y.mean()) / y.std())
    assert LogME(center=False).score(F, y) == pytest.approx(expected, abs=1e-6)
    assert LogME(center=False).score(F, 1e6 * y) == pytest.approx(expected, abs=1e-6)
