import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._net import TransferNetwork
from sktransfer.training._penalties import (
    BSS,
    DELTA,
    L2SP,
    Penalty,
    compute_attention,
    compute_squared_singular_values,
)

PENALTIES = [
    L2SP(0.1),
    L2SP(0.1, head_strength=0.2),
    DELTA(0.1),
    DELTA(0.1, layers="conv2", attention=False, head_strength=0.2),
    BSS(0.1, k=2),
]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


class Images(nn.Module):
    """Two convolutions with an in-place ReLU behind each, then pooled to (n, 5)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, images):
        activations = self.relu1(self.conv1(images))
        return self.relu2(self.conv2(activations)).mean(dim=(2, 3))


class Rows:
    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitems__(self, rows):
        return self.inputs[rows], (self.targets[rows], torch.ones(len(rows)))


def randomise(network, seed=0):
    """Give a network weights from a seed, without torch's global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return network


def make_network():
    return randomise(TransferNetwork(FeatureExtractor(Images(), "output"), nn.Linear(5, 3)))


def make_rows(n=40):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 6, 6, generator=generator)
    return Rows(images, torch.eye(3)[torch.arange(n) % 3])


def move(network, amount=0.1):
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.add_(amount)


def count_hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


@every_penalty
def test_gradients_reach_the_backbone_in_float32(penalty):
    network, rows = make_network().train(), make_rows()
    with penalty.attached(network, rows) as compute_penalty:
        move(network)
        network(rows.inputs[:8])
        value = compute_penalty()
        assert value.shape == () and value.dtype == torch.float32
        assert value.item() > 0
        value.backward()
    for parameter in network.backbone.parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any()


@every_penalty
def test_a_step_against_the_gradient_lowers_the_penalty(penalty):
    network, rows = make_network().train(), make_rows()
    with penalty.attached(network, rows) as compute_penalty:
        move(network)
        values = []
        for _ in range(2):
            network.zero_grad()
            network(rows.inputs[:8])
            values.append(compute_penalty())
            values[-1].backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(1e-3 * parameter.grad)
    assert values[1] < values[0]


@every_penalty
def test_the_network_computes_the_same_and_is_left_without_hooks(penalty):
    network, rows = make_network(), make_rows()
    expected = network(rows.inputs)
    before = torch.random.get_rng_state()
    state = copy.deepcopy(network.state_dict())
    with penalty.attached(network, rows):
        torch.testing.assert_close(network(rows.inputs), expected, rtol=0, atol=0)
    assert count_hooks(network) == 0
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not rows.inputs.requires_grad

    with pytest.raises(KeyboardInterrupt), penalty.attached(network, rows):
        raise KeyboardInterrupt
    assert count_hooks(network) == 0


def test_several_penalties_do_not_disturb_each_other():
    network, rows = make_network(), make_rows()

    def compute(penalties):
        trained = copy.deepcopy(network)
        with contextlib.ExitStack() as stack:
            functions = [stack.enter_context(p.attached(trained, rows)) for p in penalties]
            move(trained)
            trained(rows.inputs[:8])
            return [function().item() for function in functions]

    # DELTA copies the network with the hooks of those before it.
    penalties = [BSS(0.1), DELTA(0.1), DELTA(0.2, layers="conv1"), L2SP(0.1)]
    assert compute(penalties) == [compute([penalty])[0] for penalty in penalties]


@every_penalty
def test_descriptions_are_values(penalty):
    assert isinstance(penalty, Penalty)
    for twin in (pickle.loads(pickle.dumps(penalty)), copy.deepcopy(penalty), eval(repr(penalty))):
        assert twin == penalty and hash(twin) == hash(penalty)
    with pytest.raises(AttributeError):
        penalty.strength = 1.0


@pytest.mark.parametrize("kind", [L2SP, DELTA, BSS])
def test_the_first_parameter_is_the_strength(kind):
    assert kind(0.5).strength == 0.5
    with pytest.raises(TypeError):
        kind(0.5, 1)
    with pytest.raises(ValueError, match="Got strength=-1, but expected a number >= 0."):
        kind(strength=-1)
    with pytest.raises(TypeError, match="Got strength='high', but expected a number >= 0."):
        kind("high")


@pytest.mark.parametrize(
    ("kind", "parameters", "error", "message"),
    [
        (L2SP, {"head_strength": -1}, ValueError, "Got head_strength=-1, but expected a number"),
        (DELTA, {"head_strength": -1}, ValueError, "Got head_strength=-1, but expected a number"),
        (DELTA, {"attention": "yes"}, ValueError, "Got attention='yes', but expected one of"),
        (DELTA, {"layers": 3}, TypeError, "Got layers=3, but expected None, a name or several"),
        (DELTA, {"layers": []}, ValueError, r"Got layers=\[\], but expected at least one layer"),
        (BSS, {"k": 0}, ValueError, "Got k=0, but expected an integer >= 1"),
    ],
)
def test_wrong_parameters(kind, parameters, error, message):
    with pytest.raises(error, match=message):
        kind(**parameters)


