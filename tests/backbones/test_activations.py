import numpy as np
import pytest
import torch

from sktransfer import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._cache import ROW_CACHE
from sktransfer.backbones._extractor import FeatureExtractor

rng = np.random.default_rng(0)
IMAGES = rng.random((30, 8, 8)).astype(np.float32)


def test_activations_are_those_of_the_network_in_eval_mode(small_network):
    backbone = Backbone(small_network.train())
    (logits,) = compute_activations(backbone, IMAGES, layers=("output",), batch_size=7)
    with torch.no_grad():
        expected = small_network.eval()(torch.from_numpy(IMAGES[:, None]))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_each_distinct_row_is_sent_once(small_network):
    backbone = Backbone(small_network)
    twice = np.concatenate([IMAGES, IMAGES[::-1]])
    (features,) = compute_activations(backbone, twice)
    assert small_network.rows_seen == len(IMAGES)
    np.testing.assert_array_equal(features[: len(IMAGES)], features[::-1][: len(IMAGES)])
    (again,) = compute_activations(backbone, twice[10:20])
    assert small_network.rows_seen == len(IMAGES)
    np.testing.assert_array_equal(again, features[10:20])


def test_one_pass_serves_all_layers(small_network):
    backbone = Backbone(small_network)
    separate = [
        compute_activations(backbone, IMAGES, layers=(layer,), cache=False)[0]
        for layer in ("conv", "norm")
    ]
    small_network.rows_seen = 0
    together = compute_activations(backbone, IMAGES, layers=("conv", "norm"))
    assert small_network.rows_seen == len(IMAGES)
    for one, other in zip(separate, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_layer_asked_for_later_is_filled_in(small_network):
    backbone = Backbone(small_network)
    (conv,) = compute_activations(backbone, IMAGES[:20], layers=("conv",))
    both = compute_activations(backbone, IMAGES, layers=("conv", "norm"))
    np.testing.assert_allclose(both[0][:20], conv, rtol=1e-6)
    uncached = compute_activations(backbone, IMAGES, layers=("norm",), cache=False)
    np.testing.assert_allclose(both[1], uncached[0], rtol=1e-6)


def test_rows_of_any_number_type_and_memory_order_are_the_same_rows(small_network):
    backbone = Backbone(small_network)
    compute_activations(backbone, IMAGES)
    for same in (IMAGES.astype(np.float64), np.asfortranarray(IMAGES), IMAGES[:, None]):
        compute_activations(backbone, same)
    assert small_network.rows_seen == len(IMAGES)


def test_another_network_does_not_get_the_same_rows(small_network):
    (one,) = compute_activations(Backbone(small_network), IMAGES)
    with torch.no_grad():
        small_network.conv.weight.mul_(2)
    (other,) = compute_activations(Backbone(small_network), IMAGES)
    assert np.abs(one - other).max() > 0.1


def test_a_store_over_the_budget_is_kept_while_in_use_and_then_dropped(small_network, monkeypatch):
    monkeypatch.setattr(ROW_CACHE, "budget", 100)
    backbone = Backbone(small_network)
    (first,) = compute_activations(backbone, IMAGES)
    compute_activations(backbone, IMAGES)
    assert small_network.rows_seen == len(IMAGES)
    compute_activations(backbone, IMAGES, layers=("conv",))
    (again,) = compute_activations(backbone, IMAGES)
    np.testing.assert_allclose(first, again, rtol=1e-6)
    assert small_network.rows_seen == 3 * len(IMAGES)


def test_small_networks_on_tables_are_not_cached_by_default():
    backbone = Backbone(torch.nn.Linear(4, 3))
    X = rng.random((6, 4))
    compute_activations(backbone, X)
    assert not any(key[0] == backbone.fingerprint for key in ROW_CACHE._stores)
    compute_activations(backbone, X, cache=True)
    assert any(key[0] == backbone.fingerprint for key in ROW_CACHE._stores)


def test_the_extractor_passes_gradients(small_network):
    extractor = FeatureExtractor(small_network)
    extractor(torch.from_numpy(IMAGES[:, None])).sum().backward()
    assert small_network.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_batches_do_not_matter(small_network, batch_size):
    backbone = Backbone(small_network)
    (expected,) = compute_activations(backbone, IMAGES, cache=False, batch_size=30)
    (features,) = compute_activations(backbone, IMAGES, cache=False, batch_size=batch_size)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
