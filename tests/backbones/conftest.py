import json

import pytest
import torch

from sktransfer.backbones._load import _load_shared


@pytest.fixture(autouse=True)
def fresh_names():
    """Load named networks anew in each test, since some change what a name leads to."""
    _load_shared.cache_clear()
    yield
    _load_shared.cache_clear()


@pytest.fixture
def tiny_folder(tmp_path):
    """Make folders as `save_pretrained` does, with a small random network of transformers."""

    def make(kind="vit", *, headless=False, preparation=None, labels=("cat", "dog", "owl"), seed=0):
        import transformers

        transformers.utils.logging.disable_progress_bar()
        names = {"vit": "ViT", "resnet": "ResNet", "convnext": "ConvNext", "dinov2": "Dinov2"}
        sizes = {
            "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]},
            "convnext": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
        }
        tokens = {
            "hidden_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        }
        if kind == "vit":
            tokens["intermediate_size"] = 24
        config = getattr(transformers, f"{names[kind]}Config")(**sizes.get(kind, tokens))
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        end = "Model" if headless else "ForImageClassification"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = getattr(transformers, names[kind] + end)(config)
        folder = tmp_path / f"{kind}_{end}_{seed}"
        network.save_pretrained(folder)
        if preparation is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
        return folder

    return make
