"""Judge each row of two domains by a classifier that was fitted on other rows."""

import numpy as np
from scipy.special import logit
from sklearn.base import clone

from sktransfer.domain import take_rows

__all__ = ["assign_folds", "draw_rows", "identify_rows", "predict_held_out_log_odds"]

EPS = 1e-9  # probabilities closer to 0 or 1 than this are beyond what held-out rows can show
CHUNK = 100_000  # rows predicted at a time: bounds the memory that products of columns take


def identify_rows(matrix):
    """Number the distinct rows in the order of their values."""
    order = np.argsort(matrix[:, 0], kind="stable")
    same = _are_equal(matrix[order[:-1], :1], matrix[order[1:], :1])
    # Of continuous columns the first orders nearly all rows, in a tenth of the time.
    tied = np.append(False, same) | np.append(same, False)
    rows = order[tied]
    order[tied] = rows[np.lexsort(matrix[rows].T[::-1])]
    row_ids = np.empty(len(matrix), dtype=int)
    row_ids[order] = np.append(0, np.cumsum(~_are_equal(matrix[order[:-1]], matrix[order[1:]])))
    return row_ids


def _are_equal(above, below):
    return ((above == below) | (np.isnan(above) & np.isnan(below))).all(axis=1)


def assign_folds(row_ids, is_target, n_folds, random_state):
    """Give each row a fold, so that equal rows share one and each fold holds both domains.

    Returns None where there are too few distinct rows for two folds.
    """
    in_target = np.bincount(row_ids, weights=is_target) > 0
    in_source = np.bincount(row_ids, weights=~is_target) > 0
    n_folds = min(n_folds, in_target.sum(), in_source.sum())
    if n_folds < 2:
        return None
    # Dealt out in turn, rows of both domains in the middle: any run of n_folds meets all folds.
    stratum = np.where(in_target & in_source, 1, np.where(in_target, 0, 2))
    shuffled = random_state.permutation(len(stratum))
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    fold_of_id = np.empty(len(stratum), dtype=int)
    fold_of_id[dealt] = np.arange(len(stratum)) % n_folds
    return fold_of_id[row_ids]


def draw_rows(is_target, n_rows, random_state):
    """Return the sorted positions of ``n_rows`` rows, of both domains.

    The smaller domain gives half of them, or all it has.
    """
    smaller, larger = sorted((np.flatnonzero(is_target), np.flatnonzero(~is_target)), key=len)
    n_smaller = min(len(smaller), n_rows // 2)
    n_larger = min(len(larger), n_rows - n_smaller)
    return np.sort(
        np.append(
            random_state.choice(smaller, n_smaller, replace=False),
            random_state.choice(larger, n_larger, replace=False),
        )
    )


def predict_held_out_log_odds(
    classifier, X, is_target, folds, *, max_fit_rows=None, random_state=None
):
    """Return the log odds of being a target row, from a classifier fitted on the other folds.

    Where it is fitted on ``max_fit_rows`` drawn rows, its odds are corrected for the draw.
    """
    log_odds = np.empty(len(folds))
    for fold in range(folds.max() + 1):
        rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fit_rows = rest
        if max_fit_rows is not None and len(rest) > max_fit_rows:
            fit_rows = rest[draw_rows(is_target[rest], max_fit_rows, random_state)]
        labels = is_target[fit_rows].astype(int)
        fitted = clone(classifier).fit(take_rows(X, fit_rows), labels)
        correction = _prior_log_odds(is_target[rest]) - _prior_log_odds(is_target[fit_rows])
        for chunk in np.array_split(held_out, -(-len(held_out) // CHUNK)):
            probability = fitted.predict_proba(take_rows(X, chunk))[:, 1]
            log_odds[chunk] = logit(np.clip(probability, EPS, 1 - EPS)) + correction
    return log_odds


def _prior_log_odds(is_target):
    return logit(is_target.mean())
