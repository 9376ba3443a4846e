import pytest
import torch
from torch import nn

from sktransfer.backbones._taps import is_channels_last, make_tap, pool, run_taps

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def names_of(network):
    return [name for name, _ in network.named_modules() if name]


def tap(network, *layers, inputs=IMAGES):
    with torch.no_grad():
        return run_taps(network, inputs, [make_tap(layer, names_of(network)) for layer in layers])


def test_penultimate_is_what_the_last_linear_layer_is_given(small_network):
    small_network.eval()
    features, logits = tap(small_network, "penultimate", "output")
    torch.testing.assert_close(small_network.fc(features), logits)


@pytest.mark.parametrize("end", [[], [nn.Dropout()], [nn.Softmax(dim=1)], [nn.Identity()]])
def test_penultimate_looks_through_what_may_follow_the_head(end):
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), *end).eval()
    (features,) = tap(network, "penultimate", inputs=torch.rand(3, 4))
    assert features.shape == (3, 6)


def test_penultimate_of_a_network_without_head_is_its_output():
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    inputs = torch.rand(3, 4)
    (features,) = tap(network, "penultimate", inputs=inputs)
    torch.testing.assert_close(features, network(inputs))


def test_a_later_layer_that_works_in_place_does_not_reach_a_tap(small_network):
    small_network.eval()
    (activations,) = run_taps(small_network, IMAGES, [make_tap("norm", ["norm"], "flatten")])
    assert (activations < 0).any()


def test_the_pass_ends_at_the_last_layer_that_is_wanted(small_network):
    called = []
    small_network.fc.register_forward_hook(lambda *_: called.append("fc"))
    tap(small_network.eval(), "conv", "norm")
    assert called == []


def test_what_a_layer_is_given(small_network):
    given, got = tap(small_network.eval(), "norm:input", "conv")
    torch.testing.assert_close(given, got)
    assert got.shape == (3, 8)


def test_no_hook_stays_behind(small_network):
    tap(small_network.eval(), "penultimate", "conv")
    with pytest.raises(RuntimeError):
        tap(small_network, "penultimate", inputs=torch.rand(3, 2, 8, 8))
    for module in small_network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_outputs_that_are_tuples_or_mappings():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)

        def forward(self, tokens):
            return {"last_hidden_state": self.lstm(tokens)[0]}

    network = Recurrent()
    hidden, output = tap(network, "lstm", "output", inputs=torch.rand(3, 5, 4))
    torch.testing.assert_close(hidden, output)


def test_a_wrong_layer_is_named_with_its_near_misses(small_network):
    with pytest.raises(
        ValueError, match=r"Got layers='norn'.*'all'.*'conv', 'norm'.*Did you mean 'norm'"
    ):
        make_tap("norn", names_of(small_network))
    with pytest.raises(ValueError, match="Got layers='norm:outside'"):
        make_tap("norm:outside", names_of(small_network))


def test_a_layer_that_is_never_called_is_named(small_network):
    small_network.spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'spare'.*never calls"):
        tap(small_network.eval(), "spare")


def test_pooling():
    images, tokens = torch.rand(2, 3, 4, 5), torch.rand(2, 7, 3)
    torch.testing.assert_close(pool(images, "auto"), images.mean((2, 3)))
    torch.testing.assert_close(pool(images, "max"), images.amax((2, 3)))
    torch.testing.assert_close(pool(tokens, "auto"), tokens.mean(1))
    torch.testing.assert_close(pool(tokens, "cls"), tokens[:, 0])
    torch.testing.assert_close(pool(tokens, "mean"), tokens[:, 1:].mean(1))
    torch.testing.assert_close(pool(tokens[:, :1], "mean"), tokens[:, 0])
    torch.testing.assert_close(pool(images, "mean"), images.mean((2, 3)))
    assert pool(images, "flatten").shape == (2, 60)
    assert pool(images, lambda a: a[:, :, 0, 0]).shape == (2, 3)
    assert pool(torch.rand(4), "auto").shape == (4, 1)
    with pytest.raises(ValueError, match="pooling='cls'"):
        pool(images, "cls")
    with pytest.raises(ValueError, match=r"expected \(2, n_features\)"):
        pool(images, lambda a: a[0])


