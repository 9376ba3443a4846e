import re

import numpy as np
import pytest
import torch
from torchvision import models

from sktransfer import load_backbone
from sktransfer.backbones import NetworkInput
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones.hubs._torchvision import Torchvision


def test_the_preparation_is_that_of_the_weights():
    found = load_backbone("torchvision/resnet18", pretrained=False).input
    assert found == NetworkInput(
        channels=3,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize=256,
        crop=224,
        interpolation="bilinear",
    )
    assert Torchvision("resnet50.IMAGENET1K_V1").make_input().resize == 256
    assert Torchvision("resnet50.IMAGENET1K_V2").make_input().resize == 232
    assert Torchvision("resnet50").make_input().resize == 232


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
@pytest.mark.parametrize("n_outputs", [5, 1000])
def test_weights_from_a_file(name, n_outputs, tmp_path):
    network = models.get_model(name, weights=None, num_classes=n_outputs).eval()
    torch.save({"module." + k: v for k, v in network.state_dict().items()}, tmp_path / "w.pth")
    backbone = load_backbone(f"torchvision/{name}", weights=str(tmp_path / "w.pth"))
    X = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.copy_module()(X), network(X))
    backbone.save(tmp_path / "saved.safetensors")
    assert load_backbone(tmp_path / "saved.safetensors") == backbone


def test_weights_that_lack_something(tmp_path):
    tensors = models.squeezenet1_1(weights=None).state_dict()
    tensors["surplus"] = tensors.pop("features.0.bias")
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="missing: features.0.bias; unexpected: surplus"):
        load_backbone("torchvision/squeezenet1_1", weights=tmp_path / "w.pth")


def test_densenets_have_old_names_in_their_files(tmp_path):
    network = models.densenet121(weights=None)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in network.state_dict().items()
    }
    assert old.keys() != network.state_dict().keys()
    torch.save(old, tmp_path / "densenet.pth")
    found = load_backbone("torchvision/densenet121", weights=tmp_path / "densenet.pth")
    assert found.copy_module().state_dict().keys() == network.state_dict().keys()


def test_auxiliary_heads_are_left_out(tmp_path):
    with_heads = models.googlenet(weights=None, aux_logits=True, init_weights=False)
    torch.save(with_heads.state_dict(), tmp_path / "googlenet.pth")
    network = load_backbone("torchvision/googlenet", weights=tmp_path / "googlenet.pth")
    assert not any("aux" in name for name in network.copy_module().state_dict())
    # The weights were trained on another normalisation than their own transforms give.
    assert network.copy_module().transform_input


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("torchvision/resnet19", {}, "Did you mean 'torchvision/resnet1"),
        ("torchvision/fasterrcnn_resnet50_fpn", {}, "classifies no images"),
        ("torchvision/resnet50.IMAGENET1K_V3", {}, "'IMAGENET1K_V1', 'IMAGENET1K_V2'"),
        ("torchvision/resnet50", {"revision": "main"}, "no revisions.*IMAGENET1K_V1.*sha256"),
    ],
)
def test_wrong_names(name, arguments, message):
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        load_backbone(name, **arguments)


def test_downloaded_weights_are_used_and_bring_their_classes(tmp_path, monkeypatch):
    weights = models.get_model_weights("squeezenet1_1").DEFAULT
    network = models.squeezenet1_1(weights=None).eval()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ConnectionError, match=r"download\.pytorch\.org.*HF_HUB_OFFLINE.*weights="):
        load_backbone("torchvision/squeezenet1_1")
    (tmp_path / "checkpoints").mkdir()
    torch.save(network.state_dict(), tmp_path / "checkpoints" / weights.url.rpartition("/")[2])
    backbone = load_backbone("torchvision/squeezenet1_1")
    np.testing.assert_array_equal(backbone.classes, weights.meta["categories"])
    X = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.copy_module()(X), network(X))


def test_a_head_that_is_a_convolution():
    images = np.random.default_rng(0).random((2, 3, 48, 48), dtype=np.float32)
    backbone = load_backbone("torchvision/squeezenet1_1", pretrained=False)
    features, output, logits = compute_activations(
        backbone, images, layers=("penultimate", "output", "logits"), cache=False
    )
    assert (features.shape, backbone.n_features_out) == ((2, 512), 512)
    np.testing.assert_allclose(logits, output, atol=1e-6)
