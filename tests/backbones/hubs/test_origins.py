"""What holds for a network by name, whichever library makes it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
    load_backbone,
)
from sktransfer.backbones import NetworkInput
from sktransfer.backbones.hubs._origins import ORIGINS

NAMES = {
    "timm/test_resnet": 96,
    "timm/test_vit": 64,
    "timm/mobilenetv3_small_050": 1024,
    "torchvision/mobilenet_v3_small": 1024,
    "torchvision/resnet18": 512,
    # Its head is a convolution, so its features are all that it computes.
    "torchvision/squeezenet1_1": 1000,
    "transformers/vit": 12,
    "transformers/resnet": 12,
    "transformers/convnext": 12,
    "transformers/vit, headless": 12,
    "transformers/dinov2, headless": 12,
}


SLOW = {"torchvision/resnet18", "torchvision/mobilenet_v3_small"}


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def case(request, tiny_folder):
    """A name, a preparation for small images, the width of the features, and images."""
    name, width = request.param, NAMES[request.param]
    if name.startswith("transformers/"):
        kind, _, headless = name.removeprefix("transformers/").partition(", ")
        name = f"transformers/{tiny_folder(kind, headless=bool(headless))}"
    size = 160 if "test_vit" in name else 32
    network_input = NetworkInput(channels=3, mean=0.5, std=0.25, crop=size)
    X = np.random.default_rng(0).random((6, size, size, 3)).astype(np.float32)
    return name, network_input, width, X


def test_a_network_by_name(case):
    name, network_input, width, X = case
    state = torch.random.get_rng_state()
    backbone = load_backbone(name, pretrained=False, input=network_input)
    again = load_backbone(name, pretrained=False, input=network_input)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert backbone == again
    assert backbone.name == f"{name}, random weights"
    assert backbone.n_features_out == width
    assert pickle.loads(pickle.dumps(backbone)) == backbone
    assert Backbone(backbone.copy_module(), input=backbone.input) == backbone

    transformer = FeatureTransferTransformer(backbone)
    features = transformer.fit_transform(X)
    assert features.shape == (6, width)
    assert features.std(axis=0).max() > 0
    assert clone(transformer).backbone is backbone
    np.testing.assert_allclose(clone(transformer).fit_transform(X[:2]), features[:2], atol=1e-5)
    outputs = FeatureTransferTransformer(backbone, layers="output").fit_transform(X)
    layer = backbone.layer_names[-1]
    named = FeatureTransferTransformer(backbone, layers=layer).fit_transform(X)
    assert len(named) == len(outputs) == 6
    if "headless" in name or "squeezenet" in name:
        np.testing.assert_allclose(features, outputs, atol=1e-6)
    if "ForImageClassification" in name or name.startswith(("timm/", "torchvision/resnet")):
        logits = FeatureTransferTransformer(backbone, output="logits").fit_transform(X)
        np.testing.assert_allclose(logits, outputs, atol=1e-5)


def test_a_file_that_rebuilds_a_network_by_name(case, tmp_path):
    name, network_input, _, _ = case
    backbone = load_backbone(name, pretrained=False, input=network_input)
    backbone.save(tmp_path / "saved.safetensors")
    loaded = load_backbone(tmp_path / "saved.safetensors")
    assert loaded == backbone
    assert loaded.input == backbone.input


def test_training_on_a_network_by_name(case, tmp_path):
    name, network_input, _, X = case
    X, y = X[:4], np.array([0, 1, 0, 1])
    backbone = load_backbone(name, pretrained=False, input=network_input)
    before = backbone.fingerprint
    frozen = ParameterTransferClassifier(backbone, strategy="frozen").fit(X, y)
    assert frozen.predict_proba(X).shape == (4, 2)
    tuned = ParameterTransferClassifier(
        backbone, strategy="fine_tune", max_epochs=1, batch_size=2, random_state=0
    ).fit(X, y)
    assert tuned.backbone_ != backbone
    assert Backbone(backbone.copy_module(), input=backbone.input).fingerprint == before
    # A network inside of what training made of it is still one of its library.
    tuned.backbone_.save(tmp_path / "tuned.safetensors")
    assert load_backbone(tmp_path / "tuned.safetensors") == tuned.backbone_


@pytest.mark.parametrize("end", [[], [torch.nn.ReLU()], None])
def test_a_changed_network_is_not_taken_for_the_one_of_its_name(tmp_path, end):
    network = load_backbone("timm/test_resnet", pretrained=False).copy_module()
    if end is None:
        # Nothing that the weights would show.
        network.layer3[0].act2 = torch.nn.Tanh()
    else:
        head = torch.nn.Linear(96, 8)
        network.fc = torch.nn.Sequential(head, *end) if end else head
    Backbone(network).save(tmp_path / "changed.safetensors")
    with pytest.raises(ValueError, match=r"pass load_backbone\(path, module=...\)"):
        load_backbone(tmp_path / "changed.safetensors")
    assert load_backbone(tmp_path / "changed.safetensors", module=network) == Backbone(network)


@pytest.mark.slow
def test_fingerprints_are_equal_in_every_process(tiny_folder):
    names = ["timm/test_vit", "torchvision/squeezenet1_1", f"transformers/{tiny_folder('vit')}"]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest; "
        "conftest.pytest_configure(); from sktransfer import load_backbone; "
        "print(*[load_backbone(n, pretrained=False).fingerprint for n in sys.argv[2:]])"
    )
    tests = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tests), *names],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    here = [load_backbone(name, pretrained=False).fingerprint for name in names]
    assert result.stdout.split() == here


def test_one_load_for_all_fits_of_a_search():
    assert load_backbone("timm/test_vit", pretrained=False) is load_backbone(
        "timm/test_vit", pretrained=False
    )
    pipeline = make_pipeline(FeatureTransferTransformer("glyphs"), LogisticRegression())
    assert clone(pipeline)[0].backbone == "glyphs"


def test_a_preparation_of_ones_own():
    grey = NetworkInput(channels=3, mean=0.5, std=0.5)
    backbone = load_backbone("timm/test_resnet", pretrained=False, input=grey)
    assert backbone.input == grey
    assert load_backbone("timm/test_resnet", pretrained=False).input != grey


@pytest.mark.parametrize("prefix", ORIGINS)
def test_a_missing_library_is_named_with_its_extra(prefix, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == prefix]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, prefix, None)
    monkeypatch.setattr(sys, "meta_path", [NotThere(prefix), *sys.meta_path])
    monkeypatch.delitem(sys.modules, prefix)
    with pytest.raises(ImportError, match=rf'pip install "sktransfer\[{prefix}\]"'):
        load_backbone(f"{prefix}/anything", pretrained=False)


class NotThere:
    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.name)


@pytest.mark.parametrize("prefix", ORIGINS)
def test_a_library_built_for_another_torch(prefix, monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ImportError, match="torchvision::nms.*belong together"):
        load_backbone(f"{prefix}/anything", pretrained=False)
