import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.backbones._split import Tail, find_split
from sktransfer.backbones._taps import LayerTap, run_taps

IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VECTORS, TOKENS = IMAGES[:, 0, 0], IMAGES[:, 0]


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Block(nn.Module):
    """Two convolutions, functional rectifiers, a residual."""

    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x):
        y = nn.functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return nn.functional.relu(x + self.norm2(self.conv2(y)), inplace=True)


class ResNet(nn.Module):
    """A stem, two stages, a head; what is between them is functional and partly in place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.stage1 = nn.Sequential(Block(), Block())
        self.stage2 = nn.Sequential(Block(), nn.Dropout(0.5), Block())
        self.fc = nn.Linear(4, 3)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.stem(x)), inplace=True)
        return self.fc(self.stage2(self.stage1(x)).mean((2, 3)))


class TokenNet(nn.Module):
    """A class token and positions owned by the root, as in vision transformers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.position = nn.Parameter(torch.randn(1, 9, 6))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(6, 2, 12, dropout=0.1, batch_first=True) for _ in range(3)
        )
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        n_rows = x.shape[0]
        x = torch.cat([self.token.expand(n_rows, -1, -1), self.embed(x)], dim=1) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)[:, 0].reshape(n_rows, -1)


class Lambda(nn.Module):
    """Layers a, b and c of a network whose forward is given."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name in "abc":
            self.add_module(name, layers.get(name) or nn.Linear(8, 8))

    def forward(self, x):
        return self.function(self, x)


def extract(network, trained, layer="output"):
    """Make an extractor of a network in which only the parameters with these prefixes move."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(trained)))
    return FeatureExtractor(network, layer).eval()


def activations_at(extractor, split, inputs):
    with torch.no_grad():
        (activations,) = run_taps(
            extractor.network, inputs, [LayerTap(split.layer, "output", "flatten")]
        )
    return activations


def gradients(extractor, model, inputs):
    extractor.zero_grad()
    model(inputs).sigmoid().sum().backward()
    return {name: p.grad.clone() for name, p in extractor.named_parameters() if p.requires_grad}


def has_no_trace(network):
    return not any("forward" in module.__dict__ for module in network.modules())


def branch(network, x):
    x = network.a(x)
    return network.b(x) + network.c(x)


