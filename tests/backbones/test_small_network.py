import pytest
import torch

from sktransfer import Backbone, load_backbone
from sktransfer.backbones._small_network import make_small_network


@pytest.mark.parametrize(
    ("channels", "size", "stages", "width"),
    [
        (1, (8, 8), ["stage1"], 256),
        (3, (32, 32), ["stage1", "stage2", "stage3"], 1024),
        (3, (96, 64), ["stage1", "stage2", "stage3"], 1024),
        (1, (16, 40), ["stage1", "stage2"], 512),
        (1, (4, 9), ["stage1"], 256),
        (2, (1, 1), ["stage1"], 256),
    ],
)
def test_one_stage_for_each_halving_and_features_of_four_quadrants(channels, size, stages, width):
    network = make_small_network(channels, size)
    names = [name for name, _ in network.named_children()]
    assert names == ["stem", *stages, "pool", "flatten"]
    assert network(torch.rand(2, channels, *size)).shape == (2, width)


def test_a_row_is_the_same_in_every_batch_also_in_training():
    network = make_small_network(1, (16, 16)).train()
    images = torch.rand(9, 1, 16, 16)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


def test_it_can_be_saved_without_code(tmp_path):
    backbone = Backbone(make_small_network(3, (16, 16)))
    backbone.save(tmp_path / "small.safetensors")
    assert load_backbone(tmp_path / "small.safetensors").fingerprint == backbone.fingerprint
