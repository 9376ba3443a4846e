"""Weights from a classifier that tells the domains apart."""

import contextlib

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler
from sklearn.utils import check_random_state

from sktransfer.domain import is_frame, stack_rows, take_rows
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._matrix import as_matrix
from sktransfer.utils._threads import single_threaded_algebra
from sktransfer.utils._validation import check_count

__all__ = ["DomainClassifierWeighting"]

EPS = 1e-9  # probabilities closer to 0 or 1 than this are beyond what held-out rows can show
FEW_VALUES = 10_000_000  # below, threads cost more than they save: 4 times the time, measured
MAX_CATEGORIES = 255  # of HistGradientBoostingClassifier
MAX_COLUMNS_FOR_PRODUCTS = 20


class DomainClassifierWeighting(BaseWeighting):
    r"""Weight source rows by the odds that a classifier gives them of being target rows.

    A classifier learns to tell the domains apart. Its odds, corrected for the numbers of rows,
    are the density ratio [1]_:

    .. math:: w(x) = \frac{n_{source}}{n_{target}} \frac{p(target | x)}{p(source | x)}

    Each row is judged by a classifier that was fitted on other rows. The odds are then
    calibrated: where held-out rows show that the classifier is too sure of itself, its log odds
    shrink, to equal weights where it cannot tell the domains apart.

    Parameters
    ----------
    classifier : classifier with ``predict_proba`` or None, default=None
        Tells the domains apart; images reach it as flat rows, frames as frames. By default,
        linear and quadratic logistic regression and gradient boosting are fitted, and the one
        with the least held-out log loss gives the weights. With missing values or categories,
        it is gradient boosting.

    cv : int, default=5
        Number of folds, at least 2. Equal rows share a fold.

    calibrate : bool, default=True
        Whether to shrink or stretch the held-out log odds to fit the domains.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=20.0
        Largest weight, as a multiple of the mean weight.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default classifiers.

    Attributes
    ----------
    classifier_ : classifier
        The (unfitted) classifier that gave the weights.

    log_loss_ : float
        Its held-out log loss, after calibration.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`. ``domain_auc_`` is None where there are fewer than two
        distinct rows in a domain: nothing can be held out, and all weights are equal.

    References
    ----------
    .. [1] Bickel, Brueckner and Scheffer, "Discriminative learning under covariate shift",
       Journal of Machine Learning Research, 2009.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.instance import DomainClassifierWeighting
    >>> domains = make_covariate_shift(500, 200, random_state=0)
    >>> weighting = DomainClassifierWeighting(random_state=0)
    >>> weights = weighting.compute_weights(domains.X_source, domains.X_target)
    >>> weights.shape, float(weights.mean().round(6))
    ((500,), 1.0)
    """

    def __init__(
        self,
        classifier=None,
        *,
        cv=5,
        calibrate=True,
        flatten=1.0,
        clip=20.0,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip)
        self.classifier = classifier
        self.cv = cv
        self.calibrate = calibrate
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        check_count("cv", self.cv, low=2)
        if self.classifier is not None and not hasattr(self.classifier, "predict_proba"):
            raise TypeError(
                f"Got classifier={self.classifier!r}, but expected a classifier with "
                "predict_proba; wrap it in CalibratedClassifierCV."
            )
        random_state = check_random_state(self.random_state)
        n_target, n_source = len(X_target), len(X_source)

        X = stack_rows(X_target, X_source)
        is_target = np.arange(n_target + n_source) < n_target
        matrix, is_category = as_matrix(X)
        row_ids = _identify_rows(matrix)
        folds = _assign_folds(row_ids, is_target, self.cv, random_state)
        self.classifier_, self.log_loss_ = None, None
        if folds is None:
            return np.zeros(n_source)

        if self.classifier is None:
            X = matrix
            classifiers = _default_classifiers(matrix, is_category, random_state)
        else:
            X = X if is_frame(X) else X.reshape(len(X), -1)
            classifiers = [self.classifier]

        # Classifiers see the rows in an order that depends on their content only.
        order = np.lexsort((is_target, row_ids))
        X, is_target, folds = take_rows(X, order), is_target[order], folds[order]
        is_small = matrix.size < FEW_VALUES
        candidates = []
        for classifier in classifiers:
            with single_threaded_algebra() if is_small else contextlib.nullcontext():
                held_out = _predict_held_out_log_odds(classifier, X, is_target, folds)
            log_odds = _calibrate(held_out, is_target) if self.calibrate else held_out
            loss = np.logaddexp(0, np.where(is_target, -log_odds, log_odds)).mean()
            candidates.append((loss, classifier, held_out, log_odds))
        loss, self.classifier_, held_out, log_odds = min(candidates, key=lambda c: c[0])
        self.log_loss_ = float(loss)
        self.domain_auc_ = float(roc_auc_score(is_target, held_out))

        in_given_order = np.empty_like(log_odds)
        in_given_order[order] = log_odds
        return in_given_order[n_target:] + np.log(n_source / n_target)


