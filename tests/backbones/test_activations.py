import dataclasses
import functools
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import torch

from sktransfer import Backbone
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import cache_key, compute_activations
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.backbones.cache import _worth
from sktransfer.backbones.cache._cache import ROW_CACHE
from sktransfer.backbones.cache._tiers import cache_info

rng = np.random.default_rng(0)
IMAGES = rng.random((30, 8, 8)).astype(np.float32)


def test_activations_are_those_of_the_network_in_eval_mode(small_network):
    backbone = Backbone(small_network.train())
    (logits,) = compute_activations(backbone, IMAGES, layers=("output",), batch_size=7)
    with torch.no_grad():
        expected = small_network.eval()(torch.from_numpy(IMAGES[:, None]))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_each_distinct_row_is_sent_once(small_network):
    backbone = Backbone(small_network)
    twice = np.concatenate([IMAGES, IMAGES[::-1]])
    (features,) = compute_activations(backbone, twice)
    assert small_network.rows_seen == len(IMAGES)
    np.testing.assert_array_equal(features[: len(IMAGES)], features[::-1][: len(IMAGES)])
    (again,) = compute_activations(backbone, twice[10:20])
    assert small_network.rows_seen == len(IMAGES)
    np.testing.assert_array_equal(again, features[10:20])


def test_one_pass_serves_all_layers(small_network):
    backbone = Backbone(small_network)
    separate = [
        compute_activations(backbone, IMAGES, layers=(layer,), cache=False)[0]
        for layer in ("conv", "norm")
    ]
    small_network.rows_seen = 0
    together = compute_activations(backbone, IMAGES, layers=("conv", "norm"))
    assert small_network.rows_seen == len(IMAGES)
    for one, other in zip(separate, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_layer_asked_for_later_is_filled_in(small_network):
    backbone = Backbone(small_network)
    (conv,) = compute_activations(backbone, IMAGES[:20], layers=("conv",))
    both = compute_activations(backbone, IMAGES, layers=("conv", "norm"))
    np.testing.assert_allclose(both[0][:20], conv, rtol=1e-6)
    uncached = compute_activations(backbone, IMAGES, layers=("norm",), cache=False)
    np.testing.assert_allclose(both[1], uncached[0], rtol=1e-6)


def test_rows_of_any_number_type_and_memory_order_are_the_same_rows(small_network):
    backbone = Backbone(small_network)
    compute_activations(backbone, IMAGES)
    for same in (IMAGES.astype(np.float64), np.asfortranarray(IMAGES), IMAGES[:, None]):
        compute_activations(backbone, same)
    assert small_network.rows_seen == len(IMAGES)


def test_another_network_does_not_get_the_same_rows(small_network):
    (one,) = compute_activations(Backbone(small_network), IMAGES)
    with torch.no_grad():
        small_network.conv.weight.mul_(2)
    (other,) = compute_activations(Backbone(small_network), IMAGES)
    assert np.abs(one - other).max() > 0.1


def test_a_store_over_the_budget_is_kept_while_in_use_and_then_dropped(small_network, monkeypatch):
    monkeypatch.setattr(ROW_CACHE, "budget", 100)
    backbone = Backbone(small_network)
    (first,) = compute_activations(backbone, IMAGES)
    compute_activations(backbone, IMAGES)
    assert small_network.rows_seen == len(IMAGES)
    compute_activations(backbone, IMAGES, layers=("conv",))
    (again,) = compute_activations(backbone, IMAGES)
    np.testing.assert_allclose(first, again, rtol=1e-6)
    assert small_network.rows_seen == 3 * len(IMAGES)


def test_small_networks_on_tables_are_not_cached_by_default():
    backbone = Backbone(torch.nn.Linear(4, 3))
    X = rng.random((6, 4))
    compute_activations(backbone, X)
    assert not any(key[0] == backbone.fingerprint for key in ROW_CACHE._stores)
    compute_activations(backbone, X, cache=True)
    assert any(key[0] == backbone.fingerprint for key in ROW_CACHE._stores)


def test_the_extractor_passes_gradients(small_network):
    extractor = FeatureExtractor(small_network)
    extractor(torch.from_numpy(IMAGES[:, None])).sum().backward()
    assert small_network.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("batch_size", [1, 8, 64, "auto"])
def test_batches_do_not_matter(small_network, batch_size):
    backbone = Backbone(small_network)
    (expected,) = compute_activations(backbone, IMAGES, cache=False, batch_size=30)
    (features,) = compute_activations(backbone, IMAGES, cache=False, batch_size=batch_size)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


class BatchSizes(torch.nn.Module):
    sizes = []

    def forward(self, rows):
        BatchSizes.sizes.append(len(rows))
        return rows.flatten(1).mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 3, 224, 224), 32), ((150, 3, 32, 32), 128), ((20, 3, 700, 700), 16), ((5000, 20), 4096)],
)
def test_automatic_batches_go_by_the_bytes_of_a_row(shape, expected):
    BatchSizes.sizes.clear()
    X = np.zeros(shape, dtype=np.float32)
    compute_activations(Backbone(BatchSizes()), X, cache=False, batch_size="auto")
    assert BatchSizes.sizes == [expected, shape[0] - expected]


