import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones import NetworkInput


def test_a_backbone_keeps_the_weights_it_was_made_of(small_network):
    backbone = Backbone(small_network)
    before = backbone.fingerprint
    with torch.no_grad():
        small_network.fc.weight.zero_()
    assert Backbone(backbone.copy_module()).fingerprint == before
    assert Backbone(small_network).fingerprint != before


def test_a_backbone_cannot_be_changed(small_network):
    backbone = Backbone(small_network)
    with pytest.raises(AttributeError, match="immutable"):
        backbone.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del backbone.input


def test_clones_and_copies_share_it(small_network):
    backbone = Backbone(small_network)
    assert clone(backbone) is backbone
    assert copy.deepcopy(backbone) is backbone


def test_pickle_keeps_the_fingerprint():
    backbone = Backbone(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), name="toy")
    restored = pickle.loads(pickle.dumps(backbone))
    assert restored == backbone
    assert restored.name == "toy"


@pytest.mark.parametrize("change", ["weight", "buffer", "setting", "input", "structure"])
def test_fingerprint_knows_everything_that_changes_the_output(small_network, change):
    before = Backbone(small_network).fingerprint
    assert Backbone(copy.deepcopy(small_network)).fingerprint == before
    network_input = None
    with torch.no_grad():
        if change == "weight":
            small_network.fc.weight[0, 0] += 1e-3
        elif change == "buffer":
            small_network.norm.running_mean[0] += 1e-3
        elif change == "setting":
            small_network.temperature = 2.0
        elif change == "input":
            network_input = NetworkInput(channels=1, mean=0.5)
        else:
            small_network.relu = nn.ELU()
    assert Backbone(small_network, input=network_input).fingerprint != before


def test_fingerprint_is_the_same_in_another_process():
    program = (
        "import torch; from torch import nn; from sktransfer import Backbone\n"
        "network = nn.Sequential(nn.Linear(3, 2), nn.Tanh()); nn.init.ones_(network[0].weight)\n"
        "nn.init.zeros_(network[0].bias); print(Backbone(network).fingerprint)"
    )
    run = [sys.executable, "-c", program]
    prints = {subprocess.run(run, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(prints) == 1


def test_layer_names_and_width(small_network):
    backbone = Backbone(small_network, input=NetworkInput(channels=1))
    assert backbone.layer_names == ("conv", "norm", "relu", "fc")
    assert backbone.n_features_out == 32
    assert Backbone(nn.Linear(7, 3)).n_features_out == 7
    assert Backbone(nn.ReLU()).n_features_out is None


def test_the_module_that_was_passed_is_left_as_it_is(small_network):
    small_network.train()
    Backbone(small_network)
    assert small_network.training
    assert all(parameter.requires_grad for parameter in small_network.parameters())


@pytest.mark.parametrize("module", [None, "glyphs", nn.Linear, np.eye(2)])
def test_what_is_no_module_is_refused(module):
    with pytest.raises(TypeError, match="expected a torch.nn.Module"):
        Backbone(module)


def test_repr_is_short(small_network):
    assert repr(Backbone(small_network)) == "Backbone('SmallNetwork', 261 parameters)"
