import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier
from sktransfer.training import BSS, DELTA, GradualUnfreezing, LowRankAdapters

# Kept short: the backbones' layers are fc1, fc2 and fc3, with others between them.
NETWORKS = {
    "plain": {},
    "batch_norm": {"norm1": nn.BatchNorm1d(12), "norm2": nn.BatchNorm1d(12)},
    "layer_norm": {"norm1": nn.LayerNorm(12), "norm2": nn.LayerNorm(12)},
    "group_norm": {"norm1": nn.GroupNorm(3, 12), "norm2": nn.GroupNorm(4, 12)},
    "no_affine": {"norm1": nn.BatchNorm1d(12, affine=False)},
    "dropout": {"norm1": nn.Dropout(0.3), "norm2": nn.Dropout(0.3)},
    "weight_norm": {"fc2": nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))},
    "tied": {"norm1": nn.Linear(12, 12), "tied": True},
}


def make_network(kind="plain"):
    """A network of seeded weights whose BatchNorm statistics are those of no batch."""
    others = dict(NETWORKS[kind])
    is_tied = others.pop("tied", False)
    layers = {
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(64, 12),
        "norm1": nn.Identity(),
        "relu1": nn.ReLU(),
        "fc2": nn.Linear(12, 12),
        "norm2": nn.Identity(),
        "relu2": nn.LeakyReLU(),
        "fc3": nn.Linear(12, 8),
        "relu3": nn.LeakyReLU(),
        "old_head": nn.Linear(8, 5),
    }
    network = nn.Sequential(OrderedDict({**layers, **copy.deepcopy(others)}))
    if is_tied:
        network.norm1.weight = network.fc2.weight
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(std=1 / np.sqrt(tensor.shape[-1]))
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
    return network


@pytest.fixture
def few(digits):
    return digits[0][:24], digits[1][:24] % 3


def fine_tune(network, few, **parameters):
    defaults = {"strategy": "fine_tune", "max_epochs": 1, "random_state": 0, "backbone_lr": 1e-2}
    return ParameterTransferClassifier(network, **{**defaults, **parameters}).fit(*few)


def fitted_network(classifier):
    return classifier.module_.backbone.network


def what_moved(classifier, network):
    """Return the names of parameters and buffers that are not what they were, bit by bit."""
    before, after = network.state_dict(), fitted_network(classifier).state_dict()
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def distances(classifier, network):
    """Return how far each layer went."""
    after = dict(fitted_network(classifier).named_parameters())
    return {
        name.removesuffix(".weight"): (after[name] - p).detach().norm().item()
        for name, p in network.named_parameters()
        if name.endswith("weight")
    }


def everything_about(network):
    """Return weights as bytes, and the flags of parameters and modules."""
    return (
        {name: value.numpy().tobytes() for name, value in network.state_dict().items()},
        {name: (p.requires_grad, p.grad) for name, p in network.named_parameters()},
        {name: (m.training, len(m._forward_hooks)) for name, m in network.named_modules()},
    )


# Whether a parameter is chosen, by its name: written down again, not asked of the library.
CHOSEN = {
    "all": lambda name: True,
    "norm": lambda name: name.startswith("norm"),
    "bias": lambda name: name.endswith(".bias"),
    1: lambda name: name.startswith("fc3."),
    ("fc1", "fc3.bias"): lambda name: name.startswith("fc1.") or name == "fc3.bias",
    ("*2*",): lambda name: "2" in name,
}


def expected_to_move(network, trainable):
    names = {name: p for name, p in network.named_parameters(remove_duplicate=False)}
    chosen = {id(p) for name, p in names.items() if CHOSEN[trainable](name)}
    chosen -= {id(p) for p in network.old_head.parameters()}
    return {name for name, p in names.items() if id(p) in chosen}


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("trainable", CHOSEN)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.filterwarnings("ignore:Got cache=True, but the frozen layers run in every step")
def test_what_is_chosen_moves_and_nothing_else_does(few, kind, trainable, cache):
    network = make_network(kind)
    if trainable == "norm" and not kind.endswith("_norm") or kind == "weight_norm" == trainable:
        pytest.skip("no normalisation layers with weights")
    classifier = fine_tune(network, few, trainable=trainable, cache=cache)
    assert what_moved(classifier, network) == expected_to_move(network, trainable)
