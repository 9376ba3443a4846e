import copy
import pickle
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._adapters import LowRankAdapters
from sktransfer.utils._torch import seeded

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32))
WHY_NOT = {
    "groups": "it has groups=4",
    "dilated": r"it has dilation=\(2, 2\)",
    "reflecting": "it has padding_mode='reflect'",
    "same": "its class is SamePadding, a subclass",
    "parametrized": "its class is ParametrizedConv2d, a subclass",
    "computed": "its weights are computed",
    "shared": "its weights are used in several places",
}


@pytest.fixture
def adapters():
    pytest.importorskip("peft")
    return LowRankAdapters(rank=2, alpha=4.0)


class SamePadding(nn.Conv2d):
    def forward(self, inputs):
        return super().forward(nn.functional.pad(inputs, (0, 1, 0, 1)))


class Zoo(nn.Module):
    """Layers that can be adapted, and one for each reason why others cannot."""

    def __init__(self):
        super().__init__()
        self.plain = nn.Conv2d(1, 4, (3, 2), stride=2, padding=1, bias=False)
        self.groups = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.reflecting = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.same = SamePadding(4, 4, 2)
        self.parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        with warnings.catch_warnings():
            # Deprecated, but there are networks with it.
            warnings.simplefilter("ignore", FutureWarning)
            self.computed = nn.utils.weight_norm(nn.Conv2d(4, 4, 1))
        self.shared = nn.Conv2d(4, 4, 1)
        self.tied = nn.Conv2d(4, 4, 1)
        self.tied.weight = self.shared.weight
        self.point = nn.Conv2d(4, 4, 1)
        self.line = nn.Conv1d(4, 3, 3, padding="same")
        self.blocks = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 5))
        self.fc = nn.Linear(5, 2)

    def forward(self, images):
        maps = self.dilated(self.groups(self.plain(images)))
        maps = self.parametrized(self.same(self.reflecting(maps)))
        maps = self.point(self.tied(self.shared(self.computed(maps))))
        return self.fc(self.blocks(self.line(maps.flatten(2)).mean(2)))


def add(adapters, network):
    with seeded(0):
        return adapters.add_to(network)


def train(network, forward=None):
    forward = forward or network
    network.train()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        forward(IMAGES).pow(2).sum().backward()
        optimizer.step()
    network.eval()


def adapted_in(network):
    return {name.partition(".lora_A")[0] for name, _ in network.named_parameters() if "_A" in name}


def make_zoo():
    with seeded(0):
        return Zoo().eval()


def test_adapters_start_as_the_identity(adapters, small_network):
    expected = small_network.eval()(IMAGES)
    adapted = add(adapters, small_network)
    assert adapted is small_network
    torch.testing.assert_close(adapted(IMAGES), expected, rtol=0, atol=0)


def test_only_adapters_are_trainable(adapters, small_network):
    add(adapters, small_network)
    n_trainable = {}
    for name, parameter in small_network.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        layer = name.partition(".")[0]
        n_trainable.setdefault(layer, 0)
        n_trainable[layer] += parameter.numel() * parameter.requires_grad
    assert n_trainable == {"conv": 2 * (1 * 9 + 8), "norm": 0, "fc": 2 * (32 + 5)}


def test_a_layer_is_frozen_whatever_its_name(adapters):
    # Older versions of peft know their weights by a part of the names, "lora_".
    network = nn.Sequential()
    network.flora_norm, network.fc = nn.LayerNorm(8), nn.Linear(8, 3)
    add(adapters, network)
    assert not any(parameter.requires_grad for parameter in network.flora_norm.parameters())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_merging_gives_the_same_outputs_with_the_original_layers(adapters, dropout):
    original, network = make_zoo(), make_zoo()
    add(LowRankAdapters(2, 4.0, dropout), network)
    train(network)
    expected = network(IMAGES)
    assert not torch.allclose(expected, original(IMAGES), atol=1e-2)

    merged = adapters.merge(network)
    torch.testing.assert_close(merged(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert list(merged.state_dict()) == list(original.state_dict())
    assert [type(m).__name__ for m in merged.modules()] == [
        type(m).__name__ for m in original.modules()
    ]
    assert vars(merged).keys() == vars(original).keys()
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_only_weights_of_adapted_layers_move(adapters, small_network, tensors_of):
    before = tensors_of(small_network)
    adapters = LowRankAdapters(layers="fc")
    add(adapters, small_network)
    # The mode that TransferNetwork gives to frozen layers.
    train(small_network, lambda images: small_network.eval()(images))
    after = tensors_of(adapters.merge(small_network))
    assert {name for name in after if after[name] != before[name]} == {"fc.weight"}


def test_a_merged_network_needs_no_peft(adapters, small_network, monkeypatch):
    add(adapters, small_network)
    train(small_network)
    merged = adapters.merge(small_network)
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.setitem(sys.modules, name, None)
    for again in (pickle.loads(pickle.dumps(merged)), copy.deepcopy(merged)):
        torch.testing.assert_close(again(IMAGES), merged(IMAGES), rtol=0, atol=0)


def test_an_adapted_network_can_be_copied(adapters, small_network):
    again = copy.deepcopy(add(adapters, small_network))
    train(again)
    torch.testing.assert_close(
        adapters.merge(copy.deepcopy(again))(IMAGES), again(IMAGES), rtol=1e-4, atol=1e-5
    )


def test_all_takes_the_layers_that_can_be_adapted(adapters):
    expected = {"plain", "point", "line", "blocks.0", "blocks.2", "fc"}
    assert adapted_in(add(adapters, make_zoo())) == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("fc", {"fc"}),
        # Not every layer whose name ends like this.
        (("blocks.0", "p*t"), {"blocks.0", "point"}),
        ("blocks.*", {"blocks.0", "blocks.2"}),
        ("*", {"plain", "point", "line", "blocks.0", "blocks.2", "fc"}),
    ],
)
def test_names_and_patterns(adapters, layers, expected):
    assert adapted_in(add(LowRankAdapters(layers=layers), make_zoo())) == expected


