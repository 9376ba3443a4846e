"""Which target rows are held out, and when."""

import numbers

import numpy as np
from sklearn.model_selection import check_cv

from sktransfer.utils._validation import check_count

__all__ = ["make_folds"]

FEW_ROWS = 60  # up to which the split is repeated, since what one split says is a matter of luck
N_REPEATS = 3


def make_folds(cv, X, y, *, by_class, random_state):
    """Return pairs of training and held-out rows.

    A number of folds means stratified ones, several times over where rows are few. The only row
    of a class is never held out, since nothing can be known of its class without it.

    Parameters
    ----------
    cv : int >= 2, cross-validation splitter or iterable of splits
    X, y : target rows and their labels
    by_class : bool
        Whether the labels are classes.
    random_state : RandomState instance

    Returns
    -------
    folds : list of (train, test)
        Empty where no row can be held out.
    """
    if not isinstance(cv, numbers.Integral):
        return list(check_cv(cv, y, classifier=by_class).split(X, y))
    check_count("cv", cv, low=2)
    strata = np.unique(y, return_inverse=True)[1] if by_class else np.zeros(len(y), dtype=int)
    may_be_held_out = np.bincount(strata)[strata] > 1
    rows = np.flatnonzero(may_be_held_out)
    n_folds = min(cv, len(rows))
    if n_folds < 2:
        return []
    folds = []
    for _ in range(N_REPEATS if len(rows) <= FEW_ROWS else 1):
        shuffled = random_state.permutation(rows)
        dealt = shuffled[np.argsort(strata[shuffled], kind="stable")]
        for first in range(n_folds):
            test = np.sort(dealt[first::n_folds])
            folds.append((np.setdiff1d(np.arange(len(y)), test), test))
    return folds
