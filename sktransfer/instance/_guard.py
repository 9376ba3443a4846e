"""Guarded transfer: held-out target rows decide how much each candidate counts."""

import dataclasses
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.utils._gain import compare_losses

__all__ = ["Evidence", "HeldOut", "select_sources", "weigh_evidence"]

# Held-out losses are noisy and depend on each other. Taken at face value, they made a lottery of 20
# rows; a third of it did not.
TEMPERING = 0.35
# Not to transfer needs no reason. What is left is shared by the ways to transfer.
PRIOR_OF_TARGET_ONLY = 0.4
# Candidates of less weight are left out of the average: they cost predictions more than they give.
LEAST_WEIGHT = 0.1
# Transfer that loses less than this is not worth a warning.
LEAST_LOSS = 1e-3


class Evidence(NamedTuple):
    """What held-out rows said.

    Parameters
    ----------
    oof_loss : dict of str to float
        Mean held-out loss of each candidate, and of the average where there is one.
    weights : dict of str to float
        Of the candidates that predictions come from.
    gains : dict of str to Gain
        Of transfer over the target alone, and of weights over none.
    adjustments : dict of str to Adjustment
        Of the outputs of each candidate, where there are any.
    kind : Probabilities, Classes or Numbers
        What is predicted.
    """

    oof_loss: dict
    weights: dict
    gains: dict
    adjustments: dict
    kind: object


class HeldOut:
    """Held-out predictions of candidates.

    Parameters
    ----------
    estimator : estimator
    target : Target
    folds : list of (train, test)
    kind : Probabilities, Classes or Numbers
        What is predicted.
    n_jobs : int or None
    """

    def __init__(self, estimator, target, folds, kind, n_jobs=None):
        self.estimator = estimator
        self.target = target
        self.folds = folds
        self.kind = kind
        self.n_jobs = n_jobs
        self.rows = np.concatenate([test for _, test in folds])
        self.outputs, self.adjustments, self._size = {}, {}, None
        weights = target.weights[np.unique(self.rows)]
        self.sample_weight = weights / weights.mean()

    def predict(self, candidates):
        """Add the adjusted outputs of candidates, one fit for each of them and each fold.

        Those of a later call are made as sure as those of the first.
        """
        tasks = [(candidate, *fold) for candidate in candidates for fold in self.folds]
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_and_predict)(self.estimator, self.target, self.kind, *task)
            for task in tasks
        )
        n_folds = len(self.folds)
        self._add(
            {
                candidate.name: np.concatenate(parts[i * n_folds : (i + 1) * n_folds])
                for i, candidate in enumerate(candidates)
            }
        )

    def _add(self, outputs):
        counts = np.bincount(self.rows)
        weights = np.zeros(len(counts))
        weights[counts > 0] = self.sample_weight / counts[counts > 0]
        y = self.target.y[self.rows]
        outputs, adjustments, self._size = self.kind.adjust(
            outputs, y, weights[self.rows], self._size
        )
        self.outputs.update(outputs)
        self.adjustments.update(adjustments)

    def losses(self, outputs):
        """Return the loss of each row that was held out, in the mean over repetitions."""
        losses = self.kind.losses(outputs, self.target.y[self.rows])
        counts = np.bincount(self.rows)
        return (np.bincount(self.rows, weights=losses) / np.maximum(counts, 1))[counts > 0]

    def mean_loss(self, name):
        """Return the weighted mean loss of a candidate."""
        return float(self.losses(self.outputs[name]) @ self.sample_weight / len(self.sample_weight))

    def compare(self, outputs, name):
        """Return the gain of outputs over a candidate."""
        others = self.losses(self.outputs[name])
        return compare_losses(self.losses(outputs), others, self.sample_weight)

    def average(self, weights):
        """Return the average of the outputs of candidates."""
        total = sum(weights.values())
        return sum(weight / total * self.outputs[name] for name, weight in weights.items())


def _fit_and_predict(estimator, target, kind, candidate, train, test):
    try:
        fitted = candidate.fit(estimator, target.take(train))
        return kind.predict(fitted, target.take(test).X)
    except Exception as error:
        error.add_note(
            f"While {candidate.name!r} was fitted to {len(train)} target rows, to compare it with "
            "others on held-out ones; fallback=None transfers without a comparison."
        )
        raise


