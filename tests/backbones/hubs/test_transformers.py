import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sktransfer import FeatureTransferTransformer, ParameterTransferClassifier, load_backbone
from sktransfer.backbones import NetworkInput

X = np.random.default_rng(0).random((3, 3, 32, 32)).astype(np.float32)


def run(network, X=X):
    with torch.no_grad():
        return network(torch.from_numpy(X))


def features_of(backbone, X=X, **options):
    return FeatureTransferTransformer(backbone, **options).fit_transform(X)


PLAIN = NetworkInput(channels=3)


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext"])
def test_a_folder_with_a_classifier(tiny_folder, kind):
    folder = tiny_folder(kind, seed=1)
    backbone = load_backbone(f"transformers/{folder}", input=PLAIN)
    assert backbone.classes.tolist() == ["cat", "dog", "owl"]
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    logits = features_of(backbone, layers="output")
    np.testing.assert_allclose(logits, run(network.eval()).logits, atol=1e-5)
    np.testing.assert_allclose(features_of(backbone, output="logits"), logits, atol=1e-5)
    assert features_of(backbone).shape == (3, 12)


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext", "dinov2"])
def test_a_folder_without_a_head_gives_its_pooled_features(tiny_folder, kind):
    folder = tiny_folder(kind, headless=True, seed=1)
    backbone = load_backbone(f"transformers/{folder}", input=PLAIN)
    assert backbone.classes is None
    network = transformers.AutoModel.from_pretrained(folder).eval()
    pooled = run(network).pooler_output.flatten(1)
    np.testing.assert_allclose(features_of(backbone), pooled, atol=1e-5)


def test_a_pooler_that_was_never_trained_is_left_out(tiny_folder):
    folder = tiny_folder("vit", seed=1)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["ViTModel"]
    (folder / "config.json").write_text(json.dumps(config))
    backbone = load_backbone(f"transformers/{folder}", input=PLAIN)
    assert backbone.copy_module().pooler is None
    tokens = run(backbone.copy_module()).last_hidden_state
    np.testing.assert_allclose(features_of(backbone), tokens.mean(dim=1), atol=1e-5)
    np.testing.assert_allclose(features_of(backbone, pooling="cls"), tokens[:, 0], atol=1e-5)
    backbone.save(folder / "saved.safetensors")
    assert load_backbone(folder / "saved.safetensors") == backbone


@pytest.mark.parametrize(
    ("kind", "preparation", "expected"),
    [
        (
            # As the first vision transformers have it.
            "vit",
            {"do_normalize": True, "do_resize": True, "size": 224},
            {"mean": 0.5, "std": 0.5, "resize": (224, 224), "crop": None},
        ),
        (
            "resnet",
            {"crop_pct": 0.875, "resample": 3, "size": 224},
            {"resize": 256, "crop": (224, 224), "interpolation": "bicubic"},
        ),
        ("convnext", {"size": {"shortest_edge": 384}}, {"resize": (384, 384), "crop": (384, 384)}),
        (
            "dinov2",
            {
                "image_processor_type": "BitImageProcessor",
                "crop_size": {"height": 224, "width": 224},
                "size": {"shortest_edge": 256},
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "resample": 3,
            },
            {
                "mean": (0.485, 0.456, 0.406),
                "std": (0.229, 0.224, 0.225),
                "resize": 256,
                "crop": (224, 224),
                "interpolation": "bicubic",
            },
        ),
        # Values between -1 and 1, in another way.
        (
            "vit",
            {"do_normalize": False, "rescale_factor": 1 / 51, "resample": 0},
            {"mean": 0.0, "std": 0.2, "interpolation": "nearest"},
        ),
    ],
)
def test_the_preparation_is_that_of_the_folder(tiny_folder, kind, preparation, expected):
    folder = tiny_folder(kind, preparation=preparation)
    found = load_backbone(f"transformers/{folder}").input
    assert found.channels == 3
    for name, value in expected.items():
        if name in ("mean", "std"):
            np.testing.assert_allclose(getattr(found, name), np.broadcast_to(value, 3), atol=1e-5)
        else:
            assert getattr(found, name) == value


def test_without_a_preparation_of_its_own_the_size_is_that_of_the_network(tiny_folder):
    found = load_backbone(f"transformers/{tiny_folder('vit')}").input
    assert found.resize == found.crop == (32, 32)
    assert found.mean == found.std == (0.5, 0.5, 0.5)
    kind = load_backbone("transformers/convnextv2", pretrained=False).input
    assert kind.channels == 3


@pytest.mark.parametrize("n_outputs", [3, 5])
def test_weights_from_a_file(tiny_folder, tmp_path, n_outputs):
    labels = [f"class {i}" for i in range(n_outputs)]
    trained = tiny_folder("vit", labels=labels, seed=2)
    backbone = load_backbone(
        f"transformers/{tiny_folder('vit')}", weights=trained / "model.safetensors", input=PLAIN
    )
    network = transformers.AutoModelForImageClassification.from_pretrained(trained).eval()
    logits = features_of(backbone, layers="output")
    np.testing.assert_allclose(logits, run(network).logits, atol=1e-5)
    backbone.save(tmp_path / "saved.safetensors")
    assert load_backbone(tmp_path / "saved.safetensors") == backbone


