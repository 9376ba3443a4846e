"""Weights from a classifier that tells the domains apart."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from sktransfer.domain import is_frame, stack_rows, take_rows
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._calibration import calibrate_log_odds, log_loss
from sktransfer.instance._cross_fitting import (
    assign_folds,
    draw_rows,
    identify_rows,
    predict_held_out_log_odds,
)
from sktransfer.instance._default_classifiers import list_classifiers
from sktransfer.instance._matrix import as_matrix
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_count

__all__ = ["DomainClassifierWeighting"]


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
        with the least held-out log loss gives the weights. For logistic regression, missing
        numbers are imputed and indicated, and categories become indicators.

    cv : int, default=5
        Number of folds, at least 2. Equal rows share a fold.

    calibrate : bool, default=True
        Whether to shrink or stretch the held-out log odds to fit the domains.

    max_fit_rows : int or None, default=100_000
        Most rows that a classifier is fitted on, drawn by ``random_state`` with as many of the
        smaller domain as there may be up to half; the odds are corrected for the draw. Where
        there are more rows, the default candidates are compared on as many, and only the best
        one judges them all. None sets no bound.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=20.0
        Largest weight, as a multiple of the mean weight.

    backbone : Backbone, str, path, torch.nn.Module, fitted estimator or None, default=None
        Network in whose activations the rows are compared, see :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default classifiers.

    Attributes
    ----------
    classifier_ : classifier or None
        The (unfitted) classifier that gave the weights; None where nothing can be held out.

    log_loss_ : float or None
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
        max_fit_rows=100_000,
        flatten=1.0,
        clip=20.0,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.classifier = classifier
        self.cv = cv
        self.calibrate = calibrate
        self.max_fit_rows = max_fit_rows
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        check_count("cv", self.cv, low=2)
        if self.max_fit_rows is not None:
            check_count("max_fit_rows", self.max_fit_rows, low=10)
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
        row_ids = identify_rows(matrix)
        folds = assign_folds(row_ids, is_target, self.cv, random_state)
        self.classifier_, self.log_loss_ = None, None
        if folds is None:
            return np.zeros(n_source)

        if self.classifier is None:
            X = matrix
            classifiers = list_classifiers(matrix, is_category, random_state)
        else:
            X = X if is_frame(X) else X.reshape(len(X), -1)
            classifiers = [self.classifier]

        # Classifiers see the rows in an order that depends on their content only.
        order = np.lexsort((is_target, row_ids))
        X, is_target, folds = take_rows(X, order), is_target[order], folds[order]
        with few_threads(matrix.size):
            if len(classifiers) > 1 and len(X) > (self.max_fit_rows or np.inf):
                classifiers = self._compare_on_few(
                    classifiers, X, is_target, row_ids[order], random_state
                )
            judgements = [self._judge(c, X, is_target, folds, random_state) for c in classifiers]
        best = min(judgements, key=lambda judgement: judgement.loss)
        self.classifier_, self.log_loss_ = best.classifier, best.loss
        self.domain_auc_ = float(roc_auc_score(is_target, best.held_out))

        in_given_order = np.empty(len(order))
        in_given_order[order] = best.log_odds
        return in_given_order[n_target:] + np.log(n_source / n_target)

    def _compare_on_few(self, classifiers, X, is_target, row_ids, random_state):
        """Return the best of the classifiers on some of the rows, alone in a list."""
        few = draw_rows(is_target, self.max_fit_rows, random_state)
        is_target, row_ids = is_target[few], np.unique(row_ids[few], return_inverse=True)[1]
        folds = assign_folds(row_ids, is_target, self.cv, random_state)
        if folds is None:
            return classifiers[:1]
        X = take_rows(X, few)
        judgements = [self._judge(c, X, is_target, folds, random_state) for c in classifiers]
        return [min(judgements, key=lambda judgement: judgement.loss).classifier]

    def _judge(self, classifier, X, is_target, folds, random_state):
        held_out = predict_held_out_log_odds(
            classifier,
            X,
            is_target,
            folds,
            max_fit_rows=self.max_fit_rows,
            random_state=random_state,
        )
        log_odds = calibrate_log_odds(held_out, is_target) if self.calibrate else held_out
        return _Judgement(log_loss(log_odds, is_target), classifier, held_out, log_odds)


class _Judgement(NamedTuple):
    """What a classifier says of rows that it was not fitted on."""

    loss: float
    classifier: object
    held_out: np.ndarray  # log odds as they come
    log_odds: np.ndarray  # and calibrated
