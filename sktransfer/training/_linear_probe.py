"""A linear model on features, solved as the convex problem it is: the head of a frozen backbone."""

import dataclasses

import numpy as np
import torch

from sktransfer.training._heads import measure_scale
from sktransfer.training._objectives import split_distinct
from sktransfer.training._solvers import EXACT, ROUGH
from sktransfer.utils._threads import single_threaded_algebra

_N_FOLDS = 5
# Penalties that are tried beyond the best so far.
_PATIENCE = 1
# Inverse penalties beside the objective's own that keep a head near the one it starts from.
_NEAR_THE_START = (0.0, 1e-3, 1e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted linear head: outputs are ``((features - center) / scale) @ coef.T + intercept``.

    Parameters
    ----------
    center : ndarray of shape (d,)
    scale : float
        One number for all features, so that their proportions stay as the backbone made them.
    coef : ndarray of shape (n_outputs, d)
    intercept : ndarray of shape (n_outputs,)
    C : float
        The inverse penalty that was chosen, for features of mean squared norm one.
    held_out_loss : float or None
        Summed loss of the rows that cross-validation held out, with this penalty.
    """

    center: np.ndarray
    scale: float
    coef: np.ndarray
    intercept: np.ndarray
    C: float
    held_out_loss: float | None = None

    def compute_outputs(self, features):
        """Return outputs of shape (n, n_outputs)."""
        return (features - self.center) / self.scale @ self.coef.T + self.intercept


def fit_linear_probe(features, targets, objective, *, sample_weight=None, seed=0, start=None):
    """Fit a penalised linear model, its penalty chosen by cross-validation.

    Parameters
    ----------
    features : ndarray of shape (n, d)
    targets : ndarray of shape (n, n_outputs)
        As `Objective.encode` gives them.
    objective : Objective
    sample_weight : ndarray of shape (n,), default=None
    seed : int, default=0
        Of the folds.
    start : (coef of shape (n_outputs, d), intercept of shape (n_outputs,)), default=None
        A linear model to stay near: the penalty is on the difference from it, so that few rows
        give the model itself.

    Returns
    -------
    probe : LinearProbe
    """
    features = np.asarray(features, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.float64)
    weight = np.ones(len(features)) if sample_weight is None else sample_weight
    offset = np.zeros(targets.shape)
    penalties, usual = objective.penalties, objective.usual_penalty
    if start is not None:
        offset = features @ start[0].T + start[1]
        penalties, usual = np.concatenate([_NEAR_THE_START, penalties]), _NEAR_THE_START[0]
    center, scale = measure_scale(features, weight)
    with single_threaded_algebra():
        rotated, basis = _rotate((features - center) / scale)
        unit = np.sqrt(features.shape[1])
        problem = _Problem(objective, rotated / unit, targets, weight, offset)
        # Near a start the loss may rise before it falls.
        patience = len(penalties) if start is not None else _PATIENCE
        C, held_out_loss = problem.choose_penalty(penalties, usual, seed, patience)
        (((coef,), (intercept,)),) = problem.solve(weight[None], [C])
    coef = (coef if basis is None else coef @ basis) / unit
    if start is not None:
        coef, intercept = coef + start[0] * scale, intercept + start[1] + start[0] @ center
    return LinearProbe(center, scale, coef, intercept, C, held_out_loss)


def _rotate(features):
    """Drop the dimensions in which no row lies: exact, since the penalty is rotation-invariant."""
    n_rows, width = features.shape
    if width <= n_rows:
        return features, None
    left, singular, basis = np.linalg.svd(features, full_matrices=False)
    return left * singular, basis


@dataclasses.dataclass(frozen=True)
class _Problem:
    objective: object
    features: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    offset: np.ndarray

    def solve(self, weights, penalties, tolerance=EXACT):
        """Yield (coef, intercept) for each penalty; a penalty of zero leaves the start alone."""
        shape = len(weights), self.targets.shape[1], self.features.shape[1]
        yield from ((np.zeros(shape), np.zeros(shape[:2])) for C in penalties if C == 0)
        yield from self.objective.solve(
            self.features,
            self.targets,
            weights,
            [C for C in penalties if C > 0],
            offset=self.offset,
            tolerance=tolerance,
        )

    def choose_penalty(self, penalties, usual, seed, patience):
        """Return the penalty of the lowest held-out loss, and that; ``usual`` and None without."""
        folds = split_distinct(self.objective, self.targets, self.features, _N_FOLDS, seed)
        folds = [(train, test) for train, test in folds if self.weight[train].any()]
        if not folds:
            return usual, None
        weights = np.zeros((len(folds), len(self.weight)))
        for fold_weight, (train, _) in zip(weights, folds, strict=True):
            fold_weight[train] = self.weight[train]
        losses = []
        for solutions in self.solve(weights, penalties, ROUGH):
            judged = zip(folds, *solutions, strict=True)
            losses.append(sum(self._held_out_loss(test, *model) for (_, test), *model in judged))
            # Along the path the loss falls, then rises, and the weakest penalties take longest.
            if len(losses) - np.argmin(losses) > patience:
                break
        best = np.argmin(losses)
        return float(penalties[best]), float(losses[best])

    def _held_out_loss(self, rows, coef, intercept):
        outputs = self.features[rows] @ coef.T + intercept + self.offset[rows]
        targets = torch.from_numpy(self.targets[rows])
        losses = self.objective.losses(torch.from_numpy(outputs), targets)
        return self.weight[rows] @ losses.numpy()
