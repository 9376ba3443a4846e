import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone, load_backbone
from sktransfer.backbones import _layers
from sktransfer.backbones._layers import resolve_layers

rng = np.random.default_rng(0)
IMAGES = rng.random((4, 8, 8)).astype(np.float32)
ROWS = rng.random((4, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(_layers, "_ALL_LAYERS", {})


def test_names_stay_as_they_are():
    glyphs = load_backbone("glyphs")
    assert resolve_layers("penultimate", glyphs, IMAGES) == ("penultimate",)
    assert resolve_layers(["stage1", "stem.2:input"], glyphs, IMAGES) == ("stage1", "stem.2:input")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("stage*", ("stage1", "stage2", "stage3")),
        ("st*.0", ("stem.0", "stage2.0")),
        ("stage[13]", ("stage1", "stage3")),
        ("stage?:input", ("stage1:input", "stage2:input", "stage3:input")),
        (["stage*", "stage1", "pool"], ("stage1", "stage2", "stage3", "pool")),
    ],
)
def test_patterns_stay_within_a_level_and_give_each_layer_once(patterns, expected):
    assert resolve_layers(patterns, load_backbone("glyphs"), IMAGES) == expected


def test_a_pattern_without_a_match_is_named_with_near_misses():
    with pytest.raises(ValueError, match=r"Got layers='stagge\*'.*none of.*Did you mean 'stage"):
        resolve_layers("stagge*", load_backbone("glyphs"), IMAGES)


def test_patterns_leave_out_what_only_holds_layers():
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Linear(6, 6)])
    network.block_norm = nn.LayerNorm(6)
    network.forward = lambda x: network.block_norm(network.blocks[0](x))
    assert resolve_layers("block*", Backbone(network), ROWS) == ("block_norm",)


def test_all_is_every_block_and_the_end():
    glyphs = load_backbone("glyphs")
    expected = ("stage1", "stage2.0", "stage2.1", "stage3", "penultimate")
    assert resolve_layers("all", glyphs, IMAGES)[1:] == expected
    assert resolve_layers(["all", "stem"], glyphs, IMAGES)[-1] == "stem"


def test_all_leaves_out_the_head_and_an_end_that_is_a_block():
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    assert resolve_layers("all", Backbone(network), ROWS) == ("1", "3")
    assert resolve_layers("all", Backbone(network[:2]), ROWS) == ("1",)
    assert resolve_layers("all", Backbone(nn.Linear(6, 2)), ROWS) == ("penultimate",)


def test_all_leaves_out_a_block_that_holds_the_head():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(5), nn.Linear(5, 2)

        def forward(self, x):
            return self.fc(self.norm(x))

    network = nn.Sequential(nn.Linear(6, 5), Head())
    assert resolve_layers("all", Backbone(network), ROWS) == ("0", "penultimate")


def test_all_leaves_out_layers_that_are_never_called():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.spare, self.last = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x):
            return self.last(self.first(x).relu())

    assert resolve_layers("all", Backbone(Auxiliary()), ROWS) == ("first", "penultimate")


def test_all_is_found_once_per_network_and_shape_of_rows(small_network):
    backbone = Backbone(small_network)
    first = resolve_layers("all", backbone, IMAGES)
    seen = small_network.rows_seen
    assert resolve_layers("all", Backbone(small_network), IMAGES[2:]) == first
    assert small_network.rows_seen == seen
    assert first == ("conv", "penultimate")


def make(library, name, **options):
    module = pytest.importorskip(library)
    models = module.models if library == "torchvision" else module
    with torch.random.fork_rng():
        return getattr(models, name)(**options)


def test_blocks_of_networks_of_others():
    images = rng.random((2, 3, 32, 32)).astype(np.float32)
    resnet = make("torchvision", "resnet18", weights=None)
    assert resolve_layers("all", Backbone(resnet), images) == (
        "conv1",
        *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)),
    )
    assert resolve_layers("layer*", Backbone(resnet), images) == tuple(
        f"layer{stage}" for stage in (1, 2, 3, 4)
    )
    vit = make(
        "timm",
        "create_model",
        model_name="vit_tiny_patch16_224",
        img_size=32,
        depth=3,
        pretrained=False,
    )
    assert resolve_layers("all", Backbone(vit), images) == (
        "patch_embed",
        "blocks.0",
        "blocks.1",
        "blocks.2",
        "penultimate",
    )
