"""Two-stage TrAdaBoost.R2: let the source fade step by step, and boost on the target."""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from sktransfer.domain import stack_rows
from sktransfer.instance._boosting import LARGEST_EXPONENT, make_learner, seeded
from sktransfer.instance._weighted_fit import fit_weighted

__all__ = [
    "LOSSES",
    "BoostedRegressors",
    "RegressionRules",
    "boost_at_step",
    "boost_r2",
    "fade_source",
    "held_out_losses",
    "target_shares",
    "weighted_median",
]

LOWEST_LOG_BETA = -1e9  # where all rows but those without an error have lost all weight

LEAST_ERROR = np.finfo(np.float64).tiny

LOSSES = {
    "linear": lambda error: error,
    "square": np.square,
    "exponential": lambda error: 1 - np.exp(-error),
}


class RegressionRules(NamedTuple):
    """How to boost: the parameters of the estimator, with defaults resolved."""

    estimator: object
    n_estimators: int
    n_steps: int
    learning_rate: float
    loss: str


class BoostedRegressors(NamedTuple):
    """The learners of a boosted ensemble, their weights in the median, and their errors."""

    estimators: list
    weights: np.ndarray
    errors: np.ndarray

    def predict(self, X):
        """Return the weighted median of the learners."""
        return weighted_median(self._predict_each(X), self.weights)

    def staged_predict(self, X):
        """Yield the weighted median after each learner."""
        predictions = self._predict_each(X)
        for n in range(1, len(self.weights) + 1):
            yield weighted_median(predictions[:, :n], self.weights[:n])

    def _predict_each(self, X):
        return np.column_stack([learner.predict(X) for learner in self.estimators])


def target_shares(target_mass, source_mass, n_steps):
    """Return the share of the target in the total weight at each step, up to 1."""
    start = target_mass / (target_mass + source_mass)
    return np.array([start]) if n_steps == 1 else np.linspace(start, 1.0, n_steps)


def fade_source(X, y, target, source, rules, random_state, n_steps=None):
    """Yield the weights of the source rows at each step of the second stage.

    The share of the target in the total weight grows in equal steps from what it has when each
    row keeps its own weight, to 1. Source rows lose the more weight the more wrong they are.

    Parameters
    ----------
    X, y
        Target rows above source rows, and their labels.
    target, source : arrays of shape (n_target,) and (n_source,)
        Weights of the rows at the start.
    rules : RegressionRules
    random_state : RandomState or None
        Seeds the learners.
    n_steps : int or None
        Stop after so many steps of those of ``rules``.
    """
    mass = target.sum()
    shares = target_shares(mass, source.sum(), rules.n_steps)
    yield source
    for share in shares[1:n_steps]:
        if share == 1:
            yield np.zeros_like(source)
            return
        learner = _fit(X, y, np.concatenate([target, source]), rules, random_state)
        errors = np.abs(learner.predict(X) - y)[len(target) :]
        source = _fade(source, errors, mass * (1 - share) / share)
        yield source


def _fade(weights, errors, mass):
    """Multiply weights by ``beta ** error``, with the ``beta`` that leaves ``mass``."""
    largest = errors[weights > 0].max(initial=0)
    if largest == 0:
        return weights * (mass / weights.sum())
    errors = errors / largest

    def excess(log_beta):
        return weights @ np.exp(log_beta * errors) - mass

    lowest = -1.0
    while excess(lowest) > 0 and lowest > LOWEST_LOG_BETA:
        lowest *= 2
    # Rows that are predicted without error keep their weight, whatever beta is.
    log_beta = brentq(excess, lowest, 0.0, xtol=1e-12) if excess(lowest) < 0 else lowest
    faded = weights * np.exp(log_beta * errors)
    return faded * (mass / faded.sum())


def boost_r2(X, y, target, source, rules, random_state):
    """Boost on the target with AdaBoost.R2, while the source rows keep their weights.

    Parameters
    ----------
    X, y
        Target rows above source rows, and their labels.
    target, source : arrays of shape (n_target,) and (n_source,)
        Weights of the rows.
    rules : RegressionRules
    random_state : RandomState or None
        Seeds the learners.

    Returns
    -------
    BoostedRegressors
    """
    n_target, mass = len(target), target.sum()
    counts = np.concatenate([target, source]) > 0
    kept = []
    for _ in range(rules.n_estimators):
        weights = np.concatenate([target, source])
        learner = _fit(X, y, weights, rules, random_state)
        errors = np.abs(learner.predict(X) - y)
        largest = errors[counts].max()
        if largest == 0:
            return BoostedRegressors([learner], np.ones(1), np.zeros(1))
        errors = LOSSES[rules.loss](errors / largest)
        error = float(weights @ errors / weights.sum())
        if error >= 0.5:
            # Worse than AdaBoost.R2 can use; but there must be one learner.
            kept = kept or [(learner, 1.0, error)]
            break
        # All weight may have left the rows that are predicted with an error.
        error = max(error, LEAST_ERROR)
        step = rules.learning_rate * math.log((1 - error) / error)
        kept.append((learner, step, error))
        lost = np.minimum(step * (1 - errors[:n_target]), LARGEST_EXPONENT)
        target = target * np.exp(-lost)
        target = target * (mass / target.sum())
    estimators, weights, errors = zip(*kept, strict=True)
    return BoostedRegressors(list(estimators), np.array(weights), np.array(errors))


def boost_at_step(target, source, rules, seed, step):
    """Return the ensemble of one step, and the weights of the source at this step.

    Parameters
    ----------
    target, source : Rows
        With numbers as labels.
    rules : RegressionRules
    seed : int or None
    step : int
    """
    both = _stack(target, source)
    *_, faded = fade_source(
        *both, target.weights, source.weights, rules, seeded(seed), n_steps=step + 1
    )
    return _boost_faded(target, both, faded, rules, seed), faded


def held_out_losses(target, source, rules, seed, train, test):
    """Return the squared error of each held-out target row at each step.

    The parameters are those of `boost_at_step`, and the positions of target rows.
    """
    held_out, target = target.take(test), target.take(train)
    both = _stack(target, source)
    steps = fade_source(*both, target.weights, source.weights, rules, seeded(seed))
    ensembles = (_boost_faded(target, both, faded, rules, seed) for faded in steps)
    return np.array([(ensemble.predict(held_out.X) - held_out.y) ** 2 for ensemble in ensembles])


def _stack(target, source):
    return stack_rows(target.X, source.X), np.concatenate([target.y, source.y])


def _boost_faded(target, both, faded, rules, seed):
    if not faded.any():
        return boost_r2(*target, np.zeros(0), rules, seeded(seed))
    return boost_r2(*both, target.weights, faded, rules, seeded(seed))


def _fit(X, y, weights, rules, random_state):
    return fit_weighted(make_learner(rules.estimator, random_state), X, y, weights)


def weighted_median(predictions, weights):
    """Return the weighted median of each row.

    Parameters
    ----------
    predictions : array of shape (n_rows, n_learners)
    weights : array of shape (n_learners,)
    """
    order = np.argsort(predictions, axis=1, kind="stable")
    cumulated = np.cumsum(weights[order], axis=1)
    middle = (cumulated >= 0.5 * cumulated[:, -1:]).argmax(axis=1)
    rows = np.arange(len(predictions))
    return predictions[rows, order[rows, middle]]