def test_l2sp_is_the_distance_from_the_start():
    network = make_network()
    network.backbone.network.conv1.requires_grad_(False)
    with L2SP(0.3, head_strength=0.5).attached(network, None) as compute_penalty:
        head = 0.25 * network.head.weight.square().sum().item()
        assert compute_penalty().item() == pytest.approx(head)
        move(network, 0.1)
        n_moving = sum(p.numel() for p in network.backbone.network.conv2.parameters())
        expected = 0.15 * n_moving * 0.1**2 + head
        assert compute_penalty().item() == pytest.approx(expected, rel=1e-4)


def test_l2sp_of_a_frozen_backbone_is_zero():
    network = make_network()
    network.backbone.requires_grad_(False)
    with L2SP().attached(network, None) as compute_penalty:
        assert compute_penalty().item() == 0.0


@pytest.mark.parametrize("attention", [True, False])
def test_delta_is_zero_at_the_start(attention):
    network, rows = make_network(), make_rows()
    with DELTA(attention=attention).attached(network, rows) as compute_penalty:
        network(rows.inputs[:8])
        assert compute_penalty().item() == 0.0
        move(network)
        network(rows.inputs[:8])
        assert compute_penalty().item() > 0.0


@pytest.mark.parametrize("attention", [True, False])
def test_delta_is_the_weighted_distance_of_maps(attention):
    network, rows = make_network(), make_rows()
    start, batch = copy.deepcopy(network), rows.inputs[:8]
    layer = {"conv1": start.backbone.network.conv1}
    weight = compute_attention(start, layer, rows)["conv1"] if attention else torch.ones(4)
    penalty = DELTA(0.3, layers=["conv1"], attention=attention)
    with penalty.attached(network, rows) as compute_penalty:
        move(network)
        network(batch)
        value = compute_penalty().item()
    # Before the ReLU behind the layer, which works in place.
    moved = network.backbone.network.conv1(batch) - start.backbone.network.conv1(batch)
    expected = 0.15 * (moved.square().mean(dim=(0, 2, 3)) * weight).sum().item()
    assert value == pytest.approx(expected, rel=1e-5)


def estimate_importance(network, rows):
    """By hand: |sum over positions of activation times gradient|, as a mean over rows."""
    backbone = network.backbone.network
    maps = backbone.conv1(rows.inputs).detach().requires_grad_()
    outputs = network.head(backbone.conv2(maps.relu()).relu().mean(dim=(2, 3)))
    losses = nn.functional.cross_entropy(outputs, rows.targets, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), maps)
    return (maps * gradient).sum(dim=(2, 3)).abs().mean(0).detach()


def test_attention_goes_to_the_channels_that_matter():
    network, rows = make_network(), make_rows()
    with torch.no_grad():
        network.backbone.network.conv2.weight[:, 2] = 0.0
    layer = network.backbone.network.conv1
    attention = compute_attention(network, {"conv1": layer}, rows)["conv1"]
    assert attention.mean().item() == pytest.approx(1.0)
    assert attention.argmin() == 2
    importance = estimate_importance(network, rows)
    standardised = (importance - importance.mean()) / importance.std(correction=0)
    torch.testing.assert_close(attention, 4 * (standardised / 5).softmax(0))


def test_attention_ranks_channels_like_taking_them_away():
    # Without the ReLU and with a squared error that is far from its minimum, the loss is nearly
    # linear in small activations.
    weight = torch.tensor([[1e-3], [3e-3], [2e-3], [0.0]])
    layer, head = nn.Linear(1, 4, bias=False), nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(weight)
        head.weight.fill_(1.0)
        head.bias.zero_()
    rows = Rows(torch.ones(6, 1), torch.full((6, 1), 5.0))
    network = TransferNetwork(nn.Sequential(layer), head)
    attention = compute_attention(network, {"0": layer}, rows)["0"]
    assert attention.argsort().tolist() == [3, 0, 2, 1]


def test_attention_is_even_where_nothing_matters():
    network, rows = make_network(), make_rows()
    with torch.no_grad():
        network.head.weight.zero_()
    layer = network.backbone.network.conv1
    attention = compute_attention(network, {"conv1": layer}, rows)["conv1"]
    assert attention.tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("n_layers", "chosen"), [(1, ["0"]), (3, ["0", "1", "2"]), (9, ["2", "4", "6", "8"])]
)
def test_delta_spreads_its_layers_over_the_depth(n_layers, chosen):
    layers = [nn.Linear(2, 2) for _ in range(n_layers)]
    network = TransferNetwork(nn.Sequential(*layers), nn.Linear(2, 1))
    assert list(DELTA()._choose_layers(network, Rows(torch.ones(3, 2), torch.ones(3, 1)))) == chosen