def test_bfloat16_is_near_and_kept_apart(small_network, tensors_of):
    backbone = Backbone(small_network)
    before = tensors_of(backbone.copy_module())
    (exact,) = compute_activations(backbone, IMAGES)
    for batch_size in (64, 8):
        (features,) = compute_activations(
            backbone, IMAGES, precision="bfloat16", batch_size=batch_size, cache=False
        )
        assert features.dtype == np.float32
        error = np.abs(features - exact).max() / np.abs(exact).max()
        assert 0 < error < 0.02
    compute_activations(backbone, IMAGES, precision="bfloat16")
    rows = [cache_info([cache_key(backbone, "penultimate", "auto", p)]).rows for p in PRECISIONS]
    assert rows == [30, 30]
    assert tensors_of(backbone.copy_module()) == before
    (again,) = compute_activations(backbone, IMAGES, cache=False)
    np.testing.assert_allclose(again, exact, rtol=1e-5, atol=1e-6)


PRECISIONS = ("float32", "bfloat16")


class OnlyFloat32(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, rows):
        return self.fc(rows + torch.ones(1, 4))


def test_a_network_that_cannot_compute_in_bfloat16_is_named():
    with pytest.raises(ValueError, match="cannot compute in torch.bfloat16; use precision='float"):
        compute_activations(Backbone(OnlyFloat32()), rng.random((5, 4)), precision="bfloat16")


def test_rows_of_several_shapes(small_network):
    backbone = Backbone(small_network)
    larger = rng.random((5, 10, 10)).astype(np.float32)
    for images in (IMAGES, larger, IMAGES, larger):
        (maps,) = compute_activations(backbone, images, layers=("conv",), pooling="flatten")
        assert maps.shape == (len(images), 8 * images[0].size)
    assert small_network.rows_seen == len(IMAGES) + 5


def test_rows_on_disk_are_not_sent_again(small_network, tmp_path):
    backbone = Backbone(small_network)
    (features,) = compute_activations(backbone, IMAGES[:20], cache_dir=tmp_path)
    clear_row_cache()
    twice = np.concatenate([IMAGES[::-1], IMAGES])
    (again,) = compute_activations(Backbone(small_network), twice, cache_dir=tmp_path)
    assert small_network.rows_seen == len(IMAGES)
    np.testing.assert_array_equal(again[30:50], features)
    np.testing.assert_array_equal(again[:30], again[:29:-1])
    key = cache_key(backbone, "penultimate", "auto")
    assert cache_info([key]).bytes == 0


