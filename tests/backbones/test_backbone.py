import collections
import copy
import dataclasses
import fractions
import functools
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sktransfer import Backbone, load_backbone
from sktransfer.backbones import NetworkInput, _load


def test_a_backbone_keeps_the_weights_it_was_made_of(small_network):
    backbone = Backbone(small_network)
    before = backbone.fingerprint
    with torch.no_grad():
        small_network.fc.weight.zero_()
    assert Backbone(backbone.copy_module()).fingerprint == before
    assert Backbone(small_network).fingerprint != before


def test_a_backbone_cannot_be_changed(small_network):
    backbone = Backbone(small_network)
    with pytest.raises(AttributeError, match="immutable"):
        backbone.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del backbone.input


def test_clones_and_copies_share_it(small_network):
    backbone = Backbone(small_network)
    assert clone(backbone) is backbone
    assert copy.deepcopy(backbone) is backbone


def test_pickles_of_one_network_are_unpickled_to_one_object():
    network = nn.Linear(3, 2)
    backbone = Backbone(network, name="one", classes=["a", "b"])
    first, second = (pickle.loads(pickle.dumps(backbone)) for _ in range(2))
    assert first is second
    assert first.classes.tolist() == ["a", "b"]
    # What the fingerprint does not know of keeps them apart.
    for other in ({"name": "two", "classes": ["a", "b"]}, {"name": "one", "classes": ["a", "c"]}):
        third = pickle.loads(pickle.dumps(Backbone(network, **other)))
        assert third is not first
        assert (third.name, third.classes.tolist()) == (other["name"], other["classes"])


def test_the_embedded_network_is_pickled_by_its_name(monkeypatch):
    glyphs = load_backbone("glyphs")
    pickled = pickle.dumps(glyphs)
    assert len(pickled) < 500
    assert pickle.loads(pickled) is glyphs
    random = load_backbone("glyphs", pretrained=False)
    assert pickle.loads(pickle.dumps(random)) == random
    # Another version of the package may come with other weights.
    monkeypatch.setattr(_load, "_load_named", lambda name, pretrained: _with_other_weights())
    with pytest.raises(ValueError, match="'glyphs' of another version"):
        pickle.loads(pickled)


def _with_other_weights():
    other = Backbone(nn.Linear(2, 2))
    other._set(_origin=(_load._restore_packaged, ("glyphs", "digest of others")))
    return other


def test_pickle_keeps_the_fingerprint():
    backbone = Backbone(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), name="toy")
    restored = pickle.loads(pickle.dumps(backbone))
    assert restored == backbone
    assert restored.name == "toy"


@pytest.mark.parametrize("change", ["weight", "buffer", "setting", "input", "structure"])
def test_fingerprint_knows_everything_that_changes_the_output(small_network, change):
    before = Backbone(small_network).fingerprint
    assert Backbone(copy.deepcopy(small_network)).fingerprint == before
    network_input = None
    with torch.no_grad():
        if change == "weight":
            small_network.fc.weight[0, 0] += 1e-3
        elif change == "buffer":
            small_network.norm.running_mean[0] += 1e-3
        elif change == "setting":
            small_network.temperature = 2.0
        elif change == "input":
            network_input = NetworkInput(channels=1, mean=0.5)
        else:
            small_network.relu = nn.ELU()
    assert Backbone(small_network, input=network_input).fingerprint != before


