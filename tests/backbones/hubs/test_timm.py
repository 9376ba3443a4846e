import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from sktransfer import FeatureTransferTransformer, load_backbone
from sktransfer.backbones import NetworkInput
from sktransfer.backbones.hubs._timm import Timm

NAME = "timm/test_resnet"


@pytest.fixture
def trained():
    """Stand-in for a trained network: other random weights than `pretrained=False` gives."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return timm.create_model("test_resnet", num_classes=7).eval()


def outputs_of(network, X):
    with torch.no_grad():
        return network(torch.from_numpy(X)).numpy()


def test_the_preparation_is_that_of_the_weights():
    found = load_backbone("timm/resnet18.a1_in1k", pretrained=False).input
    assert found == NetworkInput(
        channels=3,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        # 224 is this part, 0.95, of it
        resize=235,
        crop=(224, 224),
        interpolation="bicubic",
    )
    tagged = load_backbone("timm/resnet18.tv_in1k", pretrained=False).input
    assert (tagged.resize, tagged.interpolation) == (256, "bilinear")


def test_a_network_that_wants_the_whole_image():
    found = Timm("vit_so400m_patch14_siglip_gap_378.webli_ft_in1k").make_input()
    assert (found.resize, found.crop) == ((378, 378), (378, 378))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_weights_from_a_file(trained, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save({"epoch": 3, "state_dict": trained.state_dict()}, path)
    backbone = load_backbone(NAME, weights=path)
    assert backbone.name == NAME
    assert backbone.classes is None
    X = np.random.default_rng(0).random((3, 3, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(
        outputs_of(backbone.copy_module(), X), outputs_of(trained, X), atol=1e-5
    )


def test_weights_without_a_head(trained, tmp_path):
    tensors = {k: v for k, v in trained.state_dict().items() if not k.startswith("fc.")}
    save_file(tensors, tmp_path / "headless.safetensors")
    backbone = load_backbone(NAME, weights=tmp_path / "headless.safetensors")
    assert backbone.n_features_out == 96
    backbone.save(tmp_path / "saved.safetensors")
    assert load_backbone(tmp_path / "saved.safetensors") == backbone


def test_weights_in_a_layout_that_timm_converts(tmp_path):
    """As the authors of ConvNeXt publish theirs."""
    network = timm.create_model("test_convnext")
    foreign = {}
    for key, value in network.state_dict().items():
        key = key.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
        key = key.replace("head.fc.", "head.").replace("mlp.fc1", "pwconv1")
        key = key.replace("mlp.fc2", "pwconv2").replace("conv_dw", "dwconv")
        for stage in range(4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            key = key.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
        foreign[key] = value.contiguous()
    assert foreign.keys() != network.state_dict().keys()
    torch.save({"model": foreign}, tmp_path / "convnext.pth")
    found = load_backbone("timm/test_convnext", weights=tmp_path / "convnext.pth").copy_module()
    assert found.state_dict().keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)
    assert "state_dict" not in found.pretrained_cfg


def test_weights_of_another_network(tmp_path):
    other = timm.create_model("test_efficientnet")
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"do not fit 'timm/test_resnet': missing: .*\(\d+ in all"):
        load_backbone(NAME, weights=tmp_path / "other.pt")


def test_a_network_of_fixed_size_is_made_for_the_size_of_the_images(tmp_path):
    network = timm.create_model("test_vit")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    small = NetworkInput(channels=3, resize=(32, 48))
    for arguments in ({"weights": tmp_path / "w.pt"}, {"pretrained": False}):
        backbone = load_backbone("timm/test_vit", input=small, **arguments)
        assert backbone.n_features_out == 64
        (tokens,) = (w for name, w in backbone.copy_module().named_parameters() if "pos" in name)
        # patches of 16 x 16 pixels, and a token for the class
        assert tokens.shape == (1, 2 * 3 + 1, 64)
        backbone.save(tmp_path / "saved.safetensors")
        assert load_backbone(tmp_path / "saved.safetensors") == backbone
    original = dict(network.named_parameters())
    for name, weight in (
        load_backbone("timm/test_vit", input=small, weights=tmp_path / "w.pt")
        .copy_module()
        .named_parameters()
    ):
        assert "pos" in name or torch.equal(weight, original[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/test_resnett", "Did you mean 'timm/test_resnet'"),
        ("timm/resnet18.a1_in2k", "no weights 'a1_in2k'.*'a1_in1k'"),
        ("timm/", "one of the .* names"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=f"Got backbone='{name}'.*{message}"):
        load_backbone(name)


def test_without_a_network_it_fails_and_says_what_to_do():
    with pytest.raises(ConnectionError, match=r"timm/resnet18\.a1_in1k'.*weights=<file>.*=False"):
        load_backbone("timm/resnet18.a1_in1k", revision="a" * 40)


def test_what_timm_has_no_weights_for():
    with pytest.raises(ValueError, match="no pretrained weights.*pretrained=False"):
        load_backbone("timm/vit_base_patch16_xp_224")


def test_downloaded_weights_are_used(trained, tmp_path, monkeypatch):
    """From the cache of the hub, where an earlier download left them."""
    commit = "b" * 40
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    save_file(trained.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    X = np.random.default_rng(0).random((2, 3, 160, 160)).astype(np.float32)
    for revision in (None, commit):
        backbone = load_backbone(NAME, revision=revision, input=NetworkInput(channels=3))
        features = FeatureTransferTransformer(backbone, layers="output").fit_transform(X)
        np.testing.assert_allclose(features, outputs_of(trained, X), atol=1e-5)
    with pytest.raises(ValueError, match="SHA-256 digest"):
        load_backbone(NAME, revision=commit, sha256="0" * 64)
