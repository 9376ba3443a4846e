import pytest
import torch
from torch import nn

from sktransfer.training import SCARF
from sktransfer.training._objectives import Multiclass
from sktransfer.training._pretraining_network import PretrainingNetwork, PretrainingObjective

TARGETS = torch.eye(3)[[0, 1, 2, 0, 1]]


def make(supervised, scarf):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(4, 3) if supervised else None
        projection = nn.Linear(4, 2) if scarf else None
        network = PretrainingNetwork(nn.Linear(6, 4), head, projection)
        rows = torch.randn(5, 2, 6) if scarf else torch.randn(5, 6)
    return network, PretrainingObjective(Multiclass(3) if supervised else None, scarf), rows


def test_labels_alone_need_no_copies():
    network, objective, rows = make(True, None)
    outputs = network(rows)
    assert outputs.shape == (5, 3)
    expected = Multiclass(3).losses(outputs, TARGETS)
    assert torch.equal(objective.losses(outputs, TARGETS), expected)


def test_rows_alone_need_no_labels():
    network, objective, rows = make(False, SCARF())
    outputs = network(rows)
    assert outputs.shape == (5, 4)
    _, anchors, copies = objective.split(outputs)
    assert torch.allclose(anchors, network.projection(network.backbone(rows[:, 0])), atol=1e-6)
    assert torch.allclose(copies, network.projection(network.backbone(rows[:, 1])), atol=1e-6)
    assert objective.losses(outputs, torch.zeros(5, 1)).shape == (5,)


def test_both_losses_are_added_by_their_weight():
    network, objective, rows = make(True, SCARF(weight=0.25))
    outputs, anchors, copies = objective.split(network(rows))
    # The labels go with the rows, not with their damaged copies.
    assert torch.allclose(outputs, network.head(network.backbone(rows[:, 0])), atol=1e-6)
    expected = Multiclass(3).losses(outputs, TARGETS) + 0.25 * SCARF().losses(anchors, copies)
    assert objective.losses(network(rows), TARGETS).tolist() == pytest.approx(expected.tolist())
