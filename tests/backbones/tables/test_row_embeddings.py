import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sktransfer import InContextEmbedding
from sktransfer.backbones.tables import _foundation_models
from sktransfer.backbones.tables._foundation_models import explain_weights, make_foundation_model
from sktransfer.backbones.tables._row_embeddings import has_embeddings, read_embeddings

RNG = np.random.default_rng(0)
X, X_NEW = RNG.normal(size=(30, 3)), RNG.normal(size=(7, 3))
Y = (X[:, 0] > 0).astype(int)


class LikeTabPFN:
    """Members in the first axis, rows of the context and of the query told apart."""

    def __init__(self, n_estimators=1):
        self.n_estimators = n_estimators

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def get_embeddings(self, X, data_source="test"):
        X = np.asarray(X, dtype=np.float64)
        sign = {"train": -1, "test": 1}[data_source]
        return np.stack([sign * (X + member) for member in range(self.n_estimators)])


class LikeTabICL:
    """A network whose rows are those of the context and then those asked for, in two batches."""

    def fit(self, X, y):
        self.context = torch.as_tensor(np.asarray(X), dtype=torch.float32)
        self.model_ = nn.Module()
        self.model_.row_interactor = nn.Linear(3, 5)
        return self

    def predict(self, X):
        rows = torch.cat([self.context, torch.as_tensor(np.asarray(X), dtype=torch.float32)])
        for n_members in (2, 1):
            self.model_.row_interactor(rows.expand(n_members, -1, -1))
        return np.zeros(len(X))


def test_members_of_a_model_are_averaged():
    model = LikeTabPFN(3).fit(X, Y)
    embeddings = read_embeddings(model, X_NEW)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, X_NEW + 1, rtol=1e-6)
    frame = pd.DataFrame(X_NEW, columns=list("abc"))
    np.testing.assert_array_equal(read_embeddings(model, frame), embeddings)


def test_rows_of_a_network_are_those_behind_the_context():
    model = LikeTabICL().fit(X, Y)
    with torch.no_grad():
        expected = model.model_.row_interactor(torch.as_tensor(X_NEW, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(read_embeddings(model, X_NEW), expected, rtol=1e-5)
    # The hook is gone.
    assert not model.model_.row_interactor._forward_hooks


def test_a_network_that_fails_keeps_no_hook():
    model = LikeTabICL().fit(X, Y)
    with pytest.raises(RuntimeError):
        read_embeddings(model, X_NEW[:, :2])
    assert not model.model_.row_interactor._forward_hooks


def test_embeddings_of_another_shape_are_refused():
    class Wrong(LikeTabPFN):
        def get_embeddings(self, X, data_source="test"):
            return np.zeros((3, 2))

    with pytest.raises(ValueError, match=r"embeddings of shape \(3, 2\) from Wrong.*\(7, d\)"):
        read_embeddings(Wrong(), X_NEW)


def test_what_has_embeddings():
    assert has_embeddings(LikeTabPFN())
    assert has_embeddings(LikeTabICL().fit(X, Y))
    assert not has_embeddings(LikeTabICL())
    assert not has_embeddings(object())


@pytest.mark.parametrize("name", ["tabpfn", "tabicl"])
def test_a_library_that_is_missing_is_named_with_its_extra_and_its_weights(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    message = rf"backbone='{name}', which needs {name}.*sktransfer\[{name}\].*weights"
    with pytest.raises(ImportError, match=message):
        make_foundation_model(name, is_classification=True, random_state=0)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="expected one of 'tabpfn', 'tabicl'.*mean 'tabpfn'"):
        make_foundation_model("tabpnf", is_classification=True, random_state=0)


@pytest.mark.parametrize("is_classification", [True, False])
def test_a_model_is_made_with_one_member_and_a_seed(monkeypatch, is_classification):
    made = {}

    class Library:
        @staticmethod
        def TabICLClassifier(**options):
            made["classifier"] = options

        @staticmethod
        def TabICLRegressor(**options):
            made["regressor"] = options

    monkeypatch.setattr(_foundation_models, "import_optional", lambda *of: Library)
    make_foundation_model("tabicl", is_classification=is_classification, random_state=7)
    kind = "classifier" if is_classification else "regressor"
    assert made == {kind: {"n_estimators": 1, "random_state": 7}}


def _error_of(module, *bases):
    return type("Failed", bases, {"__module__": module})("no access")


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route to host"),
        _error_of("tabpfn.errors", Exception),
        _error_of("huggingface_hub.errors", ValueError),
        RuntimeError("Failed to download model"),
    ],
)
def test_weights_that_are_not_there(error):
    with pytest.raises(RuntimeError, match="weights could not be loaded: .* non-commercial"):
        explain_weights("tabpfn", error)


@pytest.mark.parametrize(
    "error", [ValueError("too many classes"), _error_of("tabpfn.errors", ValueError, Exception)]
)
def test_other_errors_are_left_alone(error):
    assert explain_weights("tabpfn", error) is None


def tiny_tabicl(folder):
    """Return options of a TabICL whose weights are random, in place of those to be downloaded."""
    config = {
        **{"embed_dim": 16, "col_num_blocks": 1, "col_nhead": 2, "col_num_inds": 4},
        **{"row_num_blocks": 1, "row_nhead": 2, "row_num_cls": 2},
        **{"icl_num_blocks": 1, "icl_nhead": 2, "max_classes": 4},
    }
    network = importlib.import_module("tabicl._model.tabicl").TabICL(**config)
    torch.save({"config": config, "state_dict": network.state_dict()}, folder / "tiny.ckpt")
    return {"model_path": folder / "tiny.ckpt", "allow_auto_download": False}


def tiny_tabpfn(folder):
    """Return options of a TabPFN whose weights are random."""
    config = {"emsize": 16, "nlayers": 2, "nhead": 2, "max_num_classes": 10, "num_buckets": 100}
    kind = importlib.import_module("tabpfn.architectures").ARCHITECTURES["tabpfn_v2"]
    network = kind.get_architecture(kind.parse_config(config)[0])
    path = folder / "tiny-tabpfn-v2-classifier.ckpt"
    torch.save({"config": config, "state_dict": network.state_dict()}, path)
    return {"model_path": path}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "make_options", "settings", "width"),
    [
        ("TabICLClassifier", tiny_tabicl, [{"kv_cache": False}, {"kv_cache": "kv"}], 32),
        ("TabPFNClassifier", tiny_tabpfn, [{}, {"fit_mode": "fit_with_cache"}], 16),
    ],
)
def test_the_libraries_themselves(monkeypatch, tmp_path, name, make_options, settings, width):
    """Their own code on tiny networks, in the ways in which they go about a context."""
    monkeypatch.setenv("TABPFN_DISABLE_TELEMETRY", "1")
    library = pytest.importorskip(name.partition("Classifier")[0].lower())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = make_options(tmp_path)
    made = [
        getattr(library, name)(n_estimators=2, device="cpu", random_state=0, **options, **setting)
        for setting in settings
    ]
    assert all(map(has_embeddings, made))
    found = [read_embeddings(model.fit(X, Y), X_NEW) for model in made]
    assert found[0].shape == (7, width)
    np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-3)
    # Rows do not see each other, only the context.
    np.testing.assert_allclose(read_embeddings(made[0], X_NEW[:2]), found[0][:2], atol=1e-4)
    embedding = InContextEmbedding(clone(made[0]), random_state=0)
    assert embedding.fit_transform(X, Y).shape == (30, width)