def test_the_backbone_may_be_a_single_layer():
    network = TransferNetwork(nn.Linear(2, 3), nn.Linear(3, 1))
    rows = Rows(torch.ones(3, 2), torch.ones(3, 1))
    with DELTA(2.0, attention=False).attached(network, rows) as compute_penalty:
        move(network, 1.0)
        network(rows.inputs)
        assert compute_penalty().item() == pytest.approx(3 * 3.0**2, rel=1e-5)


def test_delta_takes_layers_below_the_features_only():
    network = TransferNetwork(FeatureExtractor(Images(), "relu1"), nn.Linear(4, 3))
    rows = make_rows()
    assert list(DELTA()._choose_layers(network, rows)) == ["conv1"]
    with (
        pytest.raises(ValueError, match="without calling 'conv2' to its end"),
        DELTA(layers="conv2").attached(network, rows),
    ):
        pass
    assert count_hooks(network) == 0


def test_delta_lists_the_layers_of_the_backbone():
    message = r"layers=\('conv3',\), but expected .*'conv1', 'relu1'.*Did you mean 'conv"
    with (
        pytest.raises(ValueError, match=message),
        DELTA(layers="conv3").attached(make_network(), make_rows()),
    ):
        pass


def test_delta_says_when_there_is_no_layer_to_choose():
    network = TransferNetwork(nn.Flatten(), nn.Linear(36, 3))
    message = "Got layers=None, but the backbone calls none of its blocks"
    with pytest.raises(ValueError, match=message), DELTA().attached(network, make_rows()):
        pass


def test_delta_wants_layers_that_give_tensors():
    network = TransferNetwork(nn.Sequential(nn.LSTM(2, 3)), nn.Linear(3, 1))
    rows = Rows(torch.ones(4, 2), torch.ones(4, 1))
    with (
        pytest.raises(TypeError, match="Got a tuple from the layer '0'"),
        DELTA(layers="0").attached(network, rows),
    ):
        pass


@pytest.mark.parametrize(
    ("layer", "shape", "n_channels"),
    [
        (nn.Conv1d(2, 5, 1), (3, 2, 7), 5),
        (nn.Linear(7, 6), (3, 2, 7), 6),
        (nn.Linear(7, 6), (3, 2, 2, 7), 6),
        (nn.LayerNorm(7), (3, 2, 7), 7),
        (nn.BatchNorm2d(2), (3, 2, 7, 7), 2),
    ],
    ids=repr,
)
def test_channels_of_kinds_of_layers(layer, shape, n_channels):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(shape, generator=generator)
    width = layer(inputs).flatten(1).shape[1]
    backbone = nn.Sequential(layer, nn.ReLU(inplace=True), nn.Flatten())
    network = TransferNetwork(backbone, nn.Linear(width, 2))
    rows = Rows(inputs, torch.eye(2)[[0, 1, 0]])
    assert len(compute_attention(network.eval(), {"0": layer}, rows)["0"]) == n_channels
    with DELTA(layers="0").attached(network, rows) as compute_penalty:
        network(inputs)
        assert compute_penalty().item() == 0.0


@pytest.mark.parametrize("shape", [(8, 5), (3, 5), (1, 5)])
@pytest.mark.parametrize("k", [1, 2, 9])
def test_bss_adds_the_smallest_squared_singular_values(shape, k):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(shape, generator=generator)
    network = TransferNetwork(nn.Identity(), nn.Linear(5, 2))
    with BSS(0.3, k=k).attached(network, None) as compute_penalty:
        network(inputs)
        value = compute_penalty().item()
    squares = np.sort(np.linalg.svd(inputs.double().numpy(), compute_uv=False) ** 2)
    assert value == pytest.approx(0.3 * squares[:k].sum(), rel=1e-4)


@pytest.mark.parametrize("matrix", [torch.eye(4), torch.zeros(3, 4), torch.ones(5, 3)])
def test_gradients_of_repeated_singular_values_are_finite(matrix):
    matrix = matrix.clone().requires_grad_()
    squares = compute_squared_singular_values(matrix)
    assert (squares >= 0).all()
    squares[:2].sum().backward()
    assert torch.isfinite(matrix.grad).all()


def test_bss_of_diverged_features_is_not_a_number():
    assert compute_squared_singular_values(torch.full((2, 3), torch.inf)).isnan().all()
