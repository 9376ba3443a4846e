import numpy as np
import pytest
import scipy.sparse
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.feature import _block_scaling
from sktransfer.feature._block_scaling import BlockMoments

rng = np.random.default_rng(0)
BLOCK = rng.normal(loc=5, scale=[1, 2, 3], size=(50, 3))


def test_variances_sum_up_to_the_number_of_columns_of_the_input():
    scale = BlockMoments.of(BLOCK).find_scale(4)
    assert (BLOCK / scale).var(axis=0).sum() == pytest.approx(4)


def test_chunks_in_any_order_give_the_scale_of_all_rows(monkeypatch):
    expected = BlockMoments.of(BLOCK).find_scale(1)
    parts = [BlockMoments.of(part) for part in np.split(BLOCK, [1, 20, 33])]
    merged = parts[2].add(parts[0]).add(parts[3].add(parts[1]))
    assert merged.find_scale(1) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(_block_scaling, "_PART", 7)
    assert BlockMoments.of(BLOCK).find_scale(1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -3e-20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_block_has_no_scale(value, dtype):
    assert BlockMoments.of(np.full((1000, 7), value, dtype=dtype)).find_scale(3) == 1


def test_a_block_of_one_row_has_no_scale():
    assert BlockMoments.of(BLOCK[:1]).find_scale(3) == 1


def test_missing_values_are_left_out():
    holes = BLOCK.copy()
    holes[::2, 1] = np.nan
    holes[:, 2] = np.nan
    expected = np.sqrt(BLOCK[:, 0].var() + BLOCK[1::2, 1].var())
    assert BlockMoments.of(holes).find_scale(1) == pytest.approx(expected)


def test_sparse_blocks():
    dense = np.where(rng.random((30, 4)) < 0.3, 2.0, 0.0)
    expected = BlockMoments.of(dense).find_scale(1)
    sparse = scipy.sparse.csr_array(dense)
    assert BlockMoments.of(sparse).find_scale(1) == pytest.approx(expected)


def make_noise_network(n_inputs, width):
    """Activations that are large, and know nothing of the first inputs."""
    network = nn.Sequential(nn.Linear(n_inputs, width), nn.Identity())
    draws = np.random.default_rng(1).normal(scale=30, size=(width, n_inputs))
    draws[:, : n_inputs // 2] = 0
    state = {"0.weight": nn.Parameter(network[0].weight.new_tensor(draws))}
    network.load_state_dict(state, strict=False)
    return Backbone(network)


def make_rows(n):
    """20 columns that tell two classes apart, and 20 that do not."""
    y = rng.integers(2, size=n)
    informative = rng.normal(size=(n, 20)) + 1.2 * y[:, None]
    return np.hstack([informative, rng.normal(size=(n, 20))]), y


def test_many_activations_do_not_drown_few_inputs():
    X, y = make_rows(600)
    network = make_noise_network(40, 512)

    def score(**parameters):
        transformer = FeatureTransferTransformer(network, layers="output", **parameters)
        pipeline = make_pipeline(transformer, KNeighborsClassifier(15))
        return pipeline.fit(X[:300], y[:300]).score(X[300:], y[300:])

    alone = KNeighborsClassifier(15).fit(X[:300], y[:300]).score(X[300:], y[300:])
    assert alone > 0.95
    assert score(mode="concat") > alone - 0.03
    assert score(mode="concat", scale_blocks=False) < alone - 0.2


def test_blocks_are_divided_by_one_number_each_fitted_on_the_training_rows():
    X, _ = make_rows(60)
    network = nn.Sequential(nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh())
    raw = FeatureTransferTransformer(network, layers=["1", "3"])
    scaled = FeatureTransferTransformer(network, layers=["1", "3"], mode="concat")
    features = scaled.fit(X[:40]).transform(X)
    blocks = [X, *np.split(raw.fit(X).transform(X), [8], axis=1)]
    assert scaled.block_scales_.shape == (3,)
    for block, scale, found in zip(
        blocks, scaled.block_scales_, np.split(features, [40, 48], axis=1), strict=True
    ):
        np.testing.assert_allclose(found, block / scale, rtol=1e-5)
        assert found[:40].var(axis=0).sum() == pytest.approx(40, rel=1e-5)
    assert scaled.get_feature_names_out()[:40].tolist() == [f"x{i}" for i in range(40)]
    before = scaled.block_scales_
    scaled.partial_fit(X * 7)
    np.testing.assert_array_equal(scaled.block_scales_, before)
    again = FeatureTransferTransformer(network, layers=["1", "3"], mode="concat").fit(X[:40])
    np.testing.assert_array_equal(again.block_scales_, before)


def test_a_standardised_input_and_a_constant_block_stay_as_they_are():
    X, _ = make_rows(50)
    X = (X - X.mean(0)) / X.std(0)
    dead = nn.Sequential(nn.Linear(40, 4), nn.ReLU())
    nn.init.constant_(dead[0].bias, -1000.0)
    features = FeatureTransferTransformer(dead, mode="concat").fit_transform(X)
    np.testing.assert_allclose(features[:, :40], X, rtol=1e-12)
    assert (features[:, 40:] == 0).all()


def test_replacing_scales_only_if_asked():
    X, _ = make_rows(50)
    network = nn.Sequential(nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh())
    raw = FeatureTransferTransformer(network, layers="all").fit(X)
    np.testing.assert_array_equal(raw.block_scales_, [1, 1])
    scaled = FeatureTransferTransformer(network, layers="all", scale_blocks=True)
    for block in np.split(scaled.fit_transform(X), [8], axis=1):
        assert block.var(axis=0).sum() == pytest.approx(40, rel=1e-5)


def test_bytes_are_scaled_as_numbers(small_network):
    images = rng.integers(256, size=(20, 8, 8), dtype=np.uint8)
    transformer = FeatureTransferTransformer(small_network, mode="concat")
    features = transformer.fit_transform(images)
    assert features.dtype == np.float32
    assert features[:, :64].var(axis=0).sum() == pytest.approx(64, rel=1e-5)


def test_fitting_and_transforming_sends_each_row_once_without_a_cache(small_network, digits):
    images = digits[0][:50]
    transformer = FeatureTransferTransformer(small_network, mode="concat", cache=False)
    transformer.fit_transform(images)
    # One more tells the width.
    assert small_network.rows_seen == 51
