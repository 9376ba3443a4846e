import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier, load_backbone
from sktransfer.backbones import NetworkInput
from sktransfer.backbones._load import resolve_backbone


@pytest.fixture
def plain():
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    network = nn.Sequential(*stem, nn.Flatten(), nn.Linear(144, 5))
    return Backbone(network, name="plain", input=NetworkInput(channels=1, mean=0.5, std=0.5))


@pytest.fixture
def saved(plain, tmp_path):
    path = tmp_path / "plain.safetensors"
    plain.save(path)
    return path


def test_a_saved_backbone_comes_back_equal(plain, saved):
    for path in (saved, str(saved)):
        loaded = load_backbone(path)
        assert loaded == plain
        assert loaded.name == "plain"
        assert loaded.input == plain.input


def test_a_fine_tuned_network_on_glyphs_comes_back_equal(tmp_path, digits):
    images, y = digits
    classifier = ParameterTransferClassifier(
        "glyphs", strategy="fine_tune", hidden_layer_sizes=(8,), max_epochs=1, random_state=0
    ).fit(images[:20], y[:20])
    classifier.backbone_.save(tmp_path / "digits.safetensors")
    assert load_backbone(tmp_path / "digits.safetensors") == classifier.backbone_
    assert load_backbone(classifier) is classifier.backbone_


def test_an_own_class_needs_its_code(small_network, tmp_path):
    backbone, path = Backbone(small_network), tmp_path / "own.safetensors"
    backbone.save(path)
    with pytest.raises(ValueError, match="'SmallNetwork'.*module="):
        load_backbone(path)
    assert load_backbone(path, module=type(small_network)) == backbone
    assert load_backbone(path, module=type(small_network)()) == backbone
    with pytest.raises(ValueError, match="do not fit the module"):
        load_backbone(path, module=nn.Linear(2, 2))


def test_names():
    assert load_backbone("glyphs") is load_backbone("glyphs")
    random = load_backbone("glyphs", pretrained=False)
    assert random.fingerprint != load_backbone("glyphs").fingerprint
    assert random.n_parameters == load_backbone("glyphs").n_parameters


def test_random_weights_are_always_the_same_and_leave_the_generator_alone():
    from sktransfer.backbones import _load

    before = torch.random.get_rng_state()
    _load._glyphs.cache_clear()
    one = load_backbone("glyphs", pretrained=False).fingerprint
    _load._glyphs.cache_clear()
    assert load_backbone("glyphs", pretrained=False).fingerprint == one
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("backbone", "error", "message"),
    [
        ("glyph", ValueError, "Got backbone='glyph'.*Did you mean 'glyphs'"),
        ("resnet", ValueError, "Got backbone='resnet', but expected one of 'glyphs'"),
        ("missing.safetensors", FileNotFoundError, "missing.safetensors"),
        (3, TypeError, "Got backbone=3"),
        (nn.Linear, TypeError, "Got backbone=<class"),
        (ParameterTransferClassifier(), ValueError, "not fitted"),
    ],
)
def test_what_is_no_backbone_is_refused(backbone, error, message):
    with pytest.raises(error, match=message):
        load_backbone(backbone)


def test_none_means_that_the_features_are_the_input():
    assert resolve_backbone(None).n_parameters == 0


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"plain\.safetensors.*truncated, corrupt"):
        load_backbone(saved)


def test_a_flipped_bit_is_found(saved):
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="digest.*corrupt"):
        load_backbone(saved)


def test_no_flipped_bit_of_a_file_goes_unnoticed(plain, saved):
    content = saved.read_bytes()
    for position in range(8, len(content), 41):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        saved.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"plain\.safetensors"):
            load_backbone(saved)


SHARED = nn.ReLU()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 4), SHARED, nn.Linear(4, 4), SHARED),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, ceil_mode=True)),
        nn.Sequential(nn.LayerNorm(4, bias=False)),
        nn.Sequential(nn.Linear(4, 4), nn.CELU()),
    ],
)
def test_a_file_gives_the_same_network_or_asks_for_its_code(network, tmp_path):
    backbone, path = Backbone(network), tmp_path / "network.safetensors"
    backbone.save(path)
    try:
        loaded = load_backbone(path)
    except ValueError as error:
        assert "module=" in str(error)
        loaded = load_backbone(path, module=network)
    assert loaded == backbone


def test_names_come_before_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glyphs").write_text("not a network")
    assert load_backbone("glyphs").n_parameters > 0
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "resnet18").write_text("not a network")
    assert load_backbone("timm/resnet18", pretrained=False).n_features_out == 512


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"pretrained": False}, ValueError),
        ({"pretrained": "no"}, TypeError),
        ({"module": nn.Linear(2, 2)}, ValueError),
    ],
)
def test_arguments_that_do_not_go_together(arguments, error):
    with pytest.raises(error, match=f"Got {next(iter(arguments))}="):
        load_backbone(nn.Linear(2, 2), **arguments)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="format None.*Backbone.save"):
        load_backbone(tmp_path / "foreign.safetensors")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["weights.pt", "weights.pkl", "weights.safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path, name, writer):
    path, trace = tmp_path / name, tmp_path / "trace"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save(Bomb(trace), path)
    with pytest.raises(ValueError, match="pickle.*weights_only"):
        load_backbone(path)
    assert not trace.exists()


def test_a_header_whose_length_looks_like_a_pickle(tmp_path):
    path, long = tmp_path / "named.safetensors", 0x280
    Backbone(nn.Linear(2, 2), name="x").save(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    backbone = Backbone(nn.Linear(2, 2), name="x" * (1 + long - length))
    backbone.save(path)
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert load_backbone(path) == backbone


def test_a_description_with_a_class_of_its_own_is_refused(plain, saved):
    from sktransfer.backbones._architecture import build, describe

    description = json.loads(json.dumps(describe(plain.copy_module())))
    description["children"]["0"]["class"] = "os.system"
    with pytest.raises(ValueError, match=r"os\.system.*expected one of"):
        build(description)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(plain, saved, monkeypatch, tmp_path):
    before = saved.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plain.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["plain.safetensors"]


def test_save_wants_its_suffix(plain, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        plain.save(tmp_path / "plain.pt")


def test_tied_weights_are_saved(tmp_path):
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    backbone = Backbone(network)
    backbone.save(tmp_path / "tied.safetensors")
    loaded = load_backbone(tmp_path / "tied.safetensors")
    assert loaded == backbone
    copied = loaded.copy_module()
    assert torch.equal(copied[0].weight, copied[2].weight)
