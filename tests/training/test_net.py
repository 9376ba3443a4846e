import contextlib

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._batches import PreparedRows
from sktransfer.training._heads import make_head
from sktransfer.training._net import (
    GroupedAdamW,
    TrainingOptions,
    TransferNetwork,
    WeightedLoss,
    train_network,
)
from sktransfer.training._objectives import Multiclass
from sktransfer.training._penalties import Penalty
from sktransfer.training._trainable import describe_param_groups

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(24, 1, 8, 8)).astype(np.float32), np.arange(24) % 2
RATES = {"head_lr": 1e-2, "backbone_lr": 1e-3, "weight_decay": 0.1}


@pytest.fixture
def network(small_network):
    return TransferNetwork(FeatureExtractor(small_network), make_head(np.zeros(32), 1.0, (), 2))


def train(network, weight=None, **options):
    objective = Multiclass(2)
    weight = np.ones(24) if weight is None else weight
    rows = PreparedRows(X, objective.encode(Y), weight, np.asarray)
    groups = describe_param_groups(network, **RATES)
    options = TrainingOptions(objective, max_epochs=2, **options)
    return train_network(network, rows, groups, options)


def test_what_moves_and_how_fast(network):
    network.backbone.network.fc.requires_grad_(False)
    groups = describe_param_groups(network, **RATES)
    summary = {(g["name"], g["lr"], g["weight_decay"]): g["n_parameters"] for g in groups}
    assert summary == {
        ("backbone", 1e-3, 0.1): 8 * 9,
        ("backbone", 1e-3, 0.0): 8 + 2 * 8,
        ("backbone (frozen)", 0.0, 0.0): 32 * 5 + 5,
        ("head", 1e-2, 0.1): 64,
        ("head", 1e-2, 0.0): 2,
    }
    named = [name for group in groups for name in group["parameter_names"]]
    assert sorted(named) == sorted(name for name, _ in network.named_parameters())


def test_the_optimizer_has_these_rates(network):
    optimizer = train(network).optimizer_
    assert isinstance(optimizer, GroupedAdamW)
    initial = {(g["initial_lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert {(1e-3, 0.1), (1e-3, 0.0), (1e-2, 0.1), (1e-2, 0.0)} <= initial


def test_frozen_means_frozen(network, tensors_of):
    network.backbone.requires_grad_(False)
    before = tensors_of(network.backbone)
    train(network)
    assert tensors_of(network.backbone) == before


@pytest.mark.parametrize("freeze_norm", [True, False])
def test_statistics_of_batch_norm(network, freeze_norm):
    network.freeze_norm = freeze_norm
    before = network.backbone.network.norm.running_mean.clone()
    weight = network.backbone.network.norm.weight.clone()
    train(network)
    assert torch.equal(network.backbone.network.norm.running_mean, before) == freeze_norm
    assert not torch.equal(network.backbone.network.norm.weight, weight)


def test_the_seed_decides_and_generators_are_left_alone(small_network):
    def run(seed):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = nn.Sequential()
            network.add_module("backbone", nn.Flatten())
            network.add_module("head", nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 2)))
        train(network, seed=seed)
        return network.head[1].weight.detach().clone()

    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_loss_is_weighted():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    single = nn.functional.cross_entropy(logits, labels, reduction="none")
    targets = nn.functional.one_hot(labels, 2).float()
    weighted = WeightedLoss(Multiclass(2))(logits, (targets, torch.tensor([2.0, 0.0])))
    torch.testing.assert_close(weighted, single[0])


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_interrupts_come_through(network):
    with pytest.raises(KeyboardInterrupt):
        train(network, callbacks=[Interrupt()])


class Count(Callback):
    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


def test_callbacks_are_copied(network):
    count = Count()
    net = train(network, callbacks=[count])
    assert count.n_epochs == 0
    assert dict(net.callbacks_)["Count"].n_epochs == 2


def test_divergence_is_an_error(network):
    weight = np.full(24, 1e38)
    with pytest.raises(ValueError, match="diverged.*smaller head_lr"):
        train(network, weight=weight)


class Undefined(Penalty):
    @contextlib.contextmanager
    def attached(self, network, rows):
        yield lambda: torch.tensor(0.0) / 0


def test_a_penalty_that_is_no_number_is_named(network):
    with pytest.raises(ValueError, match="Got nan from penalty=.*Undefined"):
        train(network, penalties=(Undefined(),))
