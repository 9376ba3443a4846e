"""The guard of TrAdaBoost: which way to learn predicts held-out target rows best."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.utils.parallel import Parallel, delayed

from sktransfer.domain import take_rows
from sktransfer.instance._boosting import Rows, loses_clearly, pool
from sktransfer.instance._tradaboost import Rules, boost
from sktransfer.utils._gain import compare_losses

__all__ = ["STRATEGIES", "Task", "Verdict", "compare", "follow"]

LEAST_PROBABILITY = 1e-3  # so that one confident mistake does not decide a comparison
# The ways to learn that the guard compares, and what each is called afterwards.
STRATEGIES = {
    "transfer": "transfer",
    "pooled": "pooled",
    "target_only": "target_only",
    "boosted_target": "target_only",
}
# Log likelihood, in nats, that each has in advance of what held-out rows say. A few of these are
# easily predicted better by chance: one learner for the target alone needs no reason.
LEADS = {"transfer": 0.0, "pooled": 0.0, "target_only": 0.5, "boosted_target": -0.5}
TEMPERATURES = np.geomspace(0.25, 64, 33)


class Task(NamedTuple):
    """What is to be learned, from what.

    Parameters
    ----------
    target : Rows
    sources : list of Rows
    classes : array of shape (n_classes,)
        Of all domains, sorted.
    rules : Rules
    seed : int or None
        Of the learners.
    """

    target: Rows
    sources: list
    classes: np.ndarray
    rules: Rules
    seed: int | None


class Verdict(NamedTuple):
    """What held-out rows said.

    Parameters
    ----------
    way : str
        The best way to learn, a key of ``STRATEGIES``.
    oof_loss : dict of str to float
        Mean held-out loss of each strategy.
    gains : dict of str to Gain
        Of transfer over the others.
    loss_of_transfer : (str, Gain) or None
        The losses in words, and the gain, where transfer loses clearly.
    """

    way: str
    oof_loss: dict
    gains: dict
    loss_of_transfer: tuple | None


def follow(way, task):
    """Return the ensemble, or the one learner, of a way to learn."""
    sources, rules = task.sources, task.rules
    if way == "pooled":
        pooled = pool(sources)
        # A row of a source weighs as much as a target row, in the mean.
        sources = [pooled._replace(weights=pooled.weights * task.target.weights.mean())]
    elif way != "transfer":
        sources = []
    if way in ("pooled", "target_only"):
        # One round, which starts with the weights that the rows have.
        rules = rules._replace(n_estimators=1, target_weight=None)
    return boost(task.target, sources, task.classes, rules, task.seed)


def compare(task, folds, n_jobs):
    """Return which way predicts held-out target rows best.

    Parameters
    ----------
    task : Task
        With sources.
    folds : list of (train, test)
        Positions of target rows.
    n_jobs : int or None

    Returns
    -------
    Verdict
    """
    outputs = Parallel(n_jobs=n_jobs)(
        delayed(_predict_held_out)(way, task, *fold) for way in LEADS for fold in folds
    )
    rows = np.concatenate([test for _, test in folds])
    labels = np.searchsorted(task.classes, task.target.y)
    held_out = np.unique(rows)
    weights = task.target.weights
    losses = {}
    for k, way in enumerate(LEADS):
        shares = np.concatenate(outputs[k * len(folds) : (k + 1) * len(folds)])
        losses[way] = _calibrated_losses(shares, labels, rows, weights)
    return _judge(losses, weights[held_out] / weights[held_out].mean())


def _predict_held_out(way, task, train, test):
    ensemble = follow(way, task._replace(target=task.target.take(train)))
    return ensemble.voters.shares(take_rows(task.target.X, test))


def _judge(losses, weights):
    """Return the verdict on the losses of each way on each held-out row."""
    scores = {way: LEADS[way] - loss @ weights for way, loss in losses.items()}
    alone = max(("target_only", "boosted_target"), key=scores.get)
    losses = {
        "transfer": losses["transfer"],
        "pooled": losses["pooled"],
        "target_only": losses[alone],
    }
    oof_loss = {name: float(np.mean(loss * weights)) for name, loss in losses.items()}
    gains = {
        name: compare_losses(losses["transfer"], losses[name], weights)
        for name in ("target_only", "pooled")
    }
    best = max(scores, key=scores.get)
    with_source = min(("transfer", "pooled"), key=oof_loss.get)
    gain = compare_losses(losses[with_source], losses["target_only"], weights)
    loss_of_transfer = None
    if STRATEGIES[best] == "target_only" and loses_clearly(gain):
        loss_of_transfer = (
            f"log loss is {oof_loss[with_source]:.3f} with the source, and "
            f"{oof_loss['target_only']:.3f} for the target alone",
            gain,
        )
    return Verdict(best, oof_loss, gains, loss_of_transfer)


def _calibrated_losses(shares, labels, rows, weight):
    """Return the log loss of each held-out row at the temperature that is best for them all.

    A single learner, of which boosting a few target rows often consists, is far more confident
    than an average of many; as they are, only this would be compared. A row that was held out
    several times has the mean of its losses.
    """
    counts = np.bincount(rows, minlength=len(labels))
    logits = np.log(np.maximum(shares, LEAST_PROBABILITY))
    candidates = []
    for temperature in TEMPERATURES:
        scaled = logits / temperature
        log_proba = scaled - logsumexp(scaled, axis=1, keepdims=True)
        candidates.append(-log_proba[np.arange(len(rows)), labels[rows]])
    losses = min(candidates, key=lambda losses: losses @ (weight / np.maximum(counts, 1))[rows])
    held_out = counts > 0
    sums = np.bincount(rows, weights=losses, minlength=len(labels))
    return sums[held_out] / counts[held_out]
