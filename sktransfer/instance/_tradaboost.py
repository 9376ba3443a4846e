"""TrAdaBoost: boost on the target, while source rows that are wrong lose their weight."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier

from sktransfer.domain import stack_labels, stack_rows
from sktransfer.instance._boosting import make_learner
from sktransfer.instance._weighted_fit import fit_weighted

__all__ = ["Boosted", "Rules", "boost", "final_votes", "staged_votes"]


class Rules(NamedTuple):
    """How to boost: the parameters of the estimator, with defaults resolved."""

    estimator: object
    n_estimators: int
    learning_rate: float
    target_weight: float | None
    dynamic: bool
    soft: bool


class Boosted(NamedTuple):
    """The learners of a boosted ensemble, and what became of the weights of the source."""

    estimators: list
    weights: np.ndarray
    errors: np.ndarray
    source_weights: list
    target_weights: np.ndarray


class _Block(NamedTuple):
    """The target rows above the rows of one source, on which a learner is fitted."""

    X: object
    y: np.ndarray
    mass: float


def boost(X, y, sample_weight, sources, classes, rules, random_state):
    """Boost a classifier on target rows and the rows of sources.

    In each round a learner is fitted for each source, on the target and that source; the one
    with the lowest error on the target stays. Then target rows that it predicts wrongly gain
    weight, and source rows that it predicts wrongly lose some.

    Parameters
    ----------
    X, y, sample_weight
        Target rows, labels and positive weights.
    sources : list of (X, y, sample_weight)
        Rows of the sources; may be empty, then this is SAMME.
    classes : array of shape (n_classes,)
        Classes of all domains, sorted.
    rules : Rules
    random_state : RandomState or None
        Seeds the learners.

    Returns
    -------
    Boosted
    """
    n_target = len(y)
    target = sample_weight.astype(np.float64)
    shares = [_starting_weights(target.sum(), rows[2], rules.target_weight) for rows in sources]
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
        grown = target * np.exp(step * wrong)
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
    estimators, weights, errors = zip(*kept, strict=True)
    return Boosted(list(estimators), np.array(weights), np.array(errors), shares, target)


def _starting_weights(target_mass, sample_weight, target_weight):
    """Scale source rows so that the target has its share; None leaves each row its own weight."""
    if target_weight is None:
        return sample_weight
    mass = target_mass * (1 - target_weight) / target_weight
    return sample_weight * (mass / sample_weight.sum())


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
    return 1 - learner_scores(learner, X, classes, soft)[np.arange(len(y)), columns]


def learner_scores(learner, X, classes, soft):
    """Return a learner's votes for each class, which sum to 1 for each row."""
    scores = np.zeros((X.shape[0], len(classes)))
    if soft:
        scores[:, np.searchsorted(classes, learner.classes_)] = learner.predict_proba(X)
    else:
        scores[np.arange(X.shape[0]), np.searchsorted(classes, learner.predict(X))] = 1
    return scores


def staged_votes(boosted, X, classes, soft, first_voter):
    """Yield each class's share of the vote after each learner.

    ``first_voter`` gives the position of the first learner that votes among ``n``.
    """
    votes, first = [], 0
    total = np.zeros((X.shape[0], len(classes)))
    for n, (learner, weight) in enumerate(
        zip(boosted.estimators, boosted.weights, strict=True), start=1
    ):
        votes.append(weight * learner_scores(learner, X, classes, soft))
        if first_voter(n) == first:
            total = total + votes[-1]
        else:
            first = first_voter(n)
            total = sum(votes[first:])
        yield total / boosted.weights[first:n].sum()


def final_votes(boosted, X, classes, soft, first_voter):
    """Return each class's share of the vote of the whole ensemble."""
    first = first_voter(len(boosted.estimators))
    voters = zip(boosted.estimators[first:], boosted.weights[first:], strict=True)
    votes = sum(weight * learner_scores(learner, X, classes, soft) for learner, weight in voters)
    return votes / boosted.weights[first:].sum()