MLP = [nn.Linear(8, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)]
NESTED = [
    nn.Sequential(nn.Linear(8, 6), nn.ReLU()),
    nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2)),
]
CUTS = [
    # network, inputs, trained, layer of the cut
    (lambda: nn.Sequential(*MLP), VECTORS, ["4"], "3"),
    (lambda: nn.Sequential(*MLP), VECTORS, ["2", "4"], "1"),
    (lambda: nn.Sequential(*MLP), VECTORS, ["2"], "1"),
    (lambda: nn.Sequential(*NESTED), VECTORS, ["1.1"], "1.0"),
    (lambda: nn.Sequential(*NESTED), VECTORS, ["1"], "0"),
    (ResNet, IMAGES, ["fc"], "stage2"),
    (ResNet, IMAGES, ["stage2.2", "fc"], "stage2.1"),
    (ResNet, IMAGES, ["stage2"], "stage1"),
    # Behind norm1 or conv1 of this block, what enters the block is needed too.
    (ResNet, IMAGES, ["stage2.2.conv2"], "stage2.1"),
    (ResNet, IMAGES, ["stage1.1.norm2"], "stage1.0"),
    (ResNet, IMAGES, ["stage1.0"], "norm"),
    (ResNet, IMAGES, ["norm"], "stem"),
    (TokenNet, TOKENS, ["norm"], "layers.2"),
    (TokenNet, TOKENS, ["layers.2"], "layers.1"),
    # Owned by the root, which starts first, but used behind the first layer.
    (TokenNet, TOKENS, ["position"], "embed"),
    # Never called: the attention reads its weights.
    (TokenNet, TOKENS, ["layers.1.self_attn.out_proj"], "layers.0"),
    # The tuple of the attention, its weights left out.
    (
        lambda: Lambda(
            lambda n, x: n.b(n.a(x, x, x, need_weights=False)[0]).mean(1),
            a=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        TOKENS,
        ["b"],
        "a",
    ),
    # Layers called before and after the cut, with weights or without.
    (lambda: Lambda(lambda n, x: n.c(n.a(n.b(n.a(x))))), VECTORS, ["c"], "b"),
    (lambda: Lambda(lambda n, x: n.b(n.c(n.b(n.a(x)))), b=nn.Tanh()), VECTORS, ["c"], "b"),
    (lambda: Lambda(lambda n, x: n.c(n.b(n.a(n.a(x))))), VECTORS, ["c"], "b"),
    # A frozen branch that starts before the first trained layer, and ends after it.
    (lambda: Lambda(branch), VECTORS, ["b"], "a"),
]
NAMES = [f"{i}-{case[3]}" for i, case in enumerate(CUTS)]


@pytest.fixture(params=CUTS, ids=NAMES)
def case(request):
    make, inputs, trained, layer = request.param
    extractor = extract(copy.deepcopy(make()), trained)
    split, reason = find_split(extractor, inputs[:3])
    assert reason is None
    return extractor, inputs, split, layer


def test_where_the_cut_is(case):
    extractor, inputs, split, layer = case
    assert split.layer == layer
    assert activations_at(extractor, split, inputs).shape == (5, np.prod(split.shape))


def test_outputs_and_gradients_are_those_of_the_network(case):
    extractor, inputs, split, _ = case
    tail, activations = Tail(extractor, split), activations_at(extractor, split, inputs)
    before = activations.clone()
    torch.testing.assert_close(tail(activations), extractor(inputs))
    shaped = activations[:1].reshape(1, *split.shape)
    torch.testing.assert_close(tail(shaped), extractor(inputs[:1]))
    expected = gradients(extractor, extractor, inputs)
    torch.testing.assert_close(gradients(extractor, tail, activations), expected)
    assert torch.equal(activations, before)


def test_training_the_tail_trains_the_network(case):
    extractor, inputs, split, _ = case
    tail, activations = Tail(extractor, split), activations_at(extractor, split, inputs)
    before = extractor(inputs)
    names = [name for name, _ in tail.named_parameters()]
    assert names == [f"extractor.{name}" for name, _ in extractor.named_parameters()]
    optimizer = torch.optim.SGD([p for p in tail.parameters() if p.requires_grad], lr=0.1)
    tail(activations).sigmoid().sum().backward()
    optimizer.step()
    assert not torch.allclose(extractor(inputs), before)
    torch.testing.assert_close(tail(activations), extractor(inputs))
    assert has_no_trace(extractor)


def add_input(network, x):
    return network.c(network.b(network.a(x)) + x)


def mask_by_input(network, x):
    is_padding = x == 0
    return network.c(network.b(network.a(x)).masked_fill(is_padding, 0.0))


def remember_input(network, x):
    return network.c(network.b(network.a(x)) + network.a.last)


class Remembering(nn.Linear):
    def forward(self, x):
        self.last = x
        return super().forward(x)


NEEDS_MORE, MIXES = "needs more than its output", "depends on other rows"
REFUSED = [
    (lambda: Lambda(add_input), VECTORS, ["c"], NEEDS_MORE),
    (lambda: Lambda(mask_by_input), VECTORS, ["c"], NEEDS_MORE),
    (lambda: Lambda(remember_input, a=Remembering(8, 8)), VECTORS, ["c"], NEEDS_MORE),
    # At first a scale of zero hides that the input is used.
    (
        lambda: Lambda(lambda n, x: n.b(n.a(x)) + n.c(x) * n.c.weight.new_zeros(1)),
        VECTORS,
        ["b"],
        NEEDS_MORE,
    ),
    # Only in training: another input of the tail, dropout before the cut.
    (
        lambda: Lambda(lambda n, x: n.c(n.a(x) + (x if n.training else 0))),
        VECTORS,
        ["c"],
        NEEDS_MORE,
    ),
    (
        lambda: Lambda(lambda n, x: n.c(n.a(nn.functional.dropout(x, training=n.training)))),
        VECTORS,
        ["c"],
        NEEDS_MORE,
    ),
    (lambda: Lambda(lambda n, x: n.c(n.b(n.a(x - x.mean(0))))), VECTORS, ["c"], MIXES),
    (lambda: Lambda(lambda n, x: n.c(n.b(n.a(x.cumsum(0))))), VECTORS, ["c"], MIXES),
    # Trained and used before the rest: shared weights, one layer by the weights of another.
    (
        lambda: Lambda(lambda n, x: n.a(n.b(n.a(x)))),
        VECTORS,
        ["a"],
        "no frozen layer with weights",
    ),
    (
        lambda: Lambda(lambda n, x: n.b(nn.functional.linear(n.b(x), n.a.weight))),
        VECTORS,
        ["b"],
        "no frozen layer with weights",
    ),
    (lambda: nn.Sequential(nn.Flatten(), *MLP), VECTORS, [""], "no frozen layer with weights"),
    (ResNet, IMAGES, [""], "no frozen layer with weights"),
    (lambda: nn.Sequential(*MLP), VECTORS, ["none"], "nothing that the features depend on"),
    # Tokens first.
    (
        lambda: Lambda(lambda n, x: n.c(n.a(x.transpose(0, 1)).mean(0))),
        TOKENS,
        ["c"],
        "no layer before the first trained one gives",
    ),
]


@pytest.mark.parametrize(("make", "inputs", "trained", "reason"), REFUSED)
def test_no_cut(make, inputs, trained, reason):
    network = copy.deepcopy(make())
    split, why = find_split(extract(network, trained), inputs[:3])
    assert split is None
    assert reason in why


def test_layers_behind_the_features_do_not_count():
    extractor = extract(ResNet(), ["fc"], layer="stage2")
    assert find_split(extractor, IMAGES)[1] == "nothing that the features depend on is trained"


def test_features_below_a_head_and_hooks_in_the_tail():
    extractor = extract(ResNet(), ["stage2.2"], layer="fc:input")
    split, _ = find_split(extractor, IMAGES[:2])
    tail, activations = Tail(extractor, split), activations_at(extractor, split, IMAGES)
    called = []
    for name, layer in extractor.network.named_modules():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    features = tail(activations)
    assert features.shape == (5, 4)
    # The skipped layers are called, but do nothing; those inside of them are not called.
    assert called[:3] == ["stem", "norm", "stage1"]
    assert called[-1] == "stage2"
    torch.testing.assert_close(features, extractor(IMAGES))


def test_the_row_cache_gives_what_the_tail_takes():
    network = ResNet()
    backbone = Backbone(network)
    extractor = extract(backbone.copy_module(), ["stage2.2"], layer="penultimate")
    split, _ = find_split(extractor, IMAGES[:3])
    (activations,) = compute_activations(
        backbone, IMAGES.numpy(), layers=(split.layer,), pooling="flatten"
    )
    features = Tail(extractor, split)(torch.from_numpy(activations))
    torch.testing.assert_close(features, extractor(IMAGES))


def test_finding_leaves_the_extractor_alone(tensors_of):
    extractor = extract(ResNet(), ["stage2.2", "fc"]).train()
    before, modes = tensors_of(extractor), [module.training for module in extractor.modules()]
    random_state = torch.random.get_rng_state()
    find_split(extractor, IMAGES)
    assert tensors_of(extractor) == before
    assert [module.training for module in extractor.modules()] == modes
    assert all(parameter.grad is None for parameter in extractor.parameters())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in extractor.modules())


