import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import cache_key, compute_activations
from sktransfer.backbones.cache._tiers import cache_info
from sktransfer.exceptions import RowCacheWarning

rng = np.random.default_rng(0)
IMAGES = rng.random((12, 1, 6, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_is_known():
    clear_row_cache()


class Centred(nn.Module):
    def forward(self, rows):
        return rows - rows.mean(0)


class Shifted(nn.Module):
    def forward(self, rows):
        return rows + torch.roll(rows, 1, 0)


class Noisy(nn.Module):
    def forward(self, rows):
        return rows + 0.1 * torch.randn_like(rows)


class DropsAlways(nn.Module):
    def forward(self, rows):
        return nn.functional.dropout(rows, 0.5, training=True)


class NeedsManyRows(nn.Module):
    def forward(self, rows):
        if len(rows) < 4:
            raise RuntimeError("too few rows")
        return rows


class Counted(nn.Module):
    sizes = []

    def forward(self, rows):
        Counted.sizes.append(len(rows))
        return rows


def make_network(layer, inner=()):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.Conv2d(1, 4, 3)
        return nn.Sequential(first, *inner, nn.ReLU(), nn.Flatten(), layer)


REFUSED = {
    "mean over rows": (make_network(Centred()), "the other rows of its batch"),
    "neighbours": (make_network(Shifted()), "the other rows of its batch"),
    "noise": (make_network(Noisy()), "random"),
    "dropout that is always on": (make_network(DropsAlways()), "random"),
    "batch statistics": (
        make_network(nn.Flatten(), [nn.BatchNorm2d(4, track_running_stats=False)]),
        r"'1' normalises by the batch \(track_running_stats=False\)",
    ),
    "size of the batch": (make_network(NeedsManyRows()), "batch of two rows"),
}


@pytest.mark.parametrize("cache", ["auto", True])
@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_must_not_be_cached_are_not_and_say_why(name, cache, tmp_path):
    network, reason = REFUSED[name]
    backbone = Backbone(network, name=name)
    if name == "size of the batch":
        images = np.concatenate([IMAGES, IMAGES])
    else:
        images = IMAGES
    with pytest.warns(RowCacheWarning, match=f"not kept in the row cache.*{reason}"):
        (features,) = compute_activations(backbone, images, cache=cache, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*"))
    # Said once; and all rows go through in their order, as they do without a cache.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (again,) = compute_activations(backbone, images, cache=cache)
    (uncached,) = compute_activations(backbone, images, cache=False)
    if "random" not in reason:
        np.testing.assert_array_equal(features, uncached)
        np.testing.assert_array_equal(again, uncached)
    else:
        assert np.abs(again - features).max() > 0


@pytest.mark.parametrize("name", ["mean over rows", "noise", "batch statistics"])
def test_one_row_is_enough_to_tell(name):
    backbone = Backbone(REFUSED[name][0], name=name)
    with pytest.warns(RowCacheWarning, match="not kept in the row cache"):
        compute_activations(backbone, IMAGES[:1])


def test_a_pooling_that_mixes_rows():
    backbone = Backbone(make_network(nn.Flatten()))

    def centre(maps):
        return maps.mean((2, 3)) - maps.mean((0, 2, 3))

    with pytest.warns(RowCacheWarning, match="other rows"):
        compute_activations(backbone, IMAGES, layers=("0",), pooling=centre)
    compute_activations(backbone, IMAGES, layers=("0",))


def test_it_is_tried_once_and_with_two_rows(tmp_path):
    backbone = Backbone(make_network(Counted()))
    Counted.sizes.clear()
    compute_activations(backbone, IMAGES[:8], cache_dir=tmp_path)
    assert Counted.sizes == [8, 2]
    compute_activations(backbone, IMAGES, cache_dir=tmp_path)
    assert Counted.sizes == [8, 2, 4]
    # What another process has kept was tried there.
    clear_row_cache()
    compute_activations(backbone, IMAGES, cache_dir=tmp_path)
    assert Counted.sizes == [8, 2, 4]
    compute_activations(backbone, IMAGES, cache=False)
    assert Counted.sizes == [8, 2, 4, 12]


ORDINARY = {
    "batch norm": [nn.BatchNorm2d(4), nn.Dropout(0.5)],
    "instance norm": [nn.InstanceNorm2d(4)],
    "group norm": [nn.GroupNorm(2, 4)],
    "sizes": [nn.AdaptiveAvgPool2d(2)],
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("n_rows", [1, 2, 12])
def test_ordinary_networks_are_kept(name, n_rows):
    backbone = Backbone(make_network(nn.Flatten(), ORDINARY[name]))
    (first,) = compute_activations(backbone, IMAGES[:n_rows])
    (again,) = compute_activations(backbone, IMAGES[:n_rows])
    np.testing.assert_array_equal(first, again)


def test_global_random_state_is_left_alone_for_networks_that_do_not_draw():
    state = torch.get_rng_state()
    compute_activations(Backbone(make_network(nn.Dropout())), IMAGES)
    assert torch.equal(torch.get_rng_state(), state)


class RandomEnd(nn.Module):
    """Ordinary at layer "first", random at the output by `scale` times the largest activation."""

    def __init__(self, scale):
        super().__init__()
        self.first, self.scale = nn.Linear(4, 8), scale

    def forward(self, rows):
        rows = self.first(rows)
        return rows + self.scale * rows.abs().max() * torch.rand(len(rows), 1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("folds", [True, False])
def test_little_randomness_is_found_in_any_precision(precision, folds):
    layers = [nn.BatchNorm2d(4), nn.ReLU()] if folds else [nn.ReLU()]

    class Last(nn.Module):
        def forward(self, maps):
            means = maps.mean((2, 3))
            return means + 0.02 * means.abs().max() * torch.rand(len(means), 1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), *layers, Last())
        with pytest.warns(RowCacheWarning, match="it is random"):
            compute_activations(
                Backbone(network), IMAGES, layers=("output",), precision=precision, cache=True
            )


def test_networks_in_bfloat16_that_are_not_random_are_kept(monkeypatch):
    backbone = Backbone(make_network(nn.Flatten(), [nn.BatchNorm2d(4)]))
    (first,) = compute_activations(backbone, IMAGES, precision="bfloat16", cache=True)
    (again,) = compute_activations(backbone, IMAGES[::-1], precision="bfloat16", cache=True)
    np.testing.assert_array_equal(first, again[::-1])
    assert cache_info([cache_key(backbone, "penultimate", "auto", "bfloat16")]).hits == 12


def test_the_verdict_is_of_the_layer_that_is_random():
    backbone = Backbone(RandomEnd(0.1))
    X = rng.random((6, 4))
    with pytest.warns(
        RowCacheWarning, match="sent each time: at 'output', it is random[^;]*again. Exp"
    ):
        compute_activations(backbone, X, layers=("first", "output"), cache=True)
    for _ in range(2):
        compute_activations(backbone, X, layers=("first",), cache=True)
        compute_activations(backbone, X, layers=("output",), cache=True)
    assert cache_info([cache_key(backbone, "first", "auto")])[:3] == (6, 12, 6)
    assert cache_info([cache_key(backbone, "output", "auto")]).rows == 0


def test_a_network_is_tried_again_once_the_cache_is_cleared():
    backbone = Backbone(RandomEnd(0.1))
    X = rng.random((6, 4))
    for _ in range(2):
        with pytest.warns(RowCacheWarning, match="it is random"):
            compute_activations(backbone, X, layers=("output",), cache=True)
        clear_row_cache()
