import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from sktransfer.evaluation import HScore
from sktransfer.evaluation._hscore import measure_shrinkage
from sktransfer.evaluation._principal_axes import standardize


def draw(n, d, n_classes=4):
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    scales = np.geomspace(1, 0.1, d)
    return (rng.normal(size=(n, d)) + rng.normal(size=(n_classes, d))[y]) * scales, y


def score_by_definition(F, y, covariance, shrinkage):
    F = F - F.mean(axis=0)
    means = np.array([F[y == label].mean(axis=0) for label in np.unique(y)])[y]
    between = means.T @ means / len(F)
    return (1 - shrinkage) * np.trace(np.linalg.pinv(covariance) @ between)


@pytest.mark.parametrize(("n", "d"), [(100, 8), (30, 30), (40, 150)])
def test_equals_its_definition_with_the_covariance_of_scikit_learn(n, d):
    F, y = draw(n, d)
    covariance, shrinkage = ledoit_wolf(F)
    expected = score_by_definition(F, y, covariance, shrinkage)
    assert HScore().score(F, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("n", "d"), [(100, 8), (40, 150)])
def test_equals_its_definition_with_a_share_of_the_users(n, d, shrinkage):
    F, y = draw(n, d)
    sample = np.cov(F.T, bias=True)
    mean = np.trace(sample) / d
    covariance = (1 - shrinkage) * sample + shrinkage * mean * np.eye(d)
    expected = score_by_definition(F, y, covariance, shrinkage)
    assert HScore(shrinkage=shrinkage).score(F, y) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(200, 10), (20, 20), (10, 300), (50, 1)])
def test_shrinkage_is_that_of_scikit_learn(n, d):
    features = standardize(draw(n, d)[0])
    for gram in (features.T @ features, features @ features.T):
        found = measure_shrinkage(features, gram)
        assert found == pytest.approx(ledoit_wolf_shrinkage(features), abs=1e-10)


def test_raw_score_of_noise_saturates_and_the_shrunken_one_does_not():
    rng = np.random.default_rng(0)
    noise, y = rng.normal(size=(200, 512)), np.arange(200) % 10
    assert HScore(shrinkage=0).score(noise, y) == pytest.approx(9)
    assert HScore().score(noise, y) < 0.5


def test_lies_between_zero_and_the_number_of_classes_less_one():
    y = np.arange(400) % 4
    best = HScore().score(np.eye(4)[y] + 1e-3 * np.random.default_rng(0).normal(size=(400, 4)), y)
    assert 2.8 < best <= 3
    assert HScore().score(np.ones((400, 4)), y) == 0


def test_of_numbers_is_their_share_of_variance():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(5000, 1))
    y = f[:, 0] + rng.normal(size=5000)
    r2 = np.corrcoef(f[:, 0], y)[0, 1] ** 2
    assert HScore().score(f, y) == pytest.approx(r2, abs=1e-3)
