import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._taps import make_tap, run_taps
from sktransfer.backbones.speed._folding import PairRecorder, fold, may_fold

rng = np.random.default_rng(0)
IMAGES = rng.random((40, 3, 9, 9)).astype(np.float32)
FEW = torch.from_numpy(IMAGES[:3])


class Residual(nn.Module):
    """Pairs as in a ResNet, one inside a Sequential, and a convolution that two layers read."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.read_twice = nn.Conv2d(6, 6, 1)
        self.bn2 = nn.BatchNorm2d(6, affine=False)
        self.fc = nn.Linear(6, 4)

    def forward(self, images):
        maps = self.relu(self.bn1(self.conv1(images)))
        maps = self.relu(self.block(maps) + maps)
        maps = self.read_twice(maps)
        maps = self.bn2(maps) + 0.5 * maps
        return self.fc(maps.mean((2, 3)))


def randomise(network):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
                if layer.affine:
                    layer.weight.data.normal_(1, 0.3)
                    layer.bias.data.normal_()
    return network.eval().requires_grad_(False)


def make_chain(*layers):
    return randomise(nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4)))


def find_pairs(network, tapped=()):
    with torch.inference_mode(), PairRecorder(network) as recorder:
        network(FEW)
    return recorder.list_pairs(tapped)


def count_folded(backbone):
    """Return how many layers of the network that rows are sent through are passed over."""
    fast = list(backbone._fast_networks._ready.values())[-1]
    return sum("forward" in vars(layer) for layer in fast.modules())


def test_pairs_are_found_where_one_norm_alone_reads_a_convolution():
    assert find_pairs(randomise(Residual())) == [("conv1", "bn1"), ("block.0", "block.1")]


@pytest.mark.parametrize(
    "tapped", [["bn1"], ["conv1"], ["conv1:output"], ["bn1:input"], ["fc", "bn1"]]
)
def test_tapped_layers_are_left_alone(tapped):
    assert find_pairs(randomise(Residual()), tapped) == [("block.0", "block.1")]


def test_a_container_around_a_convolution_is_left_alone_when_tapped():
    class Wrapped(nn.Sequential):
        pass

    network = randomise(
        nn.Sequential(Wrapped(nn.Conv2d(3, 4, 3)), Wrapped(nn.BatchNorm2d(4)), nn.Flatten())
    )
    assert find_pairs(network) == [("0.0", "1.0")]
    assert find_pairs(network, ["0"]) == []
    assert find_pairs(network, ["1:input"]) == []
    assert find_pairs(network, ["2"]) == [("0.0", "1.0")]


def test_a_layer_that_is_called_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
            self.other = nn.BatchNorm2d(3)

        def forward(self, images):
            return self.other(self.conv(self.norm(self.conv(images))))

    assert find_pairs(randomise(Twice())) == []


def test_code_that_depends_on_values_is_left_alone():
    class Depends(nn.Sequential):
        def forward(self, images):
            return super().forward(images) if images.mean() > 0 else images

    network = randomise(Depends(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert find_pairs(network) == []


class OwnConvolution(nn.Conv2d):
    pass


class OwnNorm(nn.BatchNorm2d):
    pass


@pytest.mark.parametrize(
    "layers",
    [
        (OwnConvolution(3, 4, 3), nn.BatchNorm2d(4)),
        (nn.Conv2d(3, 4, 3), OwnNorm(4)),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        (nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)),
        (nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    ],
)
def test_what_is_no_pair(layers):
    assert find_pairs(nn.Sequential(*layers).eval()) == []


def test_networks_with_hooks_are_left_alone():
    network = randomise(Residual())
    assert may_fold(network)
    handle = network.conv1.register_forward_hook(lambda *args: None)
    assert not may_fold(network)
    handle.remove()
    assert may_fold(network)
    assert not may_fold(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_nothing_stays_on_a_network_that_was_watched(tensors_of):
    network = randomise(Residual())
    before = tensors_of(network)
    find_pairs(network)
    assert may_fold(network)
    assert tensors_of(network) == before


@pytest.mark.parametrize("share", [True, False])
def test_a_folded_copy_computes_the_same_and_changes_nothing(share, tensors_of):
    network = randomise(Residual())
    before = tensors_of(network)
    folded = fold(network, find_pairs(network), share)
    with torch.inference_mode():
        expected, output = network(FEW), folded(FEW)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert tensors_of(network) == before
    assert (folded.fc.weight is network.fc.weight) == share
    assert [name for name, _ in folded.named_modules()] == [n for n, _ in network.named_modules()]
    # In bfloat16 the copy is cast, which must not reach the network.
    if not share:
        folded.bfloat16()
        assert tensors_of(network) == before


LAYERS = ["penultimate", "output", "conv1", "bn1", "relu", "block", "block.0", "fc:input", "bn2"]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", ["auto", "flatten"])
def test_activations_are_those_of_the_network_as_it_is(layer, pooling):
    network = randomise(Residual())
    backbone = Backbone(network)
    kwargs = {"layers": (layer,), "pooling": pooling, "cache": False}
    with torch.inference_mode():
        (expected,) = run_taps(
            network, torch.from_numpy(IMAGES), [make_tap(layer, backbone.layer_names, pooling)]
        )
    expected = expected.numpy()
    (features,) = compute_activations(backbone, IMAGES, batch_size=16, **kwargs)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * scale)
    n_folded = count_folded(backbone)
    # The pass ends at the layer.
    assert n_folded == {"conv1": 0, "bn1": 0, "relu": 1, "block.0": 1}.get(layer, 2)
    # To the bit, whatever passes came before.
    for new in (backbone, Backbone(network)):
        (again,) = compute_activations(new, IMAGES, batch_size=16, **kwargs)
        np.testing.assert_array_equal(again, features)


def test_a_backbone_stays_as_it_was(tensors_of):
    backbone = Backbone(randomise(Residual()))
    before, fingerprint = tensors_of(backbone.copy_module()), backbone.fingerprint
    compute_activations(backbone, IMAGES, batch_size=8)
    assert count_folded(backbone) == 2
    copied = backbone.copy_module()
    assert tensors_of(copied) == before
    assert not any("forward" in vars(layer) for layer in copied.modules())
    assert Backbone(copied).fingerprint == fingerprint


def test_a_network_that_comes_out_otherwise_is_not_folded():
    class KeepsWeights(nn.Module):
        """Reads the weights of its convolution elsewhere, which no watching can see."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images):
            return self.norm(self.conv(images)) * self.conv.weight.sum()

    backbone = Backbone(randomise(KeepsWeights()))
    (expected,) = compute_activations(backbone, IMAGES, batch_size=40, cache=False)
    (features,) = compute_activations(backbone, IMAGES, batch_size=8, cache=False)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert count_folded(backbone) == 0


def test_code_that_cannot_be_watched_runs_all_the_same():
    class Unwatchable(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images):
            if torch._C._len_torch_dispatch_stack():
                raise RuntimeError("not under a mode")
            return self.norm(self.conv(images))

    backbone = Backbone(randomise(Unwatchable()))
    (expected,) = compute_activations(backbone, IMAGES, batch_size=40, cache=False)
    (features,) = compute_activations(backbone, IMAGES, batch_size=8)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert count_folded(backbone) == 0


def test_volumes_and_series_are_folded_too():
    for dim, conv, norm in ((1, nn.Conv1d, nn.BatchNorm1d), (3, nn.Conv3d, nn.BatchNorm3d)):
        network = nn.Sequential(conv(2, 3, 3), norm(3)).eval().requires_grad_(False)
        network[1].running_mean.normal_()
        inputs = torch.randn(2, 2, *(5,) * dim)
        folded = fold(network, [("0", "1")])
        torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-4, atol=1e-5)
