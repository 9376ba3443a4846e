"""Images of several sizes, and images that cannot be read, over the batches of one pass."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones import ImageRows, NetworkInput, clear_row_cache
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones.cache._cache import ROW_CACHE
from sktransfer.exceptions import RowCacheWarning

rng = np.random.default_rng(0)
SMALL = [rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(4)]
BIG = [rng.integers(0, 255, (12, 12, 3), dtype=np.uint8) for _ in range(4)]


@pytest.fixture(autouse=True)
def nothing_is_known():
    clear_row_cache()


class Noisy(nn.Module):
    def forward(self, maps):
        return maps + torch.rand_like(maps)


def make_backbone(*layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers)
    return Backbone(network, input=NetworkInput(channels=3))


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("pooling", ["flatten", "avg"])
@pytest.mark.parametrize("images", [SMALL + BIG, BIG + SMALL], ids=["small first", "big first"])
def test_images_of_two_sizes_in_different_batches_are_an_error(images, pooling, cache):
    with pytest.raises(ValueError, match="Got X with images that differ in size.*crop=224"):
        compute_activations(
            make_backbone(),
            ImageRows(images),
            layers=("0",),
            pooling=pooling,
            batch_size=4,
            cache=cache,
        )


@pytest.mark.parametrize("pooling", ["flatten", "avg"])
@pytest.mark.parametrize(("known", "new"), [(SMALL, BIG), (BIG, SMALL)])
def test_images_of_another_size_than_those_in_the_cache(known, new, pooling, tmp_path):
    backbone = make_backbone()
    for options in ({}, {"cache_dir": tmp_path}):
        clear_row_cache()
        options = {"layers": ("0",), "pooling": pooling, "cache": True, **options}
        compute_activations(backbone, ImageRows(known), **options)
        for images in (known + new, new + known):
            with pytest.raises(ValueError, match="images that differ in size"):
                compute_activations(backbone, ImageRows(images), **options)


def test_a_random_network_is_found_out_behind_images_that_cannot_be_read():
    backbone = make_backbone(Noisy())
    rows = ImageRows(["/no/such.png", *SMALL], on_error="nan")
    with pytest.warns(RowCacheWarning, match="random"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got 1 of 5 images")
        compute_activations(backbone, rows, batch_size=1)
    assert not any(s.nbytes for k, s in ROW_CACHE._stores.items() if k[0] == backbone.fingerprint)


@pytest.mark.filterwarnings("ignore:Got .* images that cannot be read")
def test_a_network_is_folded_where_the_first_image_cannot_be_read():
    backbone = make_backbone(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    rows = ImageRows(["/no/such.png", *SMALL], on_error="nan")
    (features,) = compute_activations(backbone, rows, cache=False)
    (fast,) = backbone._fast_networks._ready.values()
    assert "forward" in vars(fast.get_submodule("1"))
    (expected,) = compute_activations(backbone, ImageRows(SMALL), cache=False)
    assert np.isnan(features[0]).all()
    np.testing.assert_allclose(features[1:], expected, rtol=1e-5, atol=1e-6)


class Sizes(nn.Module):
    seen = []

    def forward(self, images):
        Sizes.seen.append(len(images))
        return images.mean((2, 3))


@pytest.mark.filterwarnings("ignore:Got .* images that cannot be read")
@pytest.mark.parametrize("network_input", [{}, {"resize": 512, "crop": 512}])
def test_automatic_batches_go_by_an_image_that_can_be_read(network_input, monkeypatch):
    decoded = []
    decode = ImageRows._decode
    monkeypatch.setattr(
        ImageRows, "_decode", lambda self, *args: decoded.append(1) or decode(self, *args)
    )
    backbone = Backbone(Sizes(), input=NetworkInput(channels=3, **network_input))
    images = [np.zeros((512, 512, 3), np.uint8)] * 20
    for unread in ([], ["/no/such.png"]):
        Sizes.seen.clear()
        decoded.clear()
        rows = ImageRows(unread + images, on_error="nan")
        compute_activations(backbone, rows, layers=("output",), batch_size="auto", cache=False)
        assert Sizes.seen == [16 - len(unread), 4 + len(unread)]
        if network_input:
            assert len(decoded) == len(rows)