def test_fingerprint_is_the_same_in_another_process():
    program = (
        "import torch; from torch import nn; from sktransfer import Backbone\n"
        "network = nn.Sequential(nn.Linear(3, 2), nn.Tanh()); nn.init.ones_(network[0].weight)\n"
        "nn.init.zeros_(network[0].bias); print(Backbone(network).fingerprint)"
    )
    run = [sys.executable, "-c", program]
    prints = {subprocess.run(run, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(prints) == 1


def test_layer_names_and_width(small_network):
    backbone = Backbone(small_network, input=NetworkInput(channels=1))
    assert backbone.layer_names == ("conv", "norm", "relu", "fc")
    assert backbone.n_features_out == 32
    assert Backbone(nn.Linear(7, 3)).n_features_out == 7
    assert Backbone(nn.ReLU()).n_features_out is None


def test_the_module_that_was_passed_is_left_as_it_is(small_network):
    small_network.train()
    Backbone(small_network)
    assert small_network.training
    assert all(parameter.requires_grad for parameter in small_network.parameters())


@pytest.mark.parametrize("module", [None, "glyphs", nn.Linear, np.eye(2)])
def test_what_is_no_module_is_refused(module):
    with pytest.raises(TypeError, match="expected a torch.nn.Module"):
        Backbone(module)


def test_repr_is_short(small_network):
    assert repr(Backbone(small_network)) == "Backbone('SmallNetwork', 261 parameters)"


NOTEBOOK_CELL = """
import torch
from torch import nn

FACTOR = {factor}

def link(x):
    return torch.{link}(x)

class Network(nn.Module):
    offset = {offset}

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        nn.init.ones_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        return FACTOR * link(self.fc(x)) + self.offset
"""


def fingerprint_of_cell(factor=1.0, link="tanh", offset=0.0):
    cell = {"__name__": "__main__"}
    exec(NOTEBOOK_CELL.format(factor=factor, link=link, offset=offset), cell)
    return Backbone(cell["Network"]()).fingerprint


def test_fingerprint_knows_code_that_is_defined_again():
    assert fingerprint_of_cell() == fingerprint_of_cell()
    variants = [{}, {"factor": 2.0}, {"link": "sigmoid"}, {"offset": 1.0}]
    assert len({fingerprint_of_cell(**variant) for variant in variants}) == len(variants)


def test_fingerprint_knows_functions_and_buffers_that_are_not_saved():
    layer = nn.TransformerEncoderLayer(8, 2, activation=torch.tanh)
    layer.register_buffer("shift", torch.zeros(2), persistent=False)
    prints = {Backbone(layer).fingerprint}
    layer.shift += 1
    prints.add(Backbone(layer).fingerprint)
    layer.activation = torch.nn.functional.silu
    prints.add(Backbone(layer).fingerprint)
    assert len(prints) == 3


def test_fingerprint_of_a_module_that_knows_its_parent():
    parent, child = nn.Sequential(), nn.Linear(2, 2)
    parent.add_module("child", child)
    child.parent = [parent]
    assert Backbone(parent).fingerprint == Backbone(parent).fingerprint


@pytest.mark.parametrize("module", [nn.LazyLinear(3), nn.Linear(2, 2, device="meta")])
def test_weights_without_values_are_refused(module):
    with pytest.raises(ValueError, match="hold no values yet"):
        Backbone(module)


def test_weights_of_other_precision_become_float32():
    assert Backbone(nn.Linear(2, 2).double()).copy_module().weight.dtype == torch.float32


class Scale:
    factor = 1.0


class Calls:
    def __init__(self):
        self.n = 0


CALLS, SEEN, N_ROWS = Calls(), [], {"n": 0}
N_CALLS = 0


SHIFT = 0.0


def scaled(x):
    return x * Scale.factor + SHIFT


class Counting(nn.Module):
    """Counts its calls in every way that there is."""

    n_calls = 0

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.fc = nn.Linear(3, 2)

    def forward(self, x):
        global N_CALLS
        N_CALLS += 1
        CALLS.n += 1
        SEEN.append(len(x))
        N_ROWS["n"] += len(x)
        Counting.n_calls += 1
        # A variable of its own, whatever it is called.
        SHIFT = scaled(self.fc(x))
        return SHIFT


def test_counters_do_not_change_what_a_network_is():
    network, counted = Counting(), [0]

    def count(module, inputs, output):
        counted[0] += 1

    network.register_forward_hook(count)
    before = Backbone(network).fingerprint
    network(torch.zeros(2, 3))
    assert (counted, N_CALLS, CALLS.n, SEEN, N_ROWS["n"]) == ([1], 1, 1, [2], 2)
    assert Backbone(network).fingerprint == before


def test_fingerprint_knows_what_helpers_look_up(monkeypatch):
    before = Backbone(Counting()).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(Scale, "factor", 2.0)
        assert Backbone(Counting()).fingerprint != before
    monkeypatch.setitem(globals(), "SHIFT", 1.0)
    assert Backbone(Counting()).fingerprint != before


class Holder(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.held = held

    def forward(self, x):
        return x


@dataclasses.dataclass(slots=True)
class Slots:
    value: float


class Method:
    def __init__(self, value):
        self.value = value

    def apply(self, x):
        return x * self.value


@pytest.mark.parametrize(
    "hold",
    [
        Slots,
        lambda value: Method(value).apply,
        lambda value: fractions.Fraction(value),
        lambda value: collections.deque([value]),
        lambda value: pathlib.Path(str(value)),
        lambda value: np.int64(value),
        lambda value: slice(value),
        lambda value: np.array([value, None]),
        lambda value: pd.Series([value]),
        lambda value: type("Config", (), {"value": value}),
        lambda value: functools.lru_cache(lambda x: x + value),
        lambda value: [[[[[[[[[[[[value]]]]]]]]]]]],
    ],
)
def test_fingerprint_knows_whatever_a_module_holds(hold):
    one, same, other = (Backbone(Holder(hold(value))).fingerprint for value in (1, 1, 2))
    assert one == same != other


class LinearHolder(nn.Linear):
    def __init__(self, held):
        super().__init__(2, 2)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.held = held


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.int64(2), np.int64(3)),
        (np.float32(2), np.float64(2)),
        (slice(0, 4), slice(4, 8)),
        (range(0, 4), range(4, 8)),
        (torch.float16, torch.bfloat16),
        (np.dtype("f4"), np.dtype("f8")),
    ],
)
def test_fingerprint_knows_values_that_modules_hold(one, other):
    assert (
        Backbone(LinearHolder(one)).fingerprint
        == Backbone(LinearHolder(copy.copy(one))).fingerprint
    )
    assert Backbone(LinearHolder(one)).fingerprint != Backbone(LinearHolder(other)).fingerprint
