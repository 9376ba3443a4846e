import numpy as np
import torch
from torch import nn

from sktransfer import Backbone, load_backbone
from sktransfer.backbones._side_by_side import SideBySide


def test_all_networks_are_given_the_same_rows():
    first, second = nn.Linear(3, 2), nn.Linear(3, 4)
    rows = torch.randn(5, 3)
    outputs = SideBySide(first, second)(rows)
    torch.testing.assert_close(outputs, torch.cat([first(rows), second(rows)], dim=1))


def test_a_file_holds_them(tmp_path):
    network = SideBySide(nn.Identity(), nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    backbone = Backbone(network)
    backbone.save(tmp_path / "both.safetensors")
    loaded = load_backbone(tmp_path / "both.safetensors")
    assert loaded == backbone
    rows = torch.randn(5, 3)
    with loaded.borrowed() as same, torch.no_grad():
        np.testing.assert_allclose(same(rows), network(rows))
