"""How good a pretrained network is on held-out rows of its source."""

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from sktransfer.utils._torch import evaluating


def measure_quality(network, rows, objective, *, task, prior, batch_size):
    """Return scores on held-out rows, and those of chance, as two dicts.

    Parameters
    ----------
    network : PretrainingNetwork
    rows : PreparedRows
        Held out.
    objective : PretrainingObjective
    task : str
        See `PretrainingReport`.
    prior : ndarray of shape (n_outputs,)
        Mean of the targets that were trained on, which chance predicts.
    batch_size : int
        Rows that are compared with each other.
    """
    outputs = _compute_outputs(network, rows, batch_size)
    scores, chance = {}, {}
    weight = rows.sample_weight.double().numpy()
    if objective.supervised is not None:
        head = outputs if objective.scarf is None else objective.split(outputs)[0]
        # As outputs, so that both are judged alike.
        prior = objective.supervised.invert(torch.as_tensor(prior, dtype=torch.float32))
        for given, found in ((head, scores), (prior.expand_as(head), chance)):
            judged = _JUDGES[task](objective.supervised, given, rows.targets, weight)
            found.update({name: float(value) for name, value in judged.items()})
    if objective.scarf is not None:
        _, anchors, copies = objective.split(outputs)
        parts = zip(anchors.split(batch_size), copies.split(batch_size), strict=True)
        found = [
            objective.scarf.compare(*part).argmax(1) == torch.arange(len(part[0])) for part in parts
        ]
        scores["matched_rows"] = float(torch.cat(found).double().mean())
        chance["matched_rows"] = len(found) / len(rows)
    return scores, chance


def _compute_outputs(network, rows, batch_size):
    device = next(network.parameters()).device
    order = list(range(len(rows)))
    with torch.inference_mode(), evaluating(network):
        return torch.cat(
            [
                network(rows.__getitems__(order[i : i + batch_size])[0].to(device)).float().cpu()
                for i in range(0, len(order), batch_size)
            ]
        )


def _judge_classes(objective, outputs, targets, weight):
    proba = objective.predict(outputs.double()).numpy()
    label = targets.argmax(1).numpy()
    scores = {"accuracy": accuracy_score(label, proba.argmax(1), sample_weight=weight)}
    # Of two classes both curves have the same area.
    of = slice(1, 2) if objective.n_outputs == 2 else slice(None)
    scores.update(_area(targets[:, of].numpy(), proba[:, of], weight))
    scores["log_loss"] = _mean_loss(objective, outputs, targets, weight)
    return scores


def _judge_labels(objective, outputs, targets, weight):
    proba = objective.predict(outputs.double()).numpy()
    scores = _area(targets.numpy(), proba, weight)
    scores["log_loss"] = _mean_loss(objective, outputs, targets, weight)
    return scores


def _judge_numbers(objective, outputs, targets, weight):
    # Of standardised numbers: the error is in standard deviations of the source.
    scores = {"rmse": np.sqrt(_mean_loss(objective, outputs, targets, weight))}
    if len(targets) > 1:
        score = r2_score(targets.numpy(), outputs.double().numpy(), sample_weight=weight)
        scores = {"r2": score, **scores}
    return scores


def _area(targets, proba, weight):
    """Return the mean area under the ROC curves of the outputs that have rows of both kinds."""
    areas = [
        roc_auc_score(target, score, sample_weight=weight)
        for target, score in zip(targets.T, proba.T, strict=True)
        if len(np.unique(target)) == 2
    ]
    return {"roc_auc": np.mean(areas)} if areas else {}


def _mean_loss(objective, outputs, targets, weight):
    return np.average(objective.losses(outputs, targets).double().numpy(), weights=weight)


_JUDGES = {
    "classification": _judge_classes,
    "multilabel": _judge_labels,
    "regression": _judge_numbers,
}