def test_layers_asked_for_later_are_filled_in_on_disk(small_network, tmp_path):
    backbone = Backbone(small_network)
    compute_activations(backbone, IMAGES[:20], layers=("conv",), cache_dir=tmp_path)
    layers = ("conv", "norm")
    both = compute_activations(backbone, IMAGES, layers=layers, cache_dir=tmp_path)
    clear_row_cache()
    small_network.rows_seen = 0
    again = compute_activations(backbone, IMAGES, layers=layers, cache_dir=tmp_path)
    assert small_network.rows_seen == 0
    for one, other in zip(again, both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


class StopsAtSome(torch.nn.Module):
    def forward(self, rows):
        BatchSizes.sizes.append(len(rows))
        if len(BatchSizes.sizes) == 4:
            raise KeyboardInterrupt
        return rows * 2


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_was_sent_before_an_interrupt_is_kept(tmp_path, on_disk):
    clear_row_cache()
    BatchSizes.sizes.clear()
    backbone, X = Backbone(StopsAtSome()), rng.random((30, 4))
    cache_dir = tmp_path if on_disk else None
    parameters = {"cache": True, "cache_dir": cache_dir, "batch_size": 10}
    with pytest.raises(KeyboardInterrupt):
        compute_activations(backbone, X, **parameters)
    if on_disk:
        clear_row_cache()
    BatchSizes.sizes[:] = [0] * 9
    (doubled,) = compute_activations(backbone, X, **parameters)
    # Two batches and the two rows of the trial went through before.
    # A process that knows nothing of the network tries it again.
    assert BatchSizes.sizes[9:] == ([10, 2] if on_disk else [10])
    np.testing.assert_allclose(doubled, 2 * X, rtol=1e-6)


def test_a_long_pass_writes_in_parts(small_network, tmp_path, monkeypatch):
    monkeypatch.setattr("sktransfer.backbones._activations._PART_ROWS", 8)
    compute_activations(Backbone(small_network), IMAGES, batch_size=4, cache_dir=tmp_path)
    assert len(list(tmp_path.rglob("*.rows"))) == 4


OTHER_PROCESS = """
import sys
import numpy as np
import torch
from sktransfer import Backbone
from sktransfer.backbones._activations import cache_key, compute_activations
from sktransfer.backbones.cache._tiers import cache_info

torch.set_num_threads(1)
layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)]
network = torch.nn.Sequential(*layers)
for parameter in network.parameters():
    torch.nn.init.constant_(parameter, 0.125)
X = np.arange(30 * 64).reshape(30, 8, 8) / 64
backbone = Backbone(network)
(features,) = compute_activations(backbone, X, cache_dir=sys.argv[1])
info = cache_info([cache_key(backbone, "penultimate", "auto")], sys.argv[1])
print(info.hits, info.misses, info.rows, info.seconds_saved > 0, features.sum())
"""


def test_other_processes_find_the_rows(tmp_path):
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    # At the same time, then after.
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in processes]
    last = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert last[:4] == ["30", "0", "30", "True"]
    assert {output[-1] for output in [*outputs, last]} == {last[-1]}


@pytest.mark.parametrize(("digest_seconds", "is_cached"), [(1e-9, True), (1e9, False)])
@pytest.mark.parametrize("width", [4, 20_000])
def test_networks_on_tables_are_cached_where_it_pays(monkeypatch, digest_seconds, is_cached, width):
    """What was measured in the first pass decides from the second on, whatever was guessed."""
    monkeypatch.setattr(_worth, "_VERDICTS", {})
    monkeypatch.setattr(_worth, "_time_digests", lambda rows: digest_seconds)
    clear_row_cache()
    backbone, X = Backbone(torch.nn.Linear(4, width)), rng.random((300, 4))
    compute_activations(backbone, X, layers=("output",))
    (second,) = compute_activations(backbone, X + 1, layers=("output",))
    info = cache_info([cache_key(backbone, "output", "auto")])
    guessed = width == 20_000
    assert info.rows == 300 * guessed + 300 * is_cached
    (uncached,) = compute_activations(backbone, X + 1, layers=("output",), cache=False)
    np.testing.assert_allclose(second, uncached, rtol=1e-5, atol=1e-6)


