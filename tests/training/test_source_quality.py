import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from sktransfer.training import SCARF
from sktransfer.training._batches import PreparedRows
from sktransfer.training._objectives import Multiclass, Multilabel, Regression
from sktransfer.training._pretraining_network import PretrainingNetwork, PretrainingObjective
from sktransfer.training._source_quality import measure_quality

rng = np.random.default_rng(0)


def measure(outputs, targets, objective, task, prior, weight=None):
    """Measure a network whose outputs are these."""
    network = PretrainingNetwork(nn.Identity(), nn.Linear(1, 1), None)
    network.head = nn.Identity()
    network.register_parameter("any", nn.Parameter(torch.zeros(1)))
    weight = np.ones(len(outputs)) if weight is None else weight
    rows = PreparedRows(outputs.astype(np.float32), targets, weight, np.asarray)
    objective = PretrainingObjective(objective, None)
    return measure_quality(network, rows, objective, task=task, prior=prior, batch_size=7)


def test_classes():
    label = np.arange(40) % 3
    outputs = rng.normal(size=(40, 3)) + 2 * np.eye(3)[label]
    prior = np.array([0.5, 0.25, 0.25])
    weight = rng.uniform(size=40)
    objective = Multiclass(3)
    scores, chance = measure(
        outputs, objective.encode(label), objective, "classification", prior, weight
    )
    proba = torch.as_tensor(outputs).softmax(1).numpy()
    hits = outputs.argmax(1) == label
    assert scores["accuracy"] == pytest.approx(np.average(hits, weights=weight))
    assert scores["log_loss"] == pytest.approx(log_loss(label, proba, sample_weight=weight))
    assert scores["roc_auc"] > 0.8
    assert chance["accuracy"] == pytest.approx(np.average(label == 0, weights=weight))
    assert chance["roc_auc"] == pytest.approx(0.5)
    expected = np.average(-np.log(prior[label]), weights=weight)
    assert chance["log_loss"] == pytest.approx(expected)


def test_two_classes_have_one_curve():
    label = np.arange(40) % 2
    outputs = rng.normal(size=(40, 2)) + np.eye(2)[label]
    objective = Multiclass(2)
    scores, _ = measure(outputs, objective.encode(label), objective, "classification", [0.5, 0.5])
    expected = roc_auc_score(label, outputs[:, 1] - outputs[:, 0])
    assert scores["roc_auc"] == pytest.approx(expected)


def test_labels_of_which_the_held_out_rows_lack_one():
    targets = np.column_stack([np.arange(20) % 2, np.zeros(20)])
    outputs = rng.normal(size=(20, 2)) + targets
    scores, chance = measure(outputs, targets, Multilabel(2), "multilabel", [0.5, 0.1])
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(targets[:, 0], outputs[:, 0]))
    assert chance["roc_auc"] == 0.5
    none, _ = measure(outputs, np.zeros((20, 2)), Multilabel(2), "multilabel", [0.5, 0.1])
    assert "roc_auc" not in none


def test_numbers():
    targets = rng.normal(size=(30, 1))
    scores, chance = measure(targets + 0.5, targets, Regression(1), "regression", [0.0])
    assert scores["rmse"] == pytest.approx(0.5, rel=1e-5)
    assert scores["r2"] == pytest.approx(1 - 0.25 / targets.var(), rel=1e-4)
    assert chance["rmse"] == pytest.approx(np.sqrt(np.mean(targets**2)), rel=1e-5)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 0.0)])
def test_rows_are_matched_within_batches(shift, expected):
    anchors = np.eye(6, dtype=np.float32)
    pairs = np.stack([anchors, np.roll(anchors, shift, axis=0)], axis=1)
    network = PretrainingNetwork(nn.Identity(), None, nn.Identity())
    network.register_parameter("any", nn.Parameter(torch.zeros(1)))
    rows = PreparedRows(pairs, np.zeros((6, 1)), np.ones(6), np.asarray)
    objective = PretrainingObjective(None, SCARF())
    scores, chance = measure_quality(
        network, rows, objective, task="self-supervised", prior=[0.0], batch_size=3
    )
    assert scores == {"matched_rows": expected}
    assert chance == {"matched_rows": pytest.approx(1 / 3)}