def select_sources(held_out, weighted):
    """Return which sources help: those with which held-out loss is no higher than without.

    Each is tried on its own. Where none helps, the best one is left for the guard to judge.

    Parameters
    ----------
    held_out : HeldOut
        With the outputs of "target_only".
    weighted : Weighted
        The candidate with all sources.

    Returns
    -------
    selected : boolean array of shape (n_sources,)
    oof_loss : dict of str to float
        Mean held-out loss with each of them.
    """
    n_sources = len(weighted.sources)
    alone = [
        dataclasses.replace(weighted.restrict(np.arange(n_sources) == i), name=f"source_{i}")
        for i in range(n_sources)
    ]
    held_out.predict(alone)
    oof_loss = {candidate.name: held_out.mean_loss(candidate.name) for candidate in alone}
    losses = np.array(list(oof_loss.values()))
    selected = losses <= held_out.mean_loss("target_only")
    for candidate in alone:
        del held_out.outputs[candidate.name]
    return selected if selected.any() else losses == losses.min(), oof_loss


def weigh_evidence(held_out):
    """Weight candidates by what they predicted; warn where transfer loses.

    The weights are those of pseudo Bayesian model averaging (Yao, Vehtari, Simpson and Gelman,
    "Using stacking to average Bayesian predictive distributions", Bayesian Analysis, 2018):
    proportional to the held-out likelihood, tempered, times a prior.

    Parameters
    ----------
    held_out : HeldOut
        With the outputs of "target_only" and of at least one other candidate.

    Returns
    -------
    Evidence
    """
    weights = _compute_weights(held_out)
    oof_loss = {name: held_out.mean_loss(name) for name in held_out.outputs}
    if len(weights) > 1:
        average = held_out.losses(held_out.average(weights))
        oof_loss["average"] = float(average @ held_out.sample_weight / len(average))
    gains = {
        "target_only": held_out.compare(_transferred(held_out, weights), "target_only"),
        "pooled": held_out.compare(
            held_out.outputs[_best(held_out, lambda name: name.startswith("weighted"))], "pooled"
        ),
    }
    evidence = Evidence(oof_loss, weights, gains, held_out.adjustments, held_out.kind)
    _warn_if_transfer_loses(held_out, evidence)
    return evidence


def _compute_weights(held_out):
    scores = {}
    prior = {
        name: PRIOR_OF_TARGET_ONLY
        if name == "target_only"
        else (1 - PRIOR_OF_TARGET_ONLY) / (len(held_out.outputs) - 1)
        for name in held_out.outputs
    }
    for name, outputs in held_out.outputs.items():
        likelihood = held_out.kind.log_likelihood(held_out.losses(outputs), held_out.sample_weight)
        scores[name] = np.log(prior[name]) + TEMPERING * likelihood
    largest = max(scores.values())
    weights = {name: float(np.exp(score - largest)) for name, score in scores.items()}
    if not held_out.kind.averages:
        return {max(weights, key=weights.get): 1.0}
    total = sum(weights.values())
    kept = {name: weight for name, weight in weights.items() if weight >= LEAST_WEIGHT * total}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def _transferred(held_out, weights):
    """Return what the part of the average with transfer predicts, or else the best candidate."""
    part = {name: weight for name, weight in weights.items() if name != "target_only"}
    if not part:
        return held_out.outputs[_best(held_out, lambda name: name != "target_only")]
    return held_out.average(part) if len(part) > 1 else held_out.outputs[next(iter(part))]


def _best(held_out, accept):
    return min((name for name in held_out.outputs if accept(name)), key=held_out.mean_loss)


def _warn_if_transfer_loses(held_out, evidence):
    gain = evidence.gains["target_only"]
    if gain.mean >= -max(gain.standard_error, LEAST_LOSS):
        return
    loss = evidence.oof_loss["target_only"]
    share = evidence.weights.get("target_only", 0.0)
    warnings.warn(
        f"Transfer loses: the held-out {held_out.kind.loss_name} is {loss - gain.mean:.3f} with "
        f"source rows and {loss:.3f} without (gain of transfer {gain}). The estimator that was "
        f"fitted to the target alone has weight {share:.2f} in the predictions; use it alone, or "
        "another source.",
        NegativeTransferWarning,
        stacklevel=7,
    )
