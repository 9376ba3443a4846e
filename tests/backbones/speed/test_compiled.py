import pickle
import shutil
import threading
import warnings

import numpy as np
import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import compute_activations

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(20, 3, 8, 8)).astype(np.float32)


class Recorder:
    """A backend of torch.compile that counts the graphs it is given, and how often they run."""

    def __init__(self):
        self.graphs, self.n_runs = [], 0

    def __call__(self, graph, inputs):
        self.graphs.append(graph)

        def run(*args):
            self.n_runs += 1
            return graph(*args)

        return run


def make_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 7, 3),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(7, 4),
            nn.Softmax(dim=1),
        )
        network[1].running_mean.normal_()
        network[1].running_var.uniform_(0.5, 2)
    return network


def send(backbone, X=IMAGES, **options):
    return compute_activations(backbone, X, **{"cache": False, "batch_size": 8, **options})


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    ("layers", "pooling"),
    [
        (("penultimate",), "auto"),
        (("logits",), "auto"),
        (("output",), "auto"),
        # An in-place rectifier follows these.
        (("1", "3", "4"), "avg"),
        (("3:input", "penultimate", "7"), "gem"),
        (("2",), "flatten"),
        (("0", "3"), lambda maps: maps.amax(dim=(2, 3))),
    ],
)
def test_activations_are_those_of_the_network_as_it_is(layers, pooling, backend):
    network = make_network()
    expected = send(Backbone(network), layers=layers, pooling=pooling)
    backbone = Backbone(network)
    blocks = send(backbone, layers=layers, pooling=pooling, compile={"backend": backend})
    for block, wanted in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block, wanted, atol=1e-5)
    assert len(backbone._compiled_networks._ready) == 1


def test_full_batches_go_through_the_compiled_network():
    backbone, recorder = Backbone(make_network()), Recorder()
    send(backbone, compile={"backend": recorder})
    # One graph, hooks and all: the batch that is tried, and two full ones; four rows are left over.
    assert (len(recorder.graphs), recorder.n_runs) == (1, 3)
    send(backbone, compile={"backend": recorder})
    assert (len(recorder.graphs), recorder.n_runs) == (1, 5)
    send(backbone, IMAGES[:7], compile={"backend": recorder})
    assert recorder.n_runs == 5


def test_what_comes_behind_the_last_layer_is_left_out():
    called = []

    def look_at(graph, inputs):
        called.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph)

    backend = aot_autograd(fw_compiler=look_at)
    send(Backbone(make_network()), layers=("3",), compile={"backend": backend})
    assert any("conv" in name for name in called)
    assert not any("softmax" in name for name in called)


def test_each_choice_of_layers_pooling_and_size_is_compiled_and_few_are_kept():
    backbone, recorder = Backbone(make_network()), Recorder()
    for i in range(10):
        layers = (str(i % 5),)
        send(
            backbone, IMAGES[:4], layers=layers, compile={"backend": recorder}, batch_size=3 + i % 2
        )
    # Ten, which is more than torch compiles of one piece of code.
    assert len(recorder.graphs) == 10
    assert len(backbone._compiled_networks._ready) == 4
    before = len(recorder.graphs)
    for pooling in ("max", "flatten"):
        send(backbone, layers=("0",), pooling=pooling, compile={"backend": recorder})
    send(backbone, IMAGES[:, :, :7], layers=("0",), compile={"backend": recorder})
    assert len(recorder.graphs) == before + 3


def test_the_network_and_the_generators_stay_as_they_were(tensors_of):
    network = make_network()
    backbone = Backbone(network)
    state, generator = tensors_of(backbone._network), torch.get_rng_state()
    send(backbone, compile={"backend": "aot_eager"})
    assert tensors_of(backbone._network) == state
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone._network.modules())
    torch.testing.assert_close(torch.get_rng_state(), generator)


def test_a_compiler_that_fails_is_no_error():
    def fail(graph, inputs):
        raise RuntimeError("No working C++ compiler found here")

    backbone = Backbone(make_network())
    with pytest.warns(UserWarning, match=r"goes on without torch.compile: .*No working C\+\+"):
        (features,) = send(backbone, compile={"backend": fail})
    np.testing.assert_array_equal(features, send(backbone)[0])
    # Said once.
    send(backbone, compile={"backend": fail})


