"""A regressor that learns from target rows and weighted source rows together."""

from sklearn.base import RegressorMixin, is_regressor
from sklearn.linear_model import Ridge
from sklearn.utils import get_tags

from sktransfer.instance._average import AveragedRegressor
from sktransfer.instance._estimators_base import BaseInstanceTransfer
from sktransfer.instance._held_out import Numbers
from sktransfer.instance._source import check_numbers

__all__ = ["InstanceTransferRegressor"]


class InstanceTransferRegressor(RegressorMixin, BaseInstanceTransfer):
    """Fit a regressor on target rows together with weighted source rows.

    ``fit`` takes the target; the source comes with the constructor and is whole in every fold
    of a cross-validation. Source rows that look like target rows count more. Held-out target
    rows say whether transfer helps, see ``fallback``.

    Use it as the last step of a Pipeline or around one: preprocessing that both domains need
    belongs into the wrapped ``estimator``, because a step before this one never sees the source.

    Parameters
    ----------
    estimator : regressor whose ``fit`` takes ``sample_weight``, or None, default=None
        The regressor to fit; a Pipeline passes the weights to each step that takes them. None
        stands for ``Ridge()``. For a regressor that takes no weights, use
        :class:`InstanceWeightingSampler`.

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
        average of predictions: the regressor fitted to the target alone ("target_only"), to
        all rows with equal weights ("pooled"), and to the weighted rows ("weighted", and
        "weighted_pool" for weights with a mean of 1). Where transfer loses there is a
        :class:`NegativeTransferWarning`. None: transfer, whatever comes of it; one fit.

    cv : int, cross-validation splitter or iterable, default=5
        How target rows are held out. A number means shuffled folds, three times over up to 60
        rows. The guard takes 4 fits for each fold, so 60 up to 60 rows and 20 beyond, plus one
        for each fold and source where there are several.

    drop_source : bool, default=False
        Whether pickles and copies of the fitted regressor leave the source rows out. They
        predict, and cannot be fitted again. A wrapped regressor that keeps the rows it was
        fitted to, such as ``SVR``, still does.

    n_jobs : int or None, default=None
        Number of fits of the guard that run at the same time.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default weighting. A weighting that you pass has its own.

    Attributes
    ----------
    estimator_ : regressor
        The fitted regressor: a plain one, behind the alignment in a Pipeline if there is one;
        or an average of such, whose ``estimators`` these are.

    strategy_ : {"target_only", "pooled", "weighted", "weighted_pool", "average"}
        What predictions come from: one of the candidates, or an average.

    weights_ : dict of str to float
        Of each member of the average; they sum to 1.

    oof_loss_ : dict of str to float
        Held-out squared error of each candidate and of the average ("average"), and of each of
        several sources on its own ("source_0", ...); empty without the guard.

    transfer_gain_ : dict of str to (mean, standard_error)
        By how much that loss is lower with transfer than for "target_only", and with weights
        than for "pooled", paired over rows; empty without the guard.

    weighting_, source_weights_, effective_sample_size_, source_selected_, alignment_, \
target_weight_, n_features_in_, feature_names_in_, input_shape_
        See :class:`InstanceTransferClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.domain import SourceDomain
    >>> from sktransfer.instance import InstanceTransferRegressor
    >>> rng = np.random.default_rng(0)
    >>> X_source, X_target = rng.normal(size=(300, 3)), rng.normal(size=(20, 3)) + 1
    >>> y_source, y_target = np.sin(X_source).sum(axis=1), np.sin(X_target).sum(axis=1)
    >>> source = SourceDomain(X_source, y_source)
    >>> regressor = InstanceTransferRegressor(source=source, random_state=0)
    >>> regressor.fit(X_target, y_target).predict(X_target).shape
    (20,)
    """

    _estimator_type_name = "regressor"
    _by_class = False

    @staticmethod
    def _default_estimator():
        return Ridge()

    @staticmethod
    def _is_right_type(estimator):
        return is_regressor(estimator)

    @staticmethod
    def _check_labels(y):
        check_numbers(y, "InstanceTransferClassifier")

    @classmethod
    def _check_labels_of_both(cls, y):
        cls._check_labels(y)

    @staticmethod
    def _can_compare(y):
        return True

    @staticmethod
    def _make_kind(estimator, y, sources):
        return Numbers()

    @staticmethod
    def _average(fitted, evidence):
        return AveragedRegressor(fitted, [evidence.weights[name] for name, _ in fitted])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        if wrapped.regressor_tags is not None:
            tags.regressor_tags = wrapped.regressor_tags
        return tags