def test_a_name_is_not_an_ending(adapters):
    network = nn.Sequential(nn.Linear(64, 3), nn.Sequential(nn.Linear(3, 3)))
    assert adapted_in(add(LowRankAdapters(layers="0"), network)) == {"0"}


@pytest.mark.parametrize(("layer", "why"), WHY_NOT.items())
def test_a_name_that_cannot_be_adapted(adapters, layer, why):
    network = make_zoo()
    with pytest.raises(ValueError, match=f"Got layers='{layer}', but .* adapted: {why}"):
        LowRankAdapters(layers=layer).add_to(network)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_pattern_that_matches_nothing(adapters, small_network):
    options = "fully connected layers or convolutions in one or two dimensions: 'conv', 'fc'"
    with pytest.raises(ValueError, match=f"Got layers='fc9', but .* {options}. Did you mean 'fc'?"):
        LowRankAdapters(layers="fc9").add_to(small_network)
    with pytest.raises(ValueError, match=f"Got layers=.*'norm'.*, but expected {options}"):
        LowRankAdapters(layers=("fc", "norm")).add_to(small_network)


def test_nothing_to_adapt(adapters):
    with pytest.raises(ValueError, match="Got layers='all', but expected a network with"):
        adapters.add_to(nn.Sequential(nn.BatchNorm2d(2), nn.Flatten()))
    with pytest.raises(ValueError, match="'0' cannot be adapted: it has groups=2"):
        adapters.add_to(nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)))


def test_a_network_that_is_one_layer(adapters):
    layer = nn.Linear(8, 3)
    network = add(adapters, layer)
    train(network)
    expected = network(IMAGES)
    merged = adapters.merge(network)
    assert merged is layer
    torch.testing.assert_close(merged(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_transformers_of_torch(adapters):
    with seeded(0):
        network = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
    tokens = IMAGES[:, 0]
    assert adapted_in(add(adapters, network)) == {"linear1", "linear2"}
    train(network, lambda images: network(tokens))
    with torch.no_grad():
        expected = network(tokens)
        torch.testing.assert_close(adapters.merge(network)(tokens), expected, rtol=1e-4, atol=1e-5)


def test_inside_a_feature_extractor(adapters, small_network):
    extractor = FeatureExtractor(small_network, "fc:input").eval()
    expected = extractor(IMAGES)
    extractor.network = add(LowRankAdapters(layers="conv"), extractor.network)
    torch.testing.assert_close(extractor(IMAGES), expected, rtol=0, atol=0)
    train(extractor)
    trained = extractor(IMAGES)
    assert not torch.allclose(trained, expected, atol=1e-2)
    extractor.network = adapters.merge(extractor.network)
    torch.testing.assert_close(extractor(IMAGES), trained, rtol=1e-4, atol=1e-5)


def test_same_seed_same_adapters(adapters, small_network, tensors_of):
    again = copy.deepcopy(small_network)
    assert tensors_of(add(adapters, small_network)) == tensors_of(add(adapters, again))


def test_no_dropout_in_eval_mode(adapters, small_network):
    network = add(LowRankAdapters(dropout=0.5), small_network.eval())
    assert not any(module.training for module in network.modules())


def test_a_network_that_has_adapters(adapters, small_network):
    add(adapters, small_network)
    with pytest.raises(ValueError, match="Got a network with adapters, such as 'conv', .* merge"):
        adapters.add_to(small_network)


def test_peft_is_missing(small_network, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    adapters = LowRankAdapters(rank=2)
    expected = r"Got adapters=LowRankAdapters\(rank=2.*pip install \"sktransfer\[peft\]\"\."
    with pytest.raises(ImportError, match=expected):
        adapters.add_to(small_network)
    assert all(parameter.requires_grad for parameter in small_network.parameters())


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"rank": 0}, ValueError, r"Got rank=0, but expected an integer >= 1\."),
        ({"rank": 2.0}, TypeError, r"Got rank=2\.0, but expected an integer >= 1\."),
        ({"alpha": 0}, ValueError, r"Got alpha=0, but expected a number > 0\."),
        ({"dropout": 1.5}, ValueError, r"Got dropout=1\.5, but expected a number >= 0 and <= 1\."),
        ({"layers": None}, TypeError, "Got layers=None, but expected 'all'"),
        ({"layers": ("fc", 1)}, TypeError, r"Got layers=\('fc', 1\), but expected 'all'"),
        ({"layers": ()}, ValueError, r"Got layers=\(\), but expected at least one name"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        LowRankAdapters(**parameters)


def test_equal_parameters_make_equal_adapters():
    assert LowRankAdapters(rank=4) == LowRankAdapters(rank=4) != LowRankAdapters(rank=2)
    assert hash(LowRankAdapters(layers=("a", "b"))) == hash(LowRankAdapters(layers=("a", "b")))