def test_a_compiler_that_is_wrong_is_found_out():
    def confuse(graph, inputs):
        return lambda *args: tuple(1.01 * value for value in graph(*args))

    backbone = Backbone(make_network())
    with pytest.warns(UserWarning, match="the compiled network gives other activations"):
        (features,) = send(backbone, compile={"backend": confuse})
    np.testing.assert_array_equal(features, send(backbone)[0])


def test_networks_with_hooks_are_not_compiled():
    network = make_network()
    network[0].register_forward_hook(lambda layer, args, output: output + 1)
    backbone, recorder = Backbone(network), Recorder()
    with pytest.warns(UserWarning, match="it carries forward hooks"):
        (features,) = send(backbone, compile={"backend": recorder})
    np.testing.assert_array_equal(features, send(backbone)[0])
    assert not recorder.graphs


def test_code_that_breaks_the_graph_runs_in_pieces():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, rows):
            rows = self.first(rows)
            return self.head(rows if float(rows.sum()) > 1e9 else rows.relu())

    rows, recorder = RNG.normal(size=(16, 5)).astype(np.float32), Recorder()
    backbone = Backbone(Branching())
    blocks = send(backbone, rows, layers=("first", "head:input"), compile={"backend": recorder})
    expected = send(backbone, rows, layers=("first", "head:input"))
    for block, wanted in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block, wanted, atol=1e-6)
    assert len(recorder.graphs) > 1


def test_in_bfloat16(monkeypatch):
    backbone, recorder = Backbone(make_network()), Recorder()
    (features,) = send(backbone, precision="bfloat16", compile={"backend": recorder})
    (expected,) = send(backbone, precision="bfloat16")
    assert recorder.n_runs == 3
    np.testing.assert_allclose(features, expected, atol=0.02)


def test_a_transformer_compiles_and_is_pickled_without_it():
    transformer = FeatureTransferTransformer(
        make_network(), layers=["2", "penultimate"], batch_size=10, compile={"backend": "aot_eager"}
    )
    clear_row_cache()
    features = transformer.fit_transform(IMAGES)
    assert len(transformer.backbone_._compiled_networks._ready) == 1
    copied = pickle.loads(pickle.dumps(transformer))
    if copied.backbone_ is not transformer.backbone_:
        assert not copied.backbone_._compiled_networks._ready
    # Rows are cached as without: the features are the same to what a network is exact.
    assert transformer.cache_info_.misses == len(IMAGES)
    clear_row_cache()
    eager = FeatureTransferTransformer(make_network(), layers=["2", "penultimate"])
    np.testing.assert_allclose(copied.transform(IMAGES), features, atol=1e-6)
    np.testing.assert_allclose(eager.fit_transform(IMAGES), features, atol=1e-5)


def test_threads_share_a_compiled_network():
    backbone, recorder = Backbone(make_network()), Recorder()
    found = []

    def run():
        found.append(send(backbone, compile={"backend": recorder})[0])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[0], found[1])
    assert len(recorder.graphs) == 1


@pytest.mark.parametrize(
    ("compile", "error", "message"),
    [
        ("max-autotune", TypeError, "Got compile='max-autotune', but expected False, True, or a"),
        ({"modus": "x"}, ValueError, "torch.compile has no option 'modus'; expected some of"),
    ],
)
def test_wrong_options(compile, error, message):
    transformer = FeatureTransferTransformer(make_network(), compile=compile)
    with pytest.raises(error, match=message):
        transformer.fit(IMAGES)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the default backend needs a C++ compiler")
@pytest.mark.skipif(" " in torch.__file__, reason="torch does not quote its path for the linker")
def test_the_default_backend(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    backbone = Backbone(make_network())
    with warnings.catch_warnings():
        # Of torch's own code.
        warnings.simplefilter("ignore", DeprecationWarning)
        blocks = send(backbone, layers=("1", "penultimate"), compile=True)
    (compiled,) = [held[1] for held in backbone._compiled_networks._ready.values()]
    assert type(compiled).__name__ == "CompiledNetwork"
    for block, wanted in zip(blocks, send(backbone, layers=("1", "penultimate")), strict=True):
        np.testing.assert_allclose(block, wanted, atol=1e-5)


@pytest.mark.parametrize("is_linked", [True, False])
def test_a_head_that_is_a_convolution(is_linked):
    body = [nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 1), nn.ReLU(inplace=True)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *[nn.Softmax(dim=1)] * is_linked]
    backbone = Backbone(nn.Sequential(*body, *end))
    (features,) = send(backbone, compile={"backend": "aot_eager"})
    assert features.shape == (20, 6)
    np.testing.assert_allclose(features, send(backbone)[0], atol=1e-5)
