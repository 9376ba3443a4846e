"""What boosting with source rows does for classes and for numbers alike."""

import numbers

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv

from sktransfer.domain import take_rows
from sktransfer.instance._folds import make_folds
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._validation import check_count

__all__ = [
    "MAX_SEED",
    "check_base_estimator",
    "check_cv_parameter",
    "loses_clearly",
    "make_learner",
    "rows_that_count",
    "source_row_weights",
    "split_target",
    "to_mean_of_one",
]

MAX_SEED = np.iinfo(np.int32).max
# Transfer that loses less than this is not worth a warning.
LEAST_LOSS = 1e-3


def check_base_estimator(estimator, is_kind, kind, example):
    """Raise unless ``estimator`` is an estimator of the kind, such as a classifier."""
    if not hasattr(estimator, "fit") or isinstance(estimator, type):
        raise TypeError(f"Got estimator={estimator!r}, but expected a {kind}, such as {example}.")
    if not is_kind(estimator):
        raise TypeError(f"Got estimator of type {type(estimator).__name__}, but expected a {kind}.")


def rows_that_count(X, y, sample_weight):
    """Return target rows, labels and weights without the rows of weight zero."""
    if sample_weight is None:
        return X, y, np.ones(len(y))
    weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if weight.all():
        return X, y, weight
    counted = np.flatnonzero(weight)
    return take_rows(X, counted), y[counted], weight[counted]


def source_row_weights(source):
    """Return the weights that the source brings along, with a mean of 1."""
    if source.sample_weight is None:
        return np.ones(len(source.y))
    return source.sample_weight / source.sample_weight.mean()


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
