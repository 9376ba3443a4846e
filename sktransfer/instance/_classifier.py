"""A classifier that learns from target rows and weighted source rows together."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from sktransfer.domain import stack_labels, stack_rows, take_rows
from sktransfer.instance._base import effective_sample_size
from sktransfer.instance._source import (
    check_rows,
    check_share,
    check_source,
    check_target,
    weigh_source,
)
from sktransfer.instance._weighted_fit import fit_weighted
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error

__all__ = ["InstanceTransferClassifier"]


AUTO_ROWS = 20  # target rows that the source counts as: a prior, which fades as they grow


def _estimator_has(method):
    def check(self):
        estimator = getattr(self, "estimator_", None)
        getattr(self._wrapped() if estimator is None else estimator, method)
        return True

    return check


class InstanceTransferClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Fit a classifier on target rows together with weighted source rows.

    ``fit`` takes the target; the source comes with the constructor and is whole in every fold
    of a cross-validation. Source rows that look like target rows count more. Use it as the last
    step of a Pipeline or around one: preprocessing that both domains need belongs into the
    wrapped ``estimator``, because a step before this one never sees the source.

    Parameters
    ----------
    estimator : classifier whose ``fit`` takes ``sample_weight``, or None, default=None
        The classifier to fit; a Pipeline passes the weights to each step that takes them. None
        stands for ``LogisticRegression(max_iter=1000)``. For a classifier that takes no
        weights, use :class:`InstanceWeightingSampler`.

    source : SourceDomain or None, default=None
        Source rows with labels. Without one, there is a warning and the target is used alone.

    weighting : weighting or None, default=None
        How source rows are weighted, such as :class:`DomainClassifierWeighting`, the default.

    source_share : float in [0, 1) or "auto", default="auto"
        Share of the source in the total weight. Target rows keep their own weights (1 each
        unless ``sample_weight`` says otherwise); the source rows are scaled to this share,
        whatever their number. 0 leaves the source out. With "auto", the source counts as much
        as the target up to 20 target rows, and as 20 target rows beyond: the more the target
        tells, the less the source does. Worth a search.

    random_state : int, RandomState instance or None, default=None
        Seed of the default weighting. A weighting that you pass has its own.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.

    classes_ : array of shape (n_classes,)
        What ``predict`` can return: the classes of the target and those of the source.

    weighting_ : weighting or None
        The weighting of this fit, with its diagnostics.

    source_weights_ : float64 array of shape (n_source,)
        Weights of the source rows, with a mean of 1, before they are scaled to their share.

    source_share_ : float
        The share of the source, with "auto" resolved.

    effective_sample_size_ : float
        Number of equally weighted source rows that would vary as little.

    n_features_in_, feature_names_in_, input_shape_
        Columns, their names where there are names, and the shape of one row in ``fit``.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.domain import SourceDomain
    >>> from sktransfer.instance import InstanceTransferClassifier
    >>> domains = make_covariate_shift(500, 40, random_state=0)
    >>> source = SourceDomain(domains.X_source, domains.y_source)
    >>> classifier = InstanceTransferClassifier(source=source, random_state=0)
    >>> classifier.fit(domains.X_target, domains.y_target).classes_
    array([0, 1])
    """

    def __init__(
        self, estimator=None, *, source=None, weighting=None, source_share="auto", random_state=None
    ):
        self.estimator = estimator
        self.source = source
        self.weighting = weighting
        self.source_share = source_share
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Fit the classifier on target rows and on the weighted rows of the source.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,)
            Labels of the target rows.

        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the target rows.

        Returns
        -------
        self : InstanceTransferClassifier
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        estimator = self._check_estimator()
        X, y = check_target(self, X, y)
        check_classification_targets(y)
        check_source(self.source, stacklevel=3)
        if sample_weight is not None:
            sample_weight = check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            if self.source is not None and not sample_weight.all():
                # Rows without weight tell nothing of the target, nor do they count for the share.
                counted = np.flatnonzero(sample_weight)
                X, y, sample_weight = take_rows(X, counted), y[counted], sample_weight[counted]
        self.source_share_ = 0.0 if self.source is None else self._resolve_share(len(y))

        if self.source is None or self.source_share_ == 0:
            self.weighting_, self.source_weights_ = None, np.zeros(0)
            self.effective_sample_size_ = 0.0
            _check_classes(y)
            if sample_weight is None:
                self.estimator_ = clone(estimator).fit(X, y)
            else:
                self.estimator_ = fit_weighted(estimator, X, y, sample_weight)
        else:
            self._fit_both_domains(estimator, X, y, sample_weight)
        self.classes_ = self.estimator_.classes_
        return self

    def _fit_both_domains(self, estimator, X, y, sample_weight):
        y_both = stack_labels(y, self.source.y)
        check_classification_targets(y_both)
        _check_classes(y_both)
        self.weighting_, self.source_weights_ = weigh_source(
            self.source, X, self.weighting, self.random_state
        )
        self.effective_sample_size_ = effective_sample_size(self.source_weights_)

        target_weight = np.ones(len(y)) if sample_weight is None else sample_weight
        source_mass = target_weight.sum() * self.source_share_ / (1 - self.source_share_)
        source_weight = self.source_weights_ * (source_mass / len(self.source_weights_))
        weights = np.concatenate([target_weight, source_weight])
        self.estimator_ = fit_weighted(estimator, stack_rows(X, self.source.X), y_both, weights)

    def predict(self, X):
        """Predict the class of each row.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        y : array of shape (n_rows,)
        """
        return self._ask("predict", X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        probabilities : array of shape (n_rows, n_classes)
        """
        return self._ask("predict_proba", X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        log_probabilities : array of shape (n_rows, n_classes)
        """
        return self._ask("predict_log_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X):
        """Compute the decision function of the fitted classifier.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        scores : array of shape (n_rows,) or (n_rows, n_classes)
        """
        return self._ask("decision_function", X)

    def _ask(self, method, X):
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        return getattr(self.estimator_, method)(X)

    def _wrapped(self):
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def _resolve_share(self, n_target):
        if isinstance(self.source_share, str) and self.source_share == "auto":
            return 1 / (1 + max(1, n_target / AUTO_ROWS))
        check_share(self.source_share)
        return self.source_share

    def _check_estimator(self):
        estimator = self._wrapped()
        if not hasattr(estimator, "fit") or isinstance(estimator, type):
            raise TypeError(
                f"Got estimator={estimator!r}, but expected a classifier, such as "
                "LogisticRegression()."
            )
        if not is_classifier(estimator):
            raise TypeError(
                f"Got estimator of type {type(estimator).__name__}, but expected a classifier."
            )
        return estimator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.categorical = wrapped.input_tags.categorical
        tags.input_tags.string = wrapped.input_tags.string
        if wrapped.classifier_tags is not None:
            tags.classifier_tags = wrapped.classifier_tags
        return tags


def _check_classes(y):
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"Got one class, {classes[0]!r}, but expected at least two classes in the target and "
            "the source together."
        )
