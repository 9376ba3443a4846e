import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sktransfer import Backbone, load_backbone


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


@pytest.fixture
def empty():
    """Make the same network with other weights."""
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": state, "state_dict_ema": {k: v + 1 for k, v in state.items()}},
        lambda state: {"module." + key: value for key, value in state.items()},
        lambda state: {"state_dict": {"module._orig_mod." + k: v for k, v in state.items()}},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    ],
)
def test_what_training_scripts_save(network, empty, tmp_path, wrap):
    content = wrap(network.state_dict())
    torch.save(content, tmp_path / "w.pt")
    before = {k: v.clone() for k, v in empty.state_dict().items()}
    loaded = load_backbone(empty, weights=tmp_path / "w.pt").copy_module()
    expected = content.get("state_dict_ema", network.state_dict())
    for key, value in expected.items():
        assert torch.equal(loaded.state_dict()[key], value)
    for key, value in empty.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_safetensors_file_of_others(network, empty, tmp_path):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert load_backbone(empty, weights=tmp_path / "w.safetensors") == Backbone(network)


def test_a_digest(network, empty, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for spelling in (digest, digest.upper()):
        assert load_backbone(empty, weights=path, sha256=spelling) == Backbone(network)
    Backbone(network).save(tmp_path / "ours.safetensors")
    ours = hashlib.sha256((tmp_path / "ours.safetensors").read_bytes()).hexdigest()
    assert load_backbone(tmp_path / "ours.safetensors", sha256=ours) == Backbone(network)
    with pytest.raises(ValueError, match=f"{digest}.*expected {ours}"):
        load_backbone(empty, weights=path, sha256=ours)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        load_backbone(empty, weights=path, sha256="abc")


def test_a_digest_is_checked_before_anything_is_read(empty, tmp_path, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"anything")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(ValueError, match="SHA-256"):
        load_backbone(empty, weights=tmp_path / "w.pt", sha256="0" * 64)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_code_in_a_file_is_never_run(empty, tmp_path, suffix, writer):
    path, trace = tmp_path / f"w{suffix}", tmp_path / "trace"
    content = {"state_dict": Bomb(trace)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="Got weights="):
        load_backbone(empty, weights=path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 truncated"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_files(empty, tmp_path, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Got weights="):
        load_backbone(empty, weights=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, r"holds the keys \['epoch'\]"),
        ([torch.zeros(2)], "holds a list"),
        ({}, "holds the keys"),
    ],
)
def test_files_without_weights(empty, tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=f"{message}.*expected a state dict"):
        load_backbone(empty, weights=tmp_path / "w.pt")


def test_files_that_are_none(empty, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Got weights=.*missing\.pt"):
        load_backbone(empty, weights=tmp_path / "missing.pt")
    (tmp_path / "w.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ends in one of \.safetensors, \.pt"):
        load_backbone(empty, weights=tmp_path / "w.npz")


def test_weights_that_do_not_fit(network, tmp_path):
    state = network.state_dict()
    state["surplus"] = state.pop("0.bias")
    state["2.weight"] = torch.zeros(3, 6)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="do not fit the module: missing: 0.bias; ") as error:
        load_backbone(network, weights=tmp_path / "w.pt")
    assert "unexpected: surplus; of another shape: 2.weight (3, 6) instead of (2, 6)" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [
        ("glyphs", {"weights": "w.pt"}),
        ("glyphs", {"sha256": "0" * 64}),
        ("glyphs", {"revision": "main"}),
        ("w.safetensors", {"weights": "w.pt"}),
        (nn.Linear(2, 2), {"sha256": "0" * 64}),
        (nn.Linear(2, 2), {"revision": "main"}),
        ("timm/test_vit", {"module": nn.Linear(2, 2)}),
    ],
)
def test_arguments_that_do_not_go_together(backbone, arguments):
    with pytest.raises(ValueError, match=f"Got {next(iter(arguments))}=.* goes with .* only"):
        load_backbone(backbone, **arguments)


def test_random_weights_or_those_of_a_file():
    with pytest.raises(ValueError, match="weights='w.pt' with pretrained=False"):
        load_backbone("timm/test_vit", pretrained=False, weights="w.pt")


@pytest.mark.parametrize(
    ("name", "value"), [("weights", 3), ("sha256", b"ab"), ("revision", 1.0), ("input", "grey")]
)
def test_arguments_of_a_wrong_type(name, value):
    with pytest.raises(TypeError, match=f"Got {name}={value!r}, but expected a"):
        load_backbone("timm/test_vit", **{name: value})