def test_few_rows_measure_nothing(monkeypatch):
    monkeypatch.setattr(_worth, "_VERDICTS", {})
    monkeypatch.setattr(_worth, "_time_digests", lambda rows: 1e-9)
    compute_activations(Backbone(torch.nn.Linear(4, 3)), rng.random((100, 4)))
    assert not _worth._VERDICTS


def test_images_are_cached_whatever_a_digest_costs(small_network, monkeypatch):
    monkeypatch.setattr(_worth, "_time_digests", lambda rows: 1e9)
    backbone = Backbone(small_network)
    images = rng.random((300, 8, 8))
    for _ in range(3):
        compute_activations(backbone, images)
    assert small_network.rows_seen == 300


class Slow(torch.nn.Module):
    def forward(self, rows):
        time.sleep(0.05)
        return rows


def test_seconds_saved_are_those_that_rows_take():
    backbone, X = Backbone(Slow()), rng.random((10, 4))
    for _ in range(5):
        compute_activations(backbone, X, cache=True)
    info = cache_info([cache_key(backbone, "penultimate", "auto")])
    assert info.hits == 40
    assert info.seconds_saved >= 4 * 0.05


class Corner:
    """Pooling that is known by its identity but computes what its state says."""

    def __init__(self, width):
        self.width = width

    def __call__(self, maps):
        return maps.flatten(1)[:, : self.width]

    def pool(self, maps):
        return self(maps)


class CornerModule(Corner, torch.nn.Module):
    def __init__(self, width):
        torch.nn.Module.__init__(self)
        self.width = width


WIDTH = 2


def take_corner(maps):
    return maps.flatten(1)[:, :WIDTH]


@pytest.mark.parametrize("kind", ["object", "method", "partial", "module", "global"])
def test_what_a_pooling_holds_may_change(kind, monkeypatch):
    corner = CornerModule(2) if kind == "module" else Corner(2)
    pooling = {
        "object": corner,
        "module": corner,
        "method": corner.pool,
        "partial": functools.partial(corner.pool),
        "global": take_corner,
    }[kind]
    backbone = Backbone(torch.nn.Conv2d(1, 4, 3))
    options = {"layers": ("output",), "pooling": pooling, "cache": True}
    (narrow,) = compute_activations(backbone, IMAGES, **options)
    corner.width = 5
    monkeypatch.setitem(globals(), "WIDTH", 5)
    (wide,) = compute_activations(backbone, IMAGES, **options)
    assert (narrow.shape, wide.shape) == ((30, 2), (30, 5))
    (again,) = compute_activations(backbone, IMAGES, **options)
    np.testing.assert_array_equal(again, wide)
    assert cache_info([cache_key(backbone, "output", pooling)]).hits == 30


@dataclasses.dataclass
class Unhashable:
    width: int

    def __call__(self, maps):
        return maps.flatten(1)[:, : self.width]


@pytest.mark.parametrize("pooling", [Unhashable(2), (Unhashable(2),)])
def test_a_pooling_without_a_hash_is_not_cached(pooling):
    backbone = Backbone(torch.nn.Conv2d(1, 4, 3))
    for _ in range(2):
        (features,) = compute_activations(
            backbone, IMAGES, layers=("output",), pooling=pooling, cache=True
        )
        assert features.shape == (30, 2)


def test_the_cache_in_memory_makes_no_other_copy_of_the_result():
    class Widened(torch.nn.Module):
        def forward(self, rows):
            return rows.repeat(1, 512)

    backbone, X = Backbone(Widened()), rng.random((3000, 2)).astype(np.float32)
    tracemalloc.start()
    try:
        (result,) = compute_activations(backbone, X, layers=("output",), cache=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result, what the cache holds, and parts of these.
    assert peak < 2.6 * result.nbytes