def test_generalised_mean():
    images, tokens = torch.rand(2, 3, 4, 5), torch.rand(2, 7, 3)
    expected = images.double().pow(3).mean((2, 3)).pow(1 / 3)
    torch.testing.assert_close(pool(images, "gem"), expected.float())
    assert pool(tokens, "gem").shape == (2, 3)
    # Between mean and maximum, and finite where activations are negative.
    assert (pool(images, "gem") >= pool(images, "avg")).all()
    assert (pool(images, "gem") <= pool(images, "max")).all()
    torch.testing.assert_close(pool(-images, "gem"), torch.full((2, 3), 1e-6))


class OnTheLastAxis(nn.Module):
    """A block like those of Swin transformers: maps (n, height, width, channels)."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc(self.norm(x))


class Permute(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(*self.axes)


def test_maps_with_channels_last_are_pooled_over_their_places():
    width = 5
    to_last = nn.Sequential(nn.Conv2d(1, width, 3), Permute(0, 2, 3, 1), nn.LayerNorm(width))
    network = nn.Sequential(to_last, OnTheLastAxis(width)).eval()
    with torch.no_grad():
        maps = [network[0](IMAGES), network(IMAGES)]
    for layers in (["0", "1"], ["1:input", "output"], ["0.2", "penultimate"]):
        for found, expected in zip(tap(network, *layers), maps, strict=True):
            torch.testing.assert_close(found, expected.mean((1, 2)))
    # As they come where they go back into the network.
    (flat,) = run_taps(network, IMAGES, [make_tap("1", names_of(network), "flatten")])
    torch.testing.assert_close(flat, maps[1].flatten(1))
    (corner,) = run_taps(
        network, IMAGES, [make_tap("1", names_of(network), lambda a: a[..., 0, 0])]
    )
    torch.testing.assert_close(corner, maps[1][:, 0, 0])


def test_maps_with_as_many_channels_as_places_are_told_by_their_layers():
    maps = torch.rand(2, 6, 6, 6)
    assert is_channels_last(OnTheLastAxis(6), maps.shape)
    for block in (nn.Conv2d(6, 6, 1), nn.Sequential(nn.Conv2d(6, 6, 1), nn.Linear(6, 6))):
        assert not is_channels_last(block, maps.shape)
    assert not is_channels_last(nn.ReLU(), maps.shape)


def test_convolutions_with_fully_connected_layers_inside_keep_channels_first():
    class SqueezeAndExcite(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 6)
            self.back = nn.Linear(6, 4)

        def forward(self, x):
            x = self.conv(x)
            return x * self.back(self.fc(x.mean((2, 3)))).sigmoid()[:, :, None, None]

    network = nn.Sequential(SqueezeAndExcite(), nn.ReLU())
    (found,) = tap(network, "0")
    with torch.no_grad():
        torch.testing.assert_close(found, network[0](IMAGES).mean((2, 3)))


def test_the_head_may_sit_in_a_classifier_with_dropout():
    classifier = nn.Sequential(nn.Dropout(), nn.Linear(4, 6), nn.ReLU(), nn.Dropout())
    network = nn.Sequential(classifier, nn.Sequential(nn.Dropout(), nn.Linear(6, 2))).eval()
    inputs = torch.rand(3, 4)
    (features,) = tap(network, "penultimate", inputs=inputs)
    torch.testing.assert_close(features, classifier(inputs))


def test_a_layer_whose_first_axis_is_not_that_of_the_rows_is_named():
    class TokensFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x.transpose(0, 1)).transpose(0, 1)

    with pytest.raises(ValueError, match="'inner', whose activations have 5 rows for 3 rows"):
        tap(TokensFirst(), "inner", inputs=torch.rand(3, 5, 4))


class Embedding(nn.Module):
    def __init__(self, link):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.link = link

    def forward(self, x):
        return self.link(self.fc(input=x), x)


def test_a_layer_that_more_than_a_softmax_follows_is_no_head():
    inputs = torch.rand(3, 4)
    for link in (
        lambda f, x: f.relu(),
        lambda f, x: f + x,
        lambda f, x: nn.functional.normalize(f),
    ):
        network = Embedding(link)
        (features,) = tap(network, "penultimate", inputs=inputs)
        torch.testing.assert_close(features, network(inputs))
    for link in (lambda f, x: f, lambda f, x: f.softmax(1), lambda f, x: f.log_softmax(1)):
        (features,) = tap(Embedding(link), "penultimate", inputs=inputs)
        torch.testing.assert_close(features, inputs)


@pytest.mark.parametrize("end", [nn.ReLU(), nn.ReLU(inplace=True), torch.relu])
def test_a_rectifier_that_changes_nothing_still_counts(end):
    network = Embedding(lambda f, x: end(f))
    nn.init.constant_(network.fc.bias, 10.0)
    if isinstance(end, nn.Module):
        network.end = end
    inputs = torch.rand(3, 4)
    (features,) = tap(network, "penultimate", inputs=inputs)
    torch.testing.assert_close(features, network(inputs))


def test_a_head_with_a_parametrization():
    network = nn.Sequential(nn.Linear(4, 6), nn.utils.parametrizations.weight_norm(nn.Linear(6, 2)))
    (features,) = tap(network, "penultimate", inputs=torch.rand(3, 4))
    assert features.shape == (3, 6)


class Averaged(nn.Module):
    """Ends in a convolution whose maps are averaged, as that of SqueezeNet."""

    def __init__(self, *end, n_classes=5, average=None, **options):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(6, n_classes, **{"kernel_size": 1, **options})
        self.end = nn.Sequential(nn.Identity(), *end)
        self.average = average or nn.AdaptiveAvgPool2d(1)

    def forward(self, images):
        return self.average(self.end(self.head(self.body(images)))).flatten(1)


@pytest.mark.parametrize("end", [[], [nn.ReLU()], [nn.ReLU(inplace=True)], [nn.Dropout()]])
@pytest.mark.parametrize("link", [None, nn.Softmax(dim=1)])
def test_a_convolution_whose_maps_are_averaged_is_a_head(end, link):
    network = Averaged(*end).eval()
    whole = network if link is None else nn.Sequential(network, link)
    features, logits = tap(whole, "penultimate", "logits")
    with torch.no_grad():
        torch.testing.assert_close(features, network.body(IMAGES).mean((2, 3)))
        torch.testing.assert_close(logits, network(IMAGES))


@pytest.mark.parametrize(
    "network",
    [
        # What extractors without a head end in.
        Averaged(kernel_size=3),
        Averaged(bias=False),
        Averaged(nn.BatchNorm2d(5)),
        Averaged(nn.Hardswish()),
        Averaged(average=nn.AdaptiveMaxPool2d(1)),
        Averaged(average=nn.AdaptiveAvgPool2d(2)),
        nn.Sequential(Averaged(n_classes=4), nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 3, 1)),
        # One place, as behind a pooling.
        Averaged(stride=8, kernel_size=1),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 5, 1), nn.ReLU(), nn.Flatten()),
        nn.Conv2d(1, 4, 1),
    ],
)
def test_other_convolutions_at_the_end_are_no_heads(network):
    network.eval()
    features, output = tap(network, "penultimate", "output")
    torch.testing.assert_close(features, output)
    with pytest.raises(ValueError, match="does not end in a fully connected layer"):
        tap(network, "logits")


def test_pooling_that_takes_a_view_is_safe_from_layers_in_place():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3))
    taps = [make_tap(name, names_of(network), lambda a: a[:, :, -1, -1]) for name in ("0", "2")]
    with torch.no_grad():
        corner, _ = run_taps(network, IMAGES, taps)
        torch.testing.assert_close(corner, network[0](IMAGES)[:, :, -1, -1])


class Named(nn.Module):
    """Gives several things by name, as networks of transformers do."""

    def __init__(self, **layers):
        super().__init__()
        self.tokens = nn.Linear(4, 6)
        self.layers = nn.ModuleDict(layers)

    def forward(self, inputs):
        tokens = self.tokens(inputs).reshape(-1, 2, 3)
        output = {"last_hidden_state": tokens}
        return output | {name: layer(tokens[:, 0]) for name, layer in self.layers.items()}


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ({"pooler_output": nn.Tanh()}, "pooler_output"),
        ({"pooler_output": nn.Tanh(), "logits": nn.Linear(3, 5)}, "logits"),
        ({"hidden_states": nn.Linear(3, 5)}, "last_hidden_state"),
    ],
)
def test_what_a_network_with_several_outputs_is_about(layers, name):
    network, inputs = Named(**layers).eval(), torch.rand(3, 4)
    (output,) = tap(network, "output", inputs=inputs)
    with torch.no_grad():
        torch.testing.assert_close(output, pool(network(inputs)[name], "auto"))
    if name == "logits":
        features, logits = tap(network, "penultimate", "logits", inputs=inputs)
        torch.testing.assert_close(logits, output)
        torch.testing.assert_close(network.layers["logits"](features), logits)
