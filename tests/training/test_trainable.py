import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer.backbones._blocks import list_blocks
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._net import TransferNetwork
from sktransfer.training._trainable import (
    check_trainable,
    describe_param_groups,
    set_trainable,
)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)


class ResNet(nn.Module):
    """Named like those of torchvision."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Residual(4), Residual(4))
        self.layer2 = nn.Sequential(Residual(4))
        self.fc = nn.Linear(4, 3)


class WithTokens(nn.Module):
    """Parameters of its own, then layers in a list."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])
        self.position = nn.Parameter(torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.zeros(1))


class Wrapper(nn.Module):
    def __init__(self, model, **others):
        super().__init__()
        self.model = model
        for name, other in others.items():
            self.add_module(name, other)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.LSTM(4, 4)
        self.fc = nn.Linear(4, 4)


class Stack(nn.Module):
    """Tokens of its own, and an encoder that holds alike blocks, dropout and a norm."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.encoder = nn.Module()
        self.encoder.dropout = nn.Dropout(0.1)
        self.encoder.layers = nn.Sequential(Residual(4), Residual(4))
        self.encoder.norm = nn.LayerNorm(4)


def perceptron(*widths):
    """Fully connected layers "0", "2", "4", …"""
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*[layer for pair in layers for layer in pair])


def tie(network):
    network[2].weight = network[0].weight
    return network


def twice(layer):
    return nn.Sequential(nn.Linear(4, 4), layer, nn.Sequential(layer, nn.Linear(4, 4)))


def normalised():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.Linear(16, 4),
        nn.LayerNorm(4),
    )


def residual(block):
    return {f"layer{block}.{name}" for name in ("conv1.weight", "bn1.weight", "bn1.bias")}


def trainable_in(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (perceptron(4, 5, 6), ["0", "2"]),
        (nn.Linear(4, 2), [""]),
        (nn.Flatten(), []),
        (nn.Sequential(perceptron(4, 5), nn.Sequential(perceptron(5, 6))), ["0.0", "1.0.0"]),
        (ResNet(), ["conv1", "layer1.0", "layer1.1", "layer2.0", "fc"]),
        (WithTokens(), ["stem", "layers.0"]),
        (Wrapper(perceptron(4, 5, 6)), ["model.0", "model.2"]),
        (Wrapper(Wrapper(Residual(4))), ["model.model.conv1"]),
        (Wrapper(nn.Linear(4, 2)), ["model"]),
        (Wrapper(nn.Linear(4, 2), relu=nn.ReLU()), ["model"]),
        (Stack(), ["stem", "encoder.layers.0", "encoder.layers.1"]),
        (twice(nn.Linear(4, 4)), ["0", "1", "2.1"]),
        (tie(perceptron(4, 4, 4)), ["0", "2"]),
    ],
)
def test_blocks_are_what_a_reader_of_the_network_would_call_so(network, expected):
    blocks = list_blocks(network)
    assert [block.name for block in blocks] == expected
    names = [name for block in blocks for name in block.parameter_names]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (ResNet(), ["conv1", "layer1.0", "layer1.1", "layer2.0"]),
        # What is left without the head is one block as a whole, so it is opened.
        (Wrapper(Residual(4), fc=nn.Linear(4, 2)), ["model.conv1"]),
        (Wrapper(Residual(4), fc=nn.Sequential(nn.Linear(4, 2))), ["model.conv1"]),
        (nn.Linear(4, 2), []),
        (Wrapper(nn.Linear(4, 2)), []),
    ],
)
def test_the_old_head_is_in_no_block(network, expected):
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    blocks = list_blocks(network, leave_out=[head])
    assert [block.name for block in blocks] == expected
    names = {name for block in blocks for name in block.parameter_names}
    left_out = {id(p) for p in head.parameters()}
    assert names == {n for n, p in network.named_parameters() if id(p) not in left_out}


def test_weights_that_the_old_head_shares_stay_with_it():
    network = tie(perceptron(4, 4, 4))
    (block,) = list_blocks(network, leave_out=[network[2]])
    assert block.parameter_names == ("0.bias",)
    set_trainable(network, "all", [block])
    assert trainable_in(network) == {"0.bias"}


@pytest.mark.parametrize(
    ("make_network", "trainable", "expected"),
    [
        (lambda: perceptron(4, 4, 4), "all", {"0.weight", "0.bias", "2.weight", "2.bias"}),
        (lambda: perceptron(4, 4, 4), "bias", {"0.bias", "2.bias"}),
        (normalised, "norm", {f"{i}.{name}" for i in (1, 2, 5) for name in ("weight", "bias")}),
        (lambda: perceptron(4, 4, 4, 4), 1, {"4.weight", "4.bias"}),
        (lambda: perceptron(4, 4, 4), np.int64(2), {"0.weight", "0.bias", "2.weight", "2.bias"}),
        (ResNet, 2, {"fc.weight", "fc.bias", *residual("2.0")}),
        (ResNet, ("layer2*",), residual("2.0")),
        (ResNet, ["layer*.conv1"], {f"layer{i}.conv1.weight" for i in ("1.0", "1.1", "2.0")}),
        (ResNet, ("bn1", "conv1.weight"), {"bn1.weight", "bn1.bias", "conv1.weight"}),
        (ResNet, ("layer1.1", "f?.bias"), {"fc.bias", *residual("1.1")}),
        (WithTokens, ("position",), {"position"}),
        (lambda: nn.Linear(4, 2), "all", {"weight", "bias"}),
        (lambda: nn.LayerNorm(4), "norm", {"weight", "bias"}),
    ],
)
def test_what_is_chosen_moves_and_nothing_else(make_network, trainable, expected):
    network = make_network()
    set_trainable(network, trainable, list_blocks(network))
    assert trainable_in(network) == expected


def test_biases_are_found_under_the_names_that_torch_gives_them():
    network = Attention()
    set_trainable(network, "bias", list_blocks(network))
    assert trainable_in(network) == {
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "recurrent.bias_ih_l0",
        "recurrent.bias_hh_l0",
        "fc.bias",
    }


@pytest.mark.parametrize("trainable", [("2.1",), ("2.0.weight", "2.1")])
def test_shared_weights_are_chosen_by_any_of_their_names(trainable):
    network = twice(nn.Linear(4, 4))
    network[2][1].weight = network[0].weight
    set_trainable(network, trainable, list_blocks(network))
    assert network[0].weight.requires_grad
    assert network[1].weight.requires_grad == (len(trainable) == 2)


def test_the_old_head_stays_frozen_whatever_is_chosen():
    network = ResNet()
    blocks = list_blocks(network, leave_out=[network.fc])
    for trainable in ("all", "bias", 1, ("fc", "layer2")):
        set_trainable(network, trainable, blocks)
        assert not network.fc.bias.requires_grad
        assert network.layer2[0].bn1.bias.requires_grad
    with pytest.raises(ValueError, match="no such layers; its blocks are 'conv1'"):
        set_trainable(network, ("fc",), blocks)


def test_a_second_choice_replaces_the_first():
    network = perceptron(4, 4, 4)
    for trainable in (2, "bias", 1):
        set_trainable(network, trainable, list_blocks(network))
    assert trainable_in(network) == {"2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (7, "Got trainable=7, but the backbone has 5 blocks: 'conv1', 'layer1.0'"),
        (("layer2", "layr1"), "pattern 'layr1' matches no layer .*Did you mean 'layer1'"),
        (("layer2.0.bn1.wait",), "pattern 'layer2.0.bn1.wait' matches no layer"),
        (("relu",), "pattern 'relu' matches no layer with weights"),
        (("LAYER2",), "pattern 'LAYER2' matches no layer"),
    ],
)
def test_a_choice_that_the_network_does_not_have(trainable, message):
    network = ResNet()
    with pytest.raises(ValueError, match=message):
        set_trainable(network, trainable, list_blocks(network))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_norm_and_bias_want_a_network_that_has_them():
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4, affine=False))
    for trainable in ("norm", "bias"):
        with pytest.raises(ValueError, match=f"Got trainable='{trainable}', but .* blocks are '0'"):
            set_trainable(network, trainable, list_blocks(network))


def test_a_network_without_weights_has_nothing_to_choose():
    set_trainable(nn.Flatten(), "all", [])


@pytest.mark.parametrize("trainable", ["all", "norm", "bias", 1, np.int64(3), ("a*",), ["a", "b"]])
def test_values_that_trainable_may_have(trainable):
    check_trainable(trainable)


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        ("norms", "Got trainable='norms', but expected 'all', .*Did you mean 'norm'"),
        ("layer4*", r"Got trainable='layer4\*', but expected .* a sequence of patterns"),
        (0, "Got trainable=0, but expected an integer >= 1"),
        (-1, "Got trainable=-1"),
        (True, "Got trainable=True"),
        (None, "Got trainable=None"),
        (2.0, "Got trainable=2.0"),
        ((), r"Got trainable=\(\)"),
        ((1, 2), r"Got trainable=\(1, 2\)"),
        ({"a", "b"}, "Got trainable="),
    ],
)
def test_values_that_trainable_may_not_have(trainable, message):
    with pytest.raises(ValueError, match=message):
        check_trainable(trainable)


def describe(module, trainable="all", old_head=(), **changes):
    blocks = list_blocks(module, leave_out=old_head)
    set_trainable(module, trainable, blocks)
    network = TransferNetwork(FeatureExtractor(module), nn.Linear(4, 2))
    defaults = {"head_lr": 1e-2, "backbone_lr": 1e-3, "weight_decay": 0.1, "blocks": blocks}
    return network, describe_param_groups(network, **{**defaults, **changes})


@pytest.mark.parametrize("trainable", ["all", "norm", "bias", 2, ("layer1.1",)])
@pytest.mark.parametrize("options", [{}, {"layer_decay": 0.5}, {"by_block": True}])
def test_every_parameter_is_in_one_group(trainable, options):
    module = ResNet()
    network, groups = describe(module, trainable, old_head=[module.fc], **options)
    names = [name for group in groups for name in group["parameter_names"]]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())
    parameters = dict(network.named_parameters())
    for group in groups:
        own = [parameters[name] for name in group["parameter_names"]]
        assert group["n_parameters"] == sum(p.numel() for p in own)
        moves = all(p.requires_grad for p in own)
        assert group["n_trainable"] == (group["n_parameters"] if moves else 0)
        assert (group["lr"] > 0) == moves == ("(frozen)" not in group["name"])
        assert group["weight_decay"] == (0.1 if moves and own[0].ndim > 1 else 0)
        assert {p.ndim > 1 for p in own} == {own[0].ndim > 1} or not moves


def test_one_rate_for_the_backbone_and_one_for_the_head():
    _, groups = describe(ResNet())
    assert {(g["name"], g["lr"], g["weight_decay"]) for g in groups} == {
        ("backbone", 1e-3, 0.1),
        ("backbone", 1e-3, 0.0),
        ("head", 1e-2, 0.1),
        ("head", 1e-2, 0.0),
    }


def test_rates_fall_with_the_depth_of_the_block():
    _, groups = describe(perceptron(4, 4, 4, 4), layer_decay=0.5)
    assert {g["name"]: (g["lr"], g["depth"]) for g in groups} == {
        "0": (0.25e-3, 2),
        "2": (0.5e-3, 1),
        "4": (1e-3, 0),
        "head": (1e-2, -1),
    }


def test_the_depth_counts_frozen_blocks_too():
    _, groups = describe(perceptron(4, 4, 4, 4), ("0",), layer_decay=0.5)
    assert {g["name"]: (g["lr"], g["depth"]) for g in groups} == {
        "0": (0.25e-3, 2),
        "backbone (frozen)": (0.0, None),
        "head": (1e-2, -1),
    }


def test_blocks_of_one_rate_are_told_apart_where_that_is_asked_for():
    _, groups = describe(perceptron(4, 4, 4), by_block=True)
    assert [(g["name"], g["lr"]) for g in groups if g["weight_decay"]] == [
        ("0", 1e-3),
        ("2", 1e-3),
        ("head", 1e-2),
    ]


def test_a_rate_of_zero_is_as_frozen_as_can_be():
    _, groups = describe(perceptron(4, 4, 4), backbone_lr=0.0, layer_decay=0.5)
    assert {g["name"] for g in groups} == {"backbone (frozen)", "head"}
    assert sum(g["n_trainable"] for g in groups if g["name"] != "head") == 0


def test_weights_that_are_solved_for_have_no_rate():
    _, groups = describe(perceptron(4, 4), backbone_lr=0.0, head_lr=None)
    (head,) = (group for group in groups if group["name"] == "head")
    assert head["lr"] is None
    assert head["weight_decay"] == 0
    assert head["n_trainable"] == 10


def test_layers_that_are_named_like_those_of_the_head_are_not_taken_for_it():
    module = nn.Sequential()
    for name in ("weight", "output", "network"):
        module.add_module(name, nn.Linear(4, 4))
    blocks = list_blocks(module)
    head = nn.Sequential()
    head.add_module("output", nn.Linear(4, 2))
    network = TransferNetwork(FeatureExtractor(module), head)
    groups = describe_param_groups(
        network, head_lr=1.0, backbone_lr=1.0, weight_decay=0.0, blocks=blocks, by_block=True
    )
    assert [(g["name"], g["n_parameters"]) for g in groups] == [
        ("weight", 20),
        ("output", 20),
        ("network", 20),
        ("head", 10),
    ]


def test_adapters_move_at_the_rates_of_their_blocks():
    pytest.importorskip("peft")
    from sktransfer.training import LowRankAdapters

    module = perceptron(4, 4, 4)
    blocks = list_blocks(module)
    module = LowRankAdapters(rank=1).add_to(module)
    network = TransferNetwork(FeatureExtractor(module), nn.Linear(4, 2))
    groups = describe_param_groups(
        network, head_lr=1.0, backbone_lr=1.0, weight_decay=0.0, blocks=blocks, layer_decay=0.5
    )
    rates = {g["name"]: (g["lr"], g["n_trainable"]) for g in groups}
    assert rates == {
        "backbone (frozen)": (0.0, 0),
        "0": (0.5, 8),
        "2": (1.0, 8),
        "head": (1.0, 10),
    }