def test_weights_that_do_not_fit(tiny_folder, tmp_path):
    folder = tiny_folder("vit")
    tensors = load_file(folder / "model.safetensors")
    (key,) = [key for key in tensors if key.endswith("layernorm.weight")]
    tensors["surplus"] = tensors.pop(key)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="missing: .*layernorm.weight; unexpected: surplus"):
        load_backbone(f"transformers/{folder}", weights=tmp_path / "w.safetensors")


def test_weights_in_parts(tiny_folder):
    folder = tiny_folder("vit", seed=1)
    whole = load_backbone(f"transformers/{folder}")
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="8KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert load_backbone(f"transformers/{folder}") == whole
    with pytest.raises(ValueError, match="sha256.*expected one file"):
        load_backbone(f"transformers/{folder}", sha256="0" * 64)


def test_a_folder_without_weights(tiny_folder):
    folder = tiny_folder("vit")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of the files.*pretrained=False"):
        load_backbone(f"transformers/{folder}")
    assert load_backbone(f"transformers/{folder}", pretrained=False).n_features_out == 12


def test_random_weights_of_a_kind_of_network():
    backbone = load_backbone("transformers/mobilenet_v2", pretrained=False)
    assert backbone == load_backbone("transformers/mobilenet_v2", pretrained=False)
    with pytest.raises(ValueError, match="kind of network and not weights.*pretrained=False"):
        load_backbone("transformers/mobilenet_v2")
    with pytest.raises(ValueError, match="Got revision='main'.*kind of network"):
        load_backbone("transformers/mobilenet_v2", pretrained=False, revision="main")


def test_code_of_a_repository_is_never_run(tiny_folder, tmp_path):
    folder = tiny_folder("vit")
    trace = tmp_path / "trace"
    (folder / "code.py").write_text(f"open({str(trace)!r}, 'w').close()")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModel": "code.Network"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own"}))
    with pytest.raises(ValueError, match="'own'.*never run"):
        load_backbone(f"transformers/{folder}")
    # A type that transformers knows is made by its own code.
    (folder / "config.json").write_text(json.dumps(config))
    assert load_backbone(f"transformers/{folder}").n_features_out == 12
    assert not trace.exists()


def test_a_network_for_texts(tmp_path):
    transformers.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'bert'.*expected one for images"):
        load_backbone(f"transformers/{tmp_path}", pretrained=False)


def test_the_half_that_sees_of_a_network_for_images_and_texts(tmp_path):
    small = {"hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        vision_config={**small, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        text_config={
            **small,
            "num_attention_heads": 2,
            "vocab_size": 20,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        projection_dim=6,
    )
    network = transformers.CLIPModel(config).eval()
    network.save_pretrained(tmp_path)
    backbone = load_backbone(f"transformers/{tmp_path}", input=PLAIN)
    with torch.no_grad():
        pooled = network.vision_model(torch.from_numpy(X)).pooler_output
    np.testing.assert_allclose(features_of(backbone), pooled, atol=1e-5)
    backbone.save(tmp_path / "saved.safetensors")
    assert load_backbone(tmp_path / "saved.safetensors") == backbone


def test_a_network_of_timm_in_a_repository_for_transformers(tmp_path):
    config = {"architecture": "resnet18", "num_classes": 5, "pretrained_cfg": {"tag": "a1_in1k"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="a network of timm; expected 'timm/resnet18'"):
        load_backbone(f"transformers/{tmp_path}")


@pytest.mark.parametrize("revision", [None, "a" * 40])
def test_without_a_network_it_fails_and_says_what_to_do(revision):
    with pytest.raises(ConnectionError, match="google/vit.*config.json.*'transformers/<folder>'"):
        load_backbone("transformers/google/vit-base-patch16-224", revision=revision)


def test_from_the_cache_of_the_hub(tiny_folder, tmp_path, monkeypatch):
    folder, commit = tiny_folder("vit", seed=1), "b" * 40
    repository = tmp_path / "cache" / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v1.0").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="preprocessor_config.json.*usual for 'vit'.*input="):
        backbone = load_backbone("transformers/somebody/tiny", revision="v1.0")
    assert backbone.name == "transformers/somebody/tiny"
    assert backbone == load_backbone(f"transformers/{repository / 'snapshots' / commit}")
    with pytest.raises(ConnectionError, match="somebody/tiny"):
        load_backbone("transformers/somebody/tiny", revision="v2.0")


def test_the_settings_of_transformers_are_put_back(tiny_folder):
    logging = transformers.utils.logging
    folder = tiny_folder("vit")
    logging.enable_progress_bar()
    before = logging.get_verbosity()
    load_backbone(f"transformers/{folder}")
    assert logging.is_progress_bar_enabled()
    assert logging.get_verbosity() == before


def test_the_head_of_a_classifier_is_reused_for_its_classes(tiny_folder):
    folder = tiny_folder("vit", labels=("cat", "dog", "owl"), seed=1)
    backbone = load_backbone(f"transformers/{folder}", input=PLAIN)
    classifier = ParameterTransferClassifier(
        backbone, strategy="fine_tune", head="reuse", max_epochs=1, random_state=0
    )
    classifier.fit(X, ["owl", "cat", "owl"])
    assert classifier.classes_.tolist() == ["cat", "owl"]
    with pytest.raises(ValueError, match="Got head='reuse'"):
        classifier.fit(X, ["owl", "cow", "owl"])
