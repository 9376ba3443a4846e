"""What is predicted: one of several classes, any number of labels, or real numbers.

An objective turns targets into numbers, outputs of a network into predictions, and both into
losses. Everything else that trains or judges networks asks it, and never asks which one it is.
"""

import dataclasses

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from torch.nn import functional as F

from sktransfer.training import _solvers

# Predicted probabilities are kept this far from zero before their logarithm is taken.
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Objective:
    """Base of the objectives. Tensors have one row per row of X and ``n_outputs`` columns.

    Parameters
    ----------
    n_outputs : int
        Width of targets, outputs and predictions.
    """

    n_outputs: int

    # Whether a temperature can calibrate the predictions.
    has_temperature = True
    # What the held-out loss is called in messages.
    loss_name = "log loss"
    # Inverse penalties that cross-validation chooses from, for features of mean squared norm one,
    # and the choice where nothing can be held out.
    penalties = np.logspace(0, 4, 5)
    usual_penalty = 100.0

    def encode(self, y):
        """Return targets as float32, of shape (n, n_outputs)."""
        raise NotImplementedError

    def losses(self, outputs, targets):
        """Return the training loss of each row, of shape (n,)."""
        raise NotImplementedError

    def predict(self, outputs):
        """Turn outputs into what can be averaged: probabilities, or numbers."""
        raise NotImplementedError

    def invert(self, predictions):
        """Return outputs that give these predictions."""
        raise NotImplementedError

    def nats_per_loss(self, reachable):
        """Return what a unit of loss is worth as log-likelihood, given the lowest mean loss."""
        return 1.0

    def solve(self, features, targets, weights, penalties, **options):
        """Yield (coef, intercept) of linear models for each penalty, see `_solvers`."""
        raise NotImplementedError

    def folds(self, targets, n_folds, seed):
        """Return pairs (training rows, held-out rows), or an empty list if rows are too few."""
        if len(targets) < 2 * n_folds:
            return []
        folds = KFold(n_folds, shuffle=True, random_state=seed)
        return list(folds.split(np.zeros(len(targets))))


def split_distinct(objective, targets, rows, n_folds, seed):
    """Return `Objective.folds` in which equal rows are held out together.

    A copy of a held-out row in the training part would make its prediction look better than it is.

    Parameters
    ----------
    objective : Objective
    targets : ndarray of shape (n, n_outputs)
    rows : ndarray of shape (n, ...)
        What is compared.
    n_folds, seed : int
    """
    first, group = {}, []
    for i, row in enumerate(rows):
        group.append(first.setdefault(row.tobytes(), i))
    distinct = np.array(sorted(first.values()))
    folds = objective.folds(targets[distinct], n_folds, seed)
    if len(distinct) == len(rows):
        return folds
    group = np.array(group)
    return [
        tuple(np.flatnonzero(np.isin(group, distinct[part])) for part in fold) for fold in folds
    ]


class Multiclass(Objective):
    """Each row belongs to one class; targets are one-hot, outputs are logits."""

    def encode(self, y):
        return np.eye(self.n_outputs, dtype=np.float32)[y]

    def losses(self, outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none")

    def predict(self, outputs):
        return outputs.softmax(1)

    def invert(self, predictions):
        return predictions.clamp_min(_TINY).log()

    def solve(self, features, targets, weights, penalties, **options):
        loss = _solvers.softmax_loss
        return _solvers.solve_logistic(loss, features, targets, weights, penalties, **options)

    def folds(self, targets, n_folds, seed):
        """Stratified; a class with one member stays in every training part.

        As many folds as the smallest other class has members, at most ``n_folds``.
        """
        y = targets.argmax(1)
        counts = np.bincount(y, minlength=self.n_outputs)
        single, others = np.flatnonzero(counts[y] == 1), np.flatnonzero(counts[y] > 1)
        if not len(others):
            return []
        n_folds = min(n_folds, counts[counts > 1].min())
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        return [
            (np.concatenate([single, others[train]]), others[test])
            for train, test in folds.split(others, y[others])
        ]


class Multilabel(Objective):
    """Each row has any of the labels; targets are 0 or 1, outputs are logits.

    The loss of a row is the sum over its labels.
    """

    def encode(self, y):
        return np.asarray(y, dtype=np.float32)

    def losses(self, outputs, targets):
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)

    def predict(self, outputs):
        return outputs.sigmoid()

    def invert(self, predictions):
        return predictions.clamp(_TINY, 1 - _TINY).logit()

    def solve(self, features, targets, weights, penalties, **options):
        loss = _solvers.sigmoid_loss
        return _solvers.solve_logistic(loss, features, targets, weights, penalties, **options)


class Regression(Objective):
    """Each row has real numbers, standardised; the loss of a row is its mean squared error."""

    has_temperature = False
    loss_name = "squared error"
    penalties = np.logspace(-2, 5, 15)
    usual_penalty = 1.0

    def encode(self, y):
        return np.asarray(y, dtype=np.float32).reshape(len(y), -1)

    def losses(self, outputs, targets):
        return (outputs - targets).square().mean(1)

    def predict(self, outputs):
        return outputs

    def invert(self, predictions):
        return predictions

    def nats_per_loss(self, reachable):
        # Errors taken as normal, of the variance that the best candidate leaves.
        return self.n_outputs / (2 * max(reachable, _TINY))

    def solve(self, features, targets, weights, penalties, **options):
        return _solvers.solve_ridge(features, targets, weights, penalties, **options)