def test_what_is_before_the_cut_acts_as_in_eval_mode():
    extractor = extract(ResNet(), ["stage2.2", "fc"])
    split, _ = find_split(extractor, IMAGES)
    tail, activations = Tail(extractor, split), activations_at(extractor, split, IMAGES)
    statistics = extractor.network.norm.running_mean.clone()
    tail.train()
    assert tail(activations).requires_grad
    assert torch.equal(extractor.network.norm.running_mean, statistics)
    # Dropout before the cut included, which is all that is random here.
    torch.testing.assert_close(tail(activations), tail(activations))


def test_an_exception_leaves_no_trace():
    class Failing(nn.Linear):
        fails = False

        def forward(self, x):
            if self.fails:
                raise KeyError("in the tail")
            return super().forward(x)

    network = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), Failing(8, 8))
    kept = network[0].forward = network[0].forward
    extractor = extract(network, ["2"])
    split, _ = find_split(extractor, VECTORS)
    tail = Tail(extractor, split)
    network[2].fails = True
    with pytest.raises(KeyError, match="in the tail"):
        tail(VECTORS)
    with pytest.raises(RuntimeError):
        tail(VECTORS[:, :3])
    assert network[0].__dict__["forward"] is kept
    assert "forward" not in network[1].__dict__


def test_a_network_that_takes_another_way_is_an_error():
    network = Lambda(lambda n, x: n.c(n.b(n.a(x)) if n.is_long else n.a(x)))
    network.is_long = True
    extractor = extract(network, ["c"])
    split, _ = find_split(extractor, VECTORS)
    assert split.layer == "b"
    network.is_long = False
    with pytest.raises(RuntimeError, match="did not call this layer"):
        Tail(extractor, split)(VECTORS)
    assert has_no_trace(network)


def test_copies_of_a_tail_stand_on_their_own():
    extractor = extract(ResNet(), ["fc"])
    split, _ = find_split(extractor, IMAGES)
    tail, activations = Tail(extractor, split), activations_at(extractor, split, IMAGES)
    expected = tail(activations)
    torch.testing.assert_close(pickle.loads(pickle.dumps(extractor))(IMAGES), expected)
    twins = [copy.deepcopy(tail), pickle.loads(pickle.dumps(tail))]
    with torch.no_grad():
        extractor.network.fc.weight.zero_()
    for twin in twins:
        torch.testing.assert_close(twin(activations), expected)


def test_one_row_is_too_few():
    with pytest.raises(ValueError, match="inputs of 1 row"):
        find_split(extract(nn.Sequential(*MLP), ["4"]), VECTORS[:1])
