import re
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from skorch.callbacks import Callback

from sktransfer import FeatureTransferTransformer, load_backbone, pretrain_backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.training import SCARF

QUICK = {"hidden_layer_sizes": (16,), "max_epochs": 25, "batch_size": 32, "random_state": 0}


def make_table(n=240, seed=0):
    """Return a table in which two groups of columns, and a category, follow hidden causes."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    table = pd.DataFrame(
        {
            "a": hidden[:, 0] + 0.1 * rng.normal(size=n),
            "b": 5 * hidden[:, 0] + 0.5 * rng.normal(size=n),
            "c": hidden[:, 1] + 0.1 * rng.normal(size=n),
            "d": 100 - 3 * hidden[:, 1] + 0.3 * rng.normal(size=n),
            "kind": np.where(hidden[:, 0] > 0, "warm", "cold"),
        }
    )
    table.loc[::9, "c"] = np.nan
    return table, hidden


X, HIDDEN = make_table()
CLASSES = np.where(HIDDEN.sum(axis=1) > 0, "yes", "no")


def pretrain(X=X, y=CLASSES, **options):
    return pretrain_backbone(X, y, **{**QUICK, **options})


def outputs(backbone, X=X):
    # Of the last layer, in the units of the labels.
    with torch.no_grad():
        return backbone.copy_module()(torch.as_tensor(backbone.input.prepare(X))).numpy()


def weights(backbone):
    return torch.cat([p.flatten() for p in backbone.copy_module().parameters()]).detach().numpy()


def test_classes_are_learned():
    backbone = pretrain()
    report = backbone.report_
    assert report.task == "classification"
    assert report.scores["accuracy"] > 0.85 > report.chance["accuracy"] + 0.2
    assert report.scores["roc_auc"] > 0.9 > report.chance["roc_auc"] == 0.5
    assert report.scores["log_loss"] < report.chance["log_loss"]
    assert backbone.classes.tolist() == ["no", "yes"]
    new, hidden = make_table(seed=1)
    predicted = backbone.classes[outputs(backbone, new).argmax(1)]
    assert np.mean(predicted == np.where(hidden.sum(axis=1) > 0, "yes", "no")) > 0.85


def test_several_labels_are_learned():
    backbone = pretrain(y=HIDDEN > 0)
    assert backbone.report_.task == "multilabel"
    assert backbone.report_.scores["roc_auc"] > 0.9
    assert backbone.classes is None
    assert outputs(backbone).shape == (240, 2)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_numbers_are_learned_in_their_own_units(n_outputs):
    y = 1000 + 50 * HIDDEN[:, :n_outputs]
    backbone = pretrain(y=y)
    assert backbone.report_.task == "regression"
    assert backbone.report_.scores["r2"] > 0.8
    assert abs(backbone.report_.chance["r2"]) < 0.2
    assert np.abs(outputs(backbone) - y).mean() < 20


def test_rows_alone_are_learned():
    backbone = pretrain(y=None, self_supervised=SCARF(corruption=0.4), validation_fraction=0.3)
    report = backbone.report_
    assert report.task == "self-supervised"
    assert report.scores["matched_rows"] > 3 * report.chance["matched_rows"]
    assert backbone.classes is None
    # It has no head: what comes out is what a target learns from.
    assert outputs(backbone).shape == (240, 16)
    assert backbone.n_features_out == 16


@pytest.mark.parametrize("self_supervised", [0.5, SCARF(weight=0.5, corruption=0.4)])
def test_labels_and_rows_are_learned_together(self_supervised):
    report = pretrain(self_supervised=self_supervised, validation_fraction=0.3).report_
    assert report.task == "classification"
    assert report.scores["accuracy"] > 0.8
    assert report.scores["matched_rows"] > 2 * report.chance["matched_rows"]


@pytest.mark.parametrize(
    "container", [np.asarray, pd.DataFrame, pl.DataFrame, lambda X: X.to_numpy().tolist()]
)
def test_containers_of_numbers(container):
    numbers = X[["a", "b", "d"]]
    backbone = pretrain(container(numbers), max_epochs=3)
    assert np.array_equal(weights(backbone), weights(pretrain(numbers.to_numpy(), max_epochs=3)))


def test_a_list_of_rows_with_texts():
    rows = X[["a", "kind"]].to_numpy(dtype=object).tolist()
    backbone = pretrain(rows, max_epochs=2)
    assert (backbone.input.n_numeric, backbone.input.cardinalities) == (1, (2,))


def test_more_than_two_classes_of_differing_sizes():
    label = np.digitize(HIDDEN[:, 0], [-1.5, 0, 1.5, 10])
    label[0] = 9  # a class with one row
    backbone = pretrain(y=label)
    assert backbone.classes.tolist() == [0, 1, 2, 3, 9]
    assert backbone.report_.scores["accuracy"] > 0.7


def test_the_same_seed_gives_the_same_bits_in_another_process():
    code = (
        "from tests.training.test_pretrain import *; import hashlib, torch;"
        "torch.set_num_threads(1); torch.rand(7);"
        "print(hashlib.sha256(weights(pretrain(max_epochs=3, self_supervised=1.0))).hexdigest())"
    )
    import hashlib
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    here = pretrain(max_epochs=3, self_supervised=1.0)
    assert hashlib.sha256(weights(here)).hexdigest() == there
    other = pretrain(max_epochs=3, self_supervised=1.0, random_state=1)
    assert not np.array_equal(weights(other), weights(here))


def test_global_state_is_left_alone():
    np.random.seed(3)
    torch.manual_seed(3)
    states = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()
    pretrain(max_epochs=1, n_threads=2, self_supervised=1.0)
    assert np.array_equal(states[0], np.random.get_state()[1])
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2] == torch.get_num_threads()


def test_rows_and_labels_are_left_as_they_were():
    frame, label = X.copy(), CLASSES.copy()
    pretrain(frame, label, max_epochs=2)
    pd.testing.assert_frame_equal(frame, X)
    assert np.array_equal(label, CLASSES)


@pytest.mark.parametrize("y", [CLASSES, HIDDEN, None], ids=["classes", "numbers", "rows alone"])
def test_a_row_of_weight_zero_is_as_good_as_absent(y):
    weight = np.random.default_rng(0).integers(0, 3, size=240).astype(float)
    kept = weight > 0
    frame = X.copy()
    frame.loc[~kept, "a"] = 1e6
    with_zeros = pretrain(frame, y, sample_weight=weight, max_epochs=3)
    without = pretrain(
        X[kept], None if y is None else y[kept], sample_weight=weight[kept], max_epochs=3
    )
    assert np.array_equal(weights(with_zeros), weights(without))


def test_weights_decide_what_is_learned():
    y = np.where(HIDDEN[:, 1] > 0, HIDDEN[:, 0] > 0, HIDDEN[:, 0] < 0).astype(int)
    weight = np.where(HIDDEN[:, 1] > 0, 1.0, 1e-3)
    backbone = pretrain(y=y, sample_weight=weight)
    predicted = outputs(backbone).argmax(1)
    assert np.mean((predicted == y)[HIDDEN[:, 1] > 0.2]) > 0.9
    assert np.mean((predicted == y)[HIDDEN[:, 1] < -0.2]) < 0.5


def test_a_saved_backbone_is_the_same_and_holds_no_source_row(tmp_path):
    secret = X.copy()
    secret["a"] += 0.123456789
    backbone = pretrain(secret, max_epochs=3)
    path = tmp_path / "table.safetensors"
    backbone.save(path)
    loaded = load_backbone(path)
    assert loaded == backbone
    assert loaded.report_ == backbone.report_
    assert np.array_equal(loaded.classes, backbone.classes)
    content = path.read_bytes()
    texts = re.findall(rb"-?\d+\.\d+", content)
    numbers = {float(text) for text in texts}
    # The centre of a column may be one of its values; no row is there with two of them.
    for _, row in secret.iterrows():
        values = row[["a", "b", "d"]].to_numpy(dtype=float)
        assert sum(value in numbers for value in values) < 2
        for dtype in (np.float32, np.float64):
            assert values.astype(dtype).tobytes() not in content
    for encoded in backbone.input.prepare(secret):
        assert encoded.tobytes() not in content


def test_the_best_epoch_is_kept():
    y = np.random.default_rng(0).integers(0, 2, size=240)  # nothing to learn: it overfits
    report = pretrain(y=y, max_epochs=60, learning_rate=1e-2, n_iter_no_change=5).report_
    assert report.best_epoch + 5 == report.n_epochs < 60
    assert report.scores["log_loss"] < 0.75


def test_nothing_is_held_out_on_demand_or_of_few_rows():
    backbone = pretrain(max_epochs=2, validation_fraction=0)
    assert (backbone.report_.n_held_out, backbone.report_.scores) == (0, {})
    assert "no source rows held out" in repr(backbone.report_)
    few = pretrain(X[:2], ["a", "b"], max_epochs=2)
    assert (few.report_.n_rows, few.report_.n_held_out) == (2, 0)
    assert pretrain(X[:2], None, max_epochs=2).n_features_out == 16


def test_unknown_categories_and_missing_values_are_known_to_the_network():
    assert not X["kind"].isna().any()
    frozen = pretrain(max_epochs=1, feature_dropout=0.0)
    trained = pretrain(max_epochs=1, feature_dropout=0.3)
    started = [
        pretrain(max_epochs=1, feature_dropout=share, learning_rate=1e-12, weight_decay=0)
        for share in (0.0, 0.3)
    ]

    def unknown(backbone):
        (embedding,) = backbone.copy_module().embeddings.columns
        return embedding.weight[0].detach().numpy()

    assert np.allclose(unknown(started[0]), unknown(started[1]))
    moved = [np.abs(unknown(b) - unknown(started[0])).max() for b in (frozen, trained)]
    assert moved[0] < 1e-3 < moved[1]


def test_an_interrupt_comes_through():
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(callbacks=[Interrupt()])


def test_a_progress_bar_shows_the_epochs(capsys):
    pretrain(max_epochs=3, verbose=1)
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert "valid_loss" in shown.err
    pretrain(max_epochs=3, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_target_table_goes_straight_in():
    features = FeatureTransferTransformer(pretrain(max_epochs=2)).fit_transform(X[:10])
    assert features.shape == (10, 16)
    assert np.isfinite(features).all()


def test_two_backbones_from_rows_in_other_units_have_the_same_features():
    other = X.assign(a=1000 * X["a"] - 7)
    ours, theirs = pretrain(max_epochs=3), pretrain(other, max_epochs=3)
    found = [
        compute_activations(backbone, rows, cache=False)[0]
        for backbone, rows in ((ours, X), (theirs, other))
    ]
    assert np.allclose(*found, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": csr_array(np.eye(4)), "y": [0, 1, 0, 1]}, TypeError, "sparse"),
        ({"X": np.zeros((4, 8, 8)), "y": [0, 1, 0, 1]}, ValueError, "as images, but only tables"),
        ({"X": ["a.png", "b.png"], "y": [0, 1]}, ValueError, "as images, but only tables"),
        ({"X": "table.csv"}, TypeError, "one path or text"),
        ({"X": np.zeros(4), "y": [0, 1, 0, 1]}, ValueError, "of shape"),
        ({"X": X[:1], "y": ["a"]}, ValueError, "1 rows, but expected at least 2"),
        ({"X": X[:0], "y": []}, ValueError, "0 rows"),
        ({"y": CLASSES[:-1]}, ValueError, "inconsistent numbers of samples"),
        ({"y": np.where(CLASSES == "no", "yes", CLASSES)}, ValueError, "one class"),
        ({"y": np.where(CLASSES == "no", np.nan, 1.0)}, ValueError, "missing or infinite"),
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight"),
        ({"sample_weight": -np.ones(240)}, ValueError, "sample_weight"),
        ({"sample_weight": np.zeros(240)}, ValueError, "zeros only"),
        ({"sample_weight": np.eye(240)[0]}, ValueError, "1 rows of a weight > 0"),
        ({"sample_weight": (CLASSES == "no").astype(float)}, ValueError, "one class"),
        ({"task": "classes"}, ValueError, "task='classes'"),
        ({"y": None, "task": "regression"}, ValueError, "without y_source"),
        ({"y": None, "self_supervised": 0}, ValueError, "nothing to learn"),
        ({"self_supervised": -1.0}, ValueError, "weight=-1.0"),
        ({"self_supervised": "scarf"}, TypeError, "self_supervised='scarf'"),
        ({"self_supervised": True}, TypeError, "self_supervised=True"),
        ({"hidden_layer_sizes": ()}, TypeError, "at least one integer"),
        ({"hidden_layer_sizes": 64}, TypeError, "hidden_layer_sizes=64"),
        ({"hidden_layer_sizes": (0,)}, ValueError, r"hidden_layer_sizes\[0\]=0"),
        ({"max_epochs": 0}, ValueError, "max_epochs=0"),
        ({"batch_size": 1}, ValueError, "batch_size=1"),
        ({"learning_rate": 0}, ValueError, "learning_rate=0"),
        ({"weight_decay": -1}, ValueError, "weight_decay=-1"),
        ({"dropout": 1.0}, ValueError, "dropout=1.0"),
        ({"feature_dropout": -0.1}, ValueError, "feature_dropout=-0.1"),
        ({"validation_fraction": 0.9}, ValueError, "validation_fraction=0.9"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change=0"),
        ({"categorical": "all"}, ValueError, "categorical='all'"),
        ({"device": "tpu"}, ValueError, "device='tpu'"),
        ({"n_threads": 0}, ValueError, "n_threads=0"),
        ({"callbacks": "bar"}, TypeError, "skorch callbacks"),
        ({"verbose": -1}, ValueError, "verbose=-1"),
        ({"learning_rate": 1e30}, ValueError, "diverged"),
    ],
)
def test_what_cannot_be_learned_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        pretrain(**changes)
