"""TrAdaBoost: boost on the target, while source rows that are wrong lose their weight."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from sktransfer.domain import stack_labels, stack_rows
from sktransfer.instance._boosting import LARGEST_EXPONENT, make_learner, seeded
from sktransfer.instance._votes import Voters, class_scores
from sktransfer.instance._weighted_fit import fit_weighted

__all__ = ["Boosted", "Rules", "boost", "default_learner"]

MOST_COEFFICIENTS = 500  # of a logistic regression that is fitted by Newton's method


class Rules(NamedTuple):
    """How to boost: the parameters of the estimator, with defaults resolved."""

    estimator: object
    n_estimators: int
    learning_rate: float
    target_weight: float | None
    dynamic: bool
    soft: bool
    last_half: bool


class Boosted(NamedTuple):
    """The learners of a boosted ensemble, their errors, and what became of the weights of rows."""

    voters: Voters
    errors: np.ndarray
    source_weights: list
    target_weights: np.ndarray


class _Block(NamedTuple):
    """The target rows above the rows of one source, on which a learner is fitted."""

    X: object
    y: np.ndarray
    mass: float


def default_learner(n_coefficients):
    """Return what is boosted where the user names nothing."""
    # Newton's steps need no scaled columns and end close to the optimum, so that rounds do not
    # add up what is missing; their memory is quadratic.
    solver = "newton-cholesky" if n_coefficients <= MOST_COEFFICIENTS else "lbfgs"
    return LogisticRegression(solver=solver, max_iter=1000)


def boost(target_rows, sources, classes, rules, seed):
    """Boost a classifier on target rows and the rows of sources.

    In each round a learner is fitted for each source, on the target and that source; the one
    with the lowest error on the target stays. Then target rows that it predicts wrongly gain
    weight, and source rows that it predicts wrongly lose some.

    Parameters
    ----------
    target_rows : Rows
        With positive weights.
    sources : list of Rows
        May be empty, then this is SAMME.
    classes : array of shape (n_classes,)
        Classes of all domains, sorted.
    rules : Rules
    seed : int or None
        Seeds the learners.

    Returns
    -------
    Boosted
    """
    X, y, sample_weight = target_rows
    n_target, random_state = len(y), seeded(seed)
    target = sample_weight.astype(np.float64)
    shares = [_starting_weights(target.sum(), rows, rules.target_weight) for rows in sources]
    blocks = [
        _Block(stack_rows(X, X_s), stack_labels(y, y_s), target.sum() + share.sum())
        for (X_s, y_s, _), share in zip(sources, shares, strict=True)
    ] or [_Block(X, y, target.sum())]
    chance = 1 - 1 / len(classes)
    source_step = _source_step(sum(map(len, shares)), rules)

    kept, rejected = [], []
    for _ in range(rules.n_estimators):
        candidates = [
            _fit_candidate(block, target, share, classes, rules, random_state)
            for block, share in zip(blocks, shares or [np.zeros(0)], strict=True)
        ]
        best = min(range(len(candidates)), key=lambda k: candidates[k][1])
        learner, error, _ = candidates[best]
        if error >= chance:
            # Worse than chance on the target: too much of the weight is with the source.
            rejected.append((learner, 1.0, error))
            if not shares:
                break
            shares = [share / 2 for share in shares]
            continue
        step = _learner_weight(error, len(classes), sample_weight.sum(), rules)
        kept.append((learner, step, error))

        wrong = candidates[best][2]
        source_wrong = [
            wrong[n_target:] if k == best else _errors(learner, *rows[:2], classes, rules.soft)
            for k, rows in enumerate(sources)
        ]
        wrong = wrong[:n_target]
        if not wrong.any() and not any(errors.any() for errors in source_wrong):
            break
        grown = target * np.exp(np.minimum(step * wrong, LARGEST_EXPONENT))
        # Without it the target outgrows source rows even where these are right.
        keep_pace = grown.sum() / target.sum() if rules.dynamic else 1.0
        # Only ratios matter, and the target is what the others are measured by.
        to_start = sample_weight.sum() / grown.sum()
        shares = [
            share * np.exp(-source_step * errors) * keep_pace * to_start
            for share, errors in zip(shares, source_wrong, strict=True)
        ]
        target = grown * to_start
    kept = kept or [min(rejected, key=lambda candidate: candidate[2])]
    learners, weights, errors = zip(*kept, strict=True)
    last_half = rules.last_half and bool(sources)
    voters = Voters(list(learners), np.array(weights), classes, rules.soft, last_half)
    return Boosted(voters, np.array(errors), shares, target)


def _starting_weights(target_mass, rows, target_weight):
    """Scale source rows so that the target has its share; None leaves each row its own weight."""
    if target_weight is None:
        return rows.weights
    mass = target_mass * (1 - target_weight) / target_weight
    return rows.weights * (mass / rows.weights.sum())


def _source_step(n_source, rules):
    if n_source == 0:
        return 0.0
    step = math.log1p(math.sqrt(2 * math.log(n_source) / rules.n_estimators))
    return rules.learning_rate * step


def _learner_weight(error, n_classes, target_mass, rules):
    # No error at all is little evidence where there are few rows: as if half a row were wrong.
    error = max(error, 0.5 / (target_mass + 1))
    return rules.learning_rate * (math.log((1 - error) / error) + math.log(n_classes - 1))


def _fit_candidate(block, target, share, classes, rules, random_state):
    """Fit a learner; return it, its error on the target and its errors on all rows."""
    weights = np.concatenate([target, share])
    # Penalised learners would feel a total weight that moves.
    weights *= block.mass / weights.sum()
    if (block.y == block.y[0]).all():
        estimator = DummyClassifier()  # most classifiers refuse rows of one class
    else:
        estimator = make_learner(rules.estimator, random_state)
    learner = fit_weighted(estimator, block.X, block.y, weights)
    errors = _errors(learner, block.X, block.y, classes, rules.soft)
    error = float(target @ errors[: len(target)] / target.sum())
    return learner, error, errors


def _errors(learner, X, y, classes, soft):
    """Return how wrong a learner is about each row, from 0 to 1."""
    if not soft:
        return (learner.predict(X) != y).astype(np.float64)
    columns = np.searchsorted(classes, y)
    return 1 - class_scores(learner, X, classes, soft)[np.arange(len(y)), columns]
