"""A classifier that learns from target rows and weighted source rows together."""

import numpy as np
from sklearn.base import ClassifierMixin, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from sktransfer.domain import stack_labels
from sktransfer.instance._average import AveragedClassifier
from sktransfer.instance._estimators_base import BaseInstanceTransfer
from sktransfer.instance._held_out import Classes, Probabilities
from sktransfer.instance._source import find_classes, stack_source_labels

__all__ = ["InstanceTransferClassifier"]


def _estimator_has(method):
    def check(self):
        estimator = getattr(self, "estimator_", None)
        getattr(self._wrapped() if estimator is None else estimator, method)
        return True

    return check


class InstanceTransferClassifier(ClassifierMixin, BaseInstanceTransfer):
    """Fit a classifier on target rows together with weighted source rows.

    ``fit`` takes the target; the source comes with the constructor and is whole in every fold
    of a cross-validation. Source rows that look like target rows count more. Held-out target
    rows say whether transfer helps, see ``fallback``.

    Use it as the last step of a Pipeline or around one: preprocessing that both domains need
    belongs into the wrapped ``estimator``, because a step before this one never sees the source.

    Parameters
    ----------
    estimator : classifier whose ``fit`` takes ``sample_weight``, or None, default=None
        The classifier to fit; a Pipeline passes the weights to each step that takes them. None
        stands for ``LogisticRegression(max_iter=1000)``. For a classifier that takes no
        weights, use :class:`InstanceWeightingSampler`.

    source : SourceDomain, list of SourceDomain or None, default=None
        Source rows with labels. Each of several sources is weighted to the target on its own,
        and has a part of the weight in proportion to its effective sample size; with the guard
        on, sources that do not help are left out. Without a source, there is a warning and the
        target is used alone.

    weighting : weighting or None, default=None
        How source rows are weighted, such as :class:`DomainClassifierWeighting`, the default.

    alignment : alignment or None, default=None
        Brings the domains into one space before rows are weighted, such as
        :class:`CorrelationAlignment`; it gets its source from here.

    target_weight : float in (0, 1] or "auto", default="auto"
        Share of the target in the total weight. Target rows keep their own weights (1 each
        unless ``sample_weight`` says otherwise); the source rows are scaled to the rest,
        whatever their number. 1 leaves the source out. With "auto", the source counts as much
        as the target up to 20 target rows, and as 20 target rows beyond: the more the target
        tells, the less the source does. The guard then also tries weights with a mean of 1.
        Worth a search.

    fallback : {"target_only"} or None, default="target_only"
        The guard. "target_only": held-out target rows say how much each of these counts in an
        average of predictions: the classifier fitted to the target alone ("target_only"), to
        all rows with equal weights ("pooled"), and to the weighted rows ("weighted", and
        "weighted_pool" for weights with a mean of 1). Probabilities are adjusted first, so that
        all are equally sure and go by the class frequencies of the target. Where transfer loses
        there is a :class:`NegativeTransferWarning`. None: transfer, whatever comes of it; one fit.

    cv : int, cross-validation splitter or iterable, default=5
        How target rows are held out. A number means stratified folds, three times over up to
        60 rows. The guard takes 4 fits for each fold, so 60 up to 60 rows and 20 beyond, plus
        one for each fold and source where there are several.

    drop_source : bool, default=False
        Whether pickles and copies of the fitted classifier leave the source rows out. They
        predict, and cannot be fitted again. A wrapped classifier that keeps the rows it was
        fitted to, such as ``SVC``, still does.

    n_jobs : int or None, default=None
        Number of fits of the guard that run at the same time.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default weighting. A weighting that you pass has its own.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier: a plain one, behind the alignment in a Pipeline if there is one;
        or an average of such, with adjusted probabilities, whose ``estimators`` these are. With
        the guard on, probabilities of a single one with source rows are adjusted, too.

    classes_ : array of shape (n_classes,)
        What ``predict`` can return: the classes of the rows that the estimator was fitted to.

    strategy_ : {"target_only", "pooled", "weighted", "weighted_pool", "average"}
        What predictions come from: one of the candidates, or an average.

    weights_ : dict of str to float
        Of each member of the average; they sum to 1.

    oof_loss_ : dict of str to float
        Held-out log loss of each candidate, adjusted, of the average ("average"), and of each
        of several sources on its own ("source_0", ...). It is the share of errors where the
        classifier has no ``predict_proba``. Empty without the guard.

    transfer_gain_ : dict of str to (mean, standard_error)
        By how much that loss is lower with transfer than for "target_only", and with weights
        than for "pooled", paired over rows; empty without the guard.

    weighting_ : weighting or None
        The weighting of this fit, with its diagnostics.

    source_weights_ : float64 array of shape (n_source,)
        Weights of the source rows, with a mean of 1, before they are scaled to their share.

    effective_sample_size_ : float
        Number of equally weighted source rows that would vary as little.

    source_selected_ : boolean array of shape (n_sources,)
        Which sources are used by the weighted candidates.

    alignment_ : alignment or None
        The fitted alignment.

    target_weight_ : float
        The share of the target, with "auto" resolved; 0 where ``y`` is None.

    n_features_in_, feature_names_in_, input_shape_
        Columns, their names where there are names, and the shape of one row in ``fit``.

    Notes
    -----
    With a list of sources, ``weighting_``, ``source_weights_`` and ``effective_sample_size_`` are
    lists.

    The guard cannot compare where no target row can be held out: without ``y``, with one class,
    or where no class has two rows. It then transfers. It sees the rows (not the labels) of
    held-out target rows when it weights the source, which is done once.

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

    _estimator_type_name = "classifier"
    _by_class = True

    @property
    def classes_(self):
        """What ``predict`` can return."""
        return self.estimator_.classes_

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

        Of an average, it is the log odds of the second of two classes, or those of each class.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        scores : array of shape (n_rows,) or (n_rows, n_classes)
        """
        return self._ask("decision_function", X)

    @staticmethod
    def _default_estimator():
        return LogisticRegression(max_iter=1000)

    @staticmethod
    def _is_right_type(estimator):
        return is_classifier(estimator)

    @staticmethod
    def _check_labels(y):
        check_classification_targets(y)

    @staticmethod
    def _check_labels_of_both(y):
        find_classes(y)

    @staticmethod
    def _can_compare(y):
        # With one class, a constant would beat everything that knows of others.
        return len(np.unique(y)) > 1

    @staticmethod
    def _make_kind(estimator, y, sources):
        classes = np.unique(stack_labels(y, stack_source_labels(sources)))
        return (Probabilities if hasattr(estimator, "predict_proba") else Classes)(classes)

    @staticmethod
    def _average(fitted, evidence):
        names = [name for name, _ in fitted]
        classes = np.unique(np.concatenate([each.classes_ for _, each in fitted]))
        columns = np.searchsorted(evidence.kind.classes, classes)
        return AveragedClassifier(
            fitted,
            [evidence.weights[name] for name in names],
            [evidence.adjustments[name].take(columns) for name in names],
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        if wrapped.classifier_tags is not None:
            tags.classifier_tags = wrapped.classifier_tags
        return tags
