"""A network of tables as a value, and as a file."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.base import clone
from torch import nn

from sktransfer import Backbone, TabularBackbone, load_backbone
from sktransfer.backbones import NetworkInput, TableInput, TabularNetwork, _weights_file
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._random_copy import make_random_copy

REPORT = {"held_out_auc": 0.93, "n_rows": 400, "by_class": {"ill": [1, 2]}}


@pytest.fixture
def saved(tabular_backbone, tmp_path):
    path = tmp_path / "patients.safetensors"
    tabular_backbone.save(path)
    return path


def test_attributes(tabular_backbone):
    assert tabular_backbone.feature_names_in_.tolist() == [
        *("age", "sex", "pressure", "stage", "smokes")
    ]
    assert tabular_backbone.n_features_in_ == 5
    assert tabular_backbone.n_features_out == 16
    assert tabular_backbone.source_classes_.tolist() == ["ill", "well"]
    assert tabular_backbone.report_ == {}
    assert repr(tabular_backbone) == "TabularBackbone('patients', 308 parameters)"
    assert isinstance(tabular_backbone, Backbone)


def test_it_cannot_be_changed(tabular_backbone):
    with pytest.raises(AttributeError, match="immutable"):
        tabular_backbone.name = "other"
    tabular_backbone.feature_names_in_[0] = "changed"
    assert tabular_backbone.feature_names_in_[0] == "age"
    backbone = TabularBackbone(
        tabular_backbone.copy_module(), input=tabular_backbone.input, report=REPORT
    )
    backbone.report_["n_rows"] = 0
    assert backbone.report_ == REPORT


def test_copies_are_the_same_object(tabular_backbone):
    assert clone(tabular_backbone) is tabular_backbone
    assert copy.deepcopy(tabular_backbone) is tabular_backbone
    again = pickle.loads(pickle.dumps(tabular_backbone))
    assert again == tabular_backbone
    assert type(again) is TabularBackbone
    assert again.input == tabular_backbone.input


def test_the_fingerprint_depends_on_the_columns(patients, tabular_backbone):
    """Encoded rows are cached by it, and mean something else where a scale differs."""
    X, _ = patients(400, seed=1)
    module = tabular_backbone.copy_module()
    same = TabularBackbone(module, input=TableInput.learn(X))
    other = TabularBackbone(module, input=TableInput.learn(X.assign(age=X["age"] + 1)))
    assert same.fingerprint == tabular_backbone.fingerprint
    assert other.fingerprint != tabular_backbone.fingerprint


def test_the_fingerprint_is_the_same_in_every_process(tabular_backbone, saved):
    code = f"import sktransfer; print(sktransfer.load_backbone({str(saved)!r}).fingerprint)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == tabular_backbone.fingerprint, result.stderr


def test_activations_of_a_frame(patients, tabular_backbone):
    X, _ = patients(30)
    (output,) = compute_activations(tabular_backbone, X, layers=("output",))
    with torch.no_grad():
        inputs = torch.from_numpy(tabular_backbone.input.prepare(X))
        expected = tabular_backbone.copy_module()(inputs)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_any_module_may_take_encoded_rows(patients):
    X, _ = patients(30)
    table = TableInput.learn(X)
    backbone = TabularBackbone(nn.Linear(table.n_encoded, 3), input=table)
    assert compute_activations(backbone, X, layers=("output",))[0].shape == (30, 3)


def test_a_random_copy_is_of_the_same_kind(tabular_backbone):
    control = make_random_copy(tabular_backbone)
    assert isinstance(control, TabularBackbone)
    assert control.input == tabular_backbone.input
    assert control != tabular_backbone


def test_errors(patients, tabular_backbone):
    X, _ = patients(30)
    with pytest.raises(TypeError, match="expected a TableInput for a TabularBackbone"):
        TabularBackbone(nn.Linear(7, 2), input=NetworkInput())
    with pytest.raises(TypeError, match="expected a NetworkInput for a Backbone"):
        Backbone(nn.Linear(7, 2), input=TableInput.learn(X))
    with pytest.raises(ValueError, match=r"2 columns of numbers.*has 1 and \(2, 3, 2\)"):
        TabularBackbone(
            tabular_backbone.copy_module(), input=TableInput.learn(X.drop(columns="age"))
        )
    for report in ([1], {"a": object()}, "text"):
        with pytest.raises(TypeError, match="report"):
            TabularBackbone(nn.Linear(7, 2), input=tabular_backbone.input, report=report)


def test_a_file_brings_all_of_it_back(patients, tabular_backbone, tmp_path):
    X, _ = patients(30)
    backbone = TabularBackbone(
        tabular_backbone.copy_module(),
        input=tabular_backbone.input,
        name="patients",
        classes=["ill", "well"],
        report=REPORT,
    )
    backbone.save(tmp_path / "a.safetensors")
    loaded = load_backbone(tmp_path / "a.safetensors")
    assert type(loaded) is TabularBackbone
    assert loaded == backbone
    assert loaded.name == "patients"
    assert loaded.input == backbone.input
    assert loaded.source_classes_.tolist() == ["ill", "well"]
    assert loaded.report_ == REPORT
    for one, other in zip(
        *(compute_activations(b, X, cache=False) for b in (backbone, loaded)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", [(), (4,)])
def test_a_file_of_a_network_without_a_head(sizes, patients, tmp_path):
    X, _ = patients(30)
    table = TableInput.learn(X)
    backbone = TabularBackbone(
        TabularNetwork(table.n_numeric, table.cardinalities, sizes), input=table
    )
    backbone.save(tmp_path / "a.safetensors")
    assert load_backbone(tmp_path / "a.safetensors") == backbone


def test_a_file_holds_no_row_of_the_source(tmp_path):
    """Names of columns, categories, a centre and a scale for each number, and weights."""
    rng = np.random.default_rng(0)
    X = np.round(rng.lognormal(5, 1, (300, 2)), 3)
    table = TableInput.learn(X)
    backbone = TabularBackbone(TabularNetwork(2, (), (4,)), input=table)
    backbone.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert set(file.metadata()) == {
            *("architecture", "class", "classes", "digest", "format", "input", "name", "report")
        }
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
    assert shapes == {k: v.shape for k, v in backbone.copy_module().state_dict().items()}
    n_told = sum(f"{value}".encode() in content for value in np.unique(X))
    assert n_told <= 2
    assert b"pickle" not in content


def test_a_file_that_was_changed_is_refused(saved):
    content = bytearray(saved.read_bytes())
    # Within the header: the median of a column, say.
    place = content.index(b"center") + 12
    content[place] = ord("1") if content[place] != ord("1") else ord("2")
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt"):
        load_backbone(saved)


def test_a_file_that_is_cut_off_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        load_backbone(saved)


def rewrite(path, file_format="sktransfer-backbone-1", **changes):
    tensors, metadata = _weights_file.read(path)
    del metadata["digest"], metadata["format"]
    _weights_file.write_tensors(path, tensors, metadata | changes, file_format)


def test_a_file_of_a_newer_version_is_refused(saved):
    rewrite(saved, file_format="sktransfer-backbone-2")
    with pytest.raises(ValueError, match=r"backbone-2'.*newer sktransfer.*update"):
        load_backbone(saved)


def test_columns_of_a_newer_version_are_refused(saved):
    rewrite(saved, input='{"kind": "table", "version": 99}')
    with pytest.raises(ValueError, match=r"patients\.safetensors.*version 99.*update sktransfer"):
        load_backbone(saved)


def test_a_description_that_makes_no_sense_is_refused(saved):
    rewrite(saved, input='{"kind": "table", "version": 1, "columns": [{}]}')
    with pytest.raises(ValueError, match=r"patients\.safetensors.*cannot be read"):
        load_backbone(saved)


def test_a_file_of_others_is_refused(tabular_backbone, tmp_path):
    from safetensors.torch import save_file

    save_file(tabular_backbone.copy_module().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"expected .*Backbone\.save"):
        load_backbone(tmp_path / "a.safetensors")


def test_a_file_knows_its_columns(saved):
    with pytest.raises(TypeError, match="a network of tables knows its columns"):
        load_backbone(saved, input=NetworkInput())
