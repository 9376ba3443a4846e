"""Rows, learners and folds, as boosting classes and boosting numbers both need them."""

import numbers
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv

from sktransfer.domain import take_rows
from sktransfer.instance._folds import make_folds
from sktransfer.instance._source import stack_sources
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._validation import check_count

__all__ = [
    "LARGEST_EXPONENT",
    "LARGEST_RATE",
    "MAX_SEED",
    "Rows",
    "check_cv_parameter",
    "loses_clearly",
    "make_learner",
    "pool",
    "seeded",
    "source_rows",
    "split_target",
    "target_rows",
    "to_mean_of_one",
]

MAX_SEED = np.iinfo(np.int32).max
# Transfer that loses less than this is not worth a warning.
LEAST_LOSS = 1e-3
# Of ``learning_rate``; with more, all weight is on one row after a round.
LARGEST_RATE = 10
# Of target rows; far beyond, learners meet with infinite numbers and singular matrices.
SUMS_OF_WEIGHTS = 1e-12, 1e50
# By so many powers of e a row gains or loses in a round at most, so that weights stay finite.
LARGEST_EXPONENT = 600


class Rows(NamedTuple):
    """Labelled rows of one domain, and how much each counts."""

    X: object
    y: np.ndarray
    weights: np.ndarray

    def take(self, rows):
        """Return some of the rows."""
        return Rows(take_rows(self.X, rows), self.y[rows], self.weights[rows])


def target_rows(X, y, sample_weight):
    """Return the rows of the target without those of weight zero."""
    if sample_weight is None:
        return Rows(X, y, np.ones(len(y)))
    weights = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    with np.errstate(over="ignore"):
        total = weights.sum()
    low, high = SUMS_OF_WEIGHTS
    if not low <= total <= high:
        raise ValueError(
            f"Got sample_weight with a sum of {total:g}, but expected {low:g} to {high:g}; scale "
            "the weights, of which 1 is one row."
        )
    rows = Rows(X, y, weights)
    return rows if weights.all() else rows.take(np.flatnonzero(weights))


def source_rows(source):
    """Return the rows of a source, with a mean weight of 1."""
    if source.sample_weight is None:
        return Rows(source.X, source.y, np.ones(len(source.y)))
    return Rows(source.X, source.y, source.sample_weight / source.sample_weight.mean())


def pool(sources):
    """Return the rows of sources, one below the other."""
    return Rows(*stack_sources(sources), np.concatenate([source.weights for source in sources]))


def seeded(seed):
    """Return a RandomState, or None without a seed."""
    return None if seed is None else np.random.RandomState(seed)


def make_learner(estimator, random_state):
    """Clone ``estimator``; with a RandomState, draw the seeds of its parts from it.

    As scikit-learn's ensembles do, but for ``None``, where the parts keep their own seeds.
    """
    learner = clone(estimator)
    if random_state is not None:
        names = sorted(
            name
            for name in learner.get_params(deep=True)
            if name == "random_state" or name.endswith("__random_state")
        )
        if names:
            learner.set_params(**{name: random_state.randint(MAX_SEED) for name in names})
    return learner


def check_cv_parameter(cv):
    """Raise unless ``cv`` is a number of folds, or something else, such as a splitter."""
    if cv is None or isinstance(cv, numbers.Number):
        check_count("cv", cv, low=2)


def split_target(cv, X, y, seed, *, stratify):
    """Return training and held-out positions for each fold of the target.

    With a number of folds, there are at most as many as rows. With ``stratify``, classes are spread
    evenly over them, the only row of a class is never held out, and few rows are held out several
    times; where no class has two rows, there are no folds.
    """
    if stratify:
        return make_folds(cv, X, y, by_class=True, random_state=np.random.RandomState(seed))
    if not isinstance(cv, numbers.Integral):
        return list(check_cv(cv, y).split(X, y))
    n_folds = min(cv, len(y))
    folds = np.empty(len(y), dtype=int)
    folds[np.random.RandomState(seed).permutation(len(y))] = np.arange(len(y)) % n_folds
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(n_folds)]


def loses_clearly(gain):
    """Tell whether a gain is a loss that is worth a warning."""
    return gain.mean < -max(gain.standard_error, LEAST_LOSS)


def to_mean_of_one(weights):
    """Scale weights to a mean of 1; weights that are all zero stay so."""
    mean = weights.mean()
    return weights / mean if mean > 0 else weights
