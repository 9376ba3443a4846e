"""What every weighting keeps; a new one is one more line in WEIGHTINGS."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance import DomainClassifierWeighting

WEIGHTINGS = [
    DomainClassifierWeighting(random_state=0),
]
each_weighting = pytest.mark.parametrize(
    "weighting", [clone(w) for w in WEIGHTINGS], ids=lambda w: type(w).__name__
)


def check_weights(weights, n_source):
    assert weights.shape == (n_source,)
    assert weights.dtype == np.float64
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1)


@each_weighting
@pytest.mark.parametrize(("n_source", "n_target"), [(300, 300), (300, 40), (40, 300)])
@pytest.mark.parametrize("kind", ["mean", "variance", "correlation"])
def test_follows_the_true_ratio(weighting, kind, n_source, n_target):
    domains = make_covariate_shift(n_source, n_target, kind=kind, shift=1.2, random_state=3)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    check_weights(weights, n_source)
    ratio = np.exp(domains.log_ratio)
    ratio /= ratio.mean()
    assert spearmanr(weights, ratio).statistic > 0.5
    assert np.mean((weights - ratio) ** 2) < np.mean((1 - ratio) ** 2)


@each_weighting
def test_no_shift_gives_nearly_equal_weights(weighting):
    domains = make_covariate_shift(500, 500, shift=0, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    check_weights(weights, 500)
    assert weighting.effective_sample_size_ > 480


@each_weighting
def test_permuting_rows_permutes_weights(weighting):
    domains = make_covariate_shift(120, 80, shift=1.0, random_state=1)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    rng = np.random.default_rng(0)
    permuted, other = rng.permutation(120), rng.permutation(80)
    again = weighting.compute_weights(domains.X_source[permuted], domains.X_target[other])
    np.testing.assert_allclose(again, weights[permuted], rtol=1e-9)


@each_weighting
def test_scale_of_columns_does_not_matter(weighting):
    domains = make_covariate_shift(150, 100, shift=1.0, random_state=1)
    scale = np.array([1e6, 1e-6])
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    scaled = weighting.compute_weights(domains.X_source * scale, domains.X_target * scale)
    np.testing.assert_allclose(scaled, weights, rtol=1e-3)


@each_weighting
@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize(
    ("X_source", "X_target"),
    [
        (np.zeros((1, 2)), np.ones((5, 2))),
        (np.arange(8.0).reshape(4, 2), np.ones((1, 2))),
        (np.zeros((6, 3)), np.zeros((4, 3))),
        (np.arange(20.0).reshape(10, 2), np.arange(20.0).reshape(10, 2)),
        (np.arange(20.0).reshape(10, 2) % 3, np.arange(8.0).reshape(4, 2) % 3),
        (np.arange(6.0).reshape(3, 2), 100 + np.arange(6.0).reshape(3, 2)),
        (np.c_[np.arange(9.0), np.ones(9)], np.c_[np.arange(5.0), np.ones(5)]),
        (np.arange(10, dtype=np.uint8)[:, None], np.arange(4, dtype=np.float32)[:, None]),
    ],
    ids=[
        "one source row",
        "one target row",
        "all rows equal",
        "same rows in both",
        "duplicates in both",
        "no overlap",
        "constant column",
        "other dtypes",
    ],
)
def test_degenerate_rows(weighting, X_source, X_target):
    check_weights(weighting.compute_weights(X_source, X_target), len(X_source))


@each_weighting
def test_images_are_weighted_as_flat_rows(weighting):
    domains = make_covariate_shift(60, 40, 4, shift=1.0, random_state=0)
    flat = weighting.compute_weights(domains.X_source, domains.X_target)
    images = [X.reshape(-1, 2, 2) for X in (domains.X_source, domains.X_target)]
    np.testing.assert_array_equal(weighting.compute_weights(*images), flat)


@each_weighting
def test_flatten_and_clip(weighting):
    domains = make_covariate_shift(200, 100, shift=2.0, random_state=0)
    rows = domains.X_source, domains.X_target
    equal = clone(weighting).set_params(flatten=0).compute_weights(*rows)
    np.testing.assert_array_equal(equal, np.ones(200))
    clipped = clone(weighting).set_params(clip=2)
    weights = clipped.compute_weights(*rows)
    check_weights(weights, 200)
    assert weights.max() == pytest.approx(2)
    free = clone(weighting).set_params(clip=None)
    free.compute_weights(*rows)
    np.testing.assert_array_equal(free.log_ratio_, clipped.log_ratio_)
    assert free.effective_sample_size_ < clipped.effective_sample_size_
    assert free.max_share_ > clipped.max_share_ == pytest.approx(2 / 200)


@each_weighting
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"flatten": -0.5}, ValueError, "Got flatten=-0.5"),
        ({"flatten": 2}, ValueError, "Got flatten=2"),
        ({"clip": 0.5}, ValueError, "Got clip=0.5"),
        ({"clip": "no"}, TypeError, "Got clip='no'"),
    ],
)
def test_bad_parameters(weighting, parameters, error, message):
    with pytest.raises(error, match=message):
        clone(weighting).set_params(**parameters).compute_weights(np.eye(3), np.eye(3))


@each_weighting
def test_bad_rows(weighting):
    with pytest.raises(ValueError, match="source with 2 columns and a target with 3 columns"):
        weighting.compute_weights(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="infinity"):
        weighting.compute_weights(np.zeros((4, 2)), np.full((4, 2), np.inf))
    with pytest.raises(ValueError, match=r"X_target of shape \(0, 2\)"):
        weighting.compute_weights(np.zeros((4, 2)), np.zeros((0, 2)))


@each_weighting
def test_same_seed_same_weights_and_global_generator_untouched(weighting):
    domains = make_covariate_shift(60, 40, shift=1.0, random_state=0)
    before = np.random.get_state()[1].copy()
    first, second = (
        clone(weighting).compute_weights(domains.X_source, domains.X_target) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