def _default_classifiers(matrix, is_category, random_state):
    """Return the candidates that suit the columns, the simplest first."""
    n_values = np.array([np.unique(c[~np.isnan(c)]).size for c in matrix.T[is_category]])
    categorical = is_category.copy()
    categorical[is_category] = n_values <= MAX_CATEGORIES
    boosting = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        categorical_features=categorical,
        random_state=random_state.randint(2**31 - 1),
    )
    if is_category.any() or np.isnan(matrix).any():
        return [boosting]
    if matrix.shape[1] <= MAX_COLUMNS_FOR_PRODUCTS:
        quadratic = PolynomialFeatures(degree=2, include_bias=False)
    else:
        quadratic = FunctionTransformer(_append_squares)
    return [
        make_pipeline(StandardScaler(), *expansion, LogisticRegression(C=C, max_iter=1000))
        for expansion in ([], [quadratic, StandardScaler()])
        for C in (0.01, 1.0)
    ] + [boosting]


def _append_squares(X):
    return np.hstack([X, X**2])


def _identify_rows(matrix):
    """Number the distinct rows in the order of their values."""
    order = np.lexsort(matrix.T[::-1])
    above, below = matrix[order[:-1]], matrix[order[1:]]
    differs = ((above != below) & ~(np.isnan(above) & np.isnan(below))).any(axis=1)
    row_ids = np.empty(len(matrix), dtype=int)
    row_ids[order] = np.append(0, np.cumsum(differs))
    return row_ids


def _assign_folds(row_ids, is_target, n_folds, random_state):
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


def _predict_held_out_log_odds(classifier, X, is_target, folds):
    log_odds = np.empty(len(folds))
    for fold in range(folds.max() + 1):
        rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = clone(classifier).fit(take_rows(X, rest), is_target[rest].astype(int))
        probability = fitted.predict_proba(take_rows(X, held_out))[:, 1]
        log_odds[held_out] = logit(np.clip(probability, EPS, 1 - EPS))
    return log_odds


def _calibrate(log_odds, is_target):
    """Fit ``slope * log_odds + intercept`` to the domains, with a slope that is not negative.

    The penalty of ``slope ** 2`` stands against slopes that few rows suggest.
    """

    def penalized_loss(parameters):
        slope, intercept = parameters
        calibrated = slope * log_odds + intercept
        loss = np.logaddexp(0, calibrated).sum() - calibrated[is_target].sum() + slope**2
        residual = expit(calibrated) - is_target
        return loss, np.array([residual @ log_odds + 2 * slope, residual.sum()])

    start = (0.5, 0.5 * logit(is_target.mean()))
    bounds = [(0, None), (None, None)]
    slope, intercept = minimize(penalized_loss, start, jac=True, bounds=bounds).x
    return slope * log_odds + intercept
