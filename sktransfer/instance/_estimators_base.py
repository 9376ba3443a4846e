"""What the classifier and the regressor with source rows share."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sktransfer.domain import check_domains, stack_labels, take_rows
from sktransfer.instance._alignment import align, check_alignment
from sktransfer.instance._candidates import (
    Pooled,
    Target,
    TargetOnly,
    Weighted,
    resolve_target_weight,
)
from sktransfer.instance._folds import make_folds
from sktransfer.instance._guard import HeldOut, select_sources, weigh_evidence
from sktransfer.instance._meta_estimator import BaseSourceMetaEstimator
from sktransfer.instance._source import (
    check_rows,
    check_source,
    check_target,
    describe_sources,
    stack_source_labels,
    threads_for,
    weigh_sources,
)
from sktransfer.instance._weighted_fit import check_takes_weights
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_number, check_option

__all__ = ["BaseInstanceTransfer"]


class BaseInstanceTransfer(BaseSourceMetaEstimator):
    """Fit an estimator to target rows and weighted source rows, as far as held-out rows gain.

    A subclass says what is predicted, in the attributes and methods named below.

    Attributes
    ----------
    _estimator_type_name : str
    _by_class : bool
        Whether labels are classes.
    _default_estimator, _is_right_type, _check_labels, _check_labels_of_both, _can_compare, \
    _make_kind, _average : methods
    """

    def __init__(
        self,
        estimator=None,
        *,
        source=None,
        weighting=None,
        alignment=None,
        target_weight="auto",
        fallback="target_only",
        cv=5,
        drop_source=False,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.source = source
        self.weighting = weighting
        self.alignment = alignment
        self.target_weight = target_weight
        self.fallback = fallback
        self.cv = cv
        self.drop_source = drop_source
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        """Fit the estimator on target rows and on the weighted rows of the source.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,), default=None
            Labels of the target rows. None: they are unknown, and the estimator is fitted to the
            source rows, weighted to these target rows.

        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the target rows.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def predict(self, X):
        """Predict the label of each row.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        y : array of shape (n_rows,)
        """
        return self._ask("predict", X)

    def _ask(self, method, X):
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        return getattr(self.estimator_, method)(X)

    def _fit(self, X, y, sample_weight):
        estimator = self._check_estimator()
        self._check_parameters()
        if y is None:
            X = check_rows(self, X, reset=True)
        else:
            X, y = check_target(self, X, y)
        sources = check_source(self.source, stacklevel=3)
        target = self._check_weights(X, y, sample_weight, keep_all=not sources)
        self._check_all_labels(target.y, sources)
        self._forget_last_fit(sources)
        with threads_for(X, sources):
            self._fit_candidates(estimator, sources, target)
        return self

    def _fit_candidates(self, estimator, sources, target):
        if target.y is None:
            check_takes_weights(estimator)
            self.target_weight_ = 0.0
            weighted = self._weigh(sources, target)[0]
            self.strategy_, self.weights_ = weighted.name, {weighted.name: 1.0}
            self.estimator_ = weighted.fit_without_labels(estimator)
            return
        if sources:
            self.target_weight_ = resolve_target_weight(self.target_weight, len(target.y))
        if self.target_weight_ == 1:
            self._keep(estimator, target, [TargetOnly()])
        else:
            self._fit_both_domains(estimator, sources, target)

    def _check_parameters(self):
        if not (isinstance(self.target_weight, str) and self.target_weight == "auto"):
            check_number("target_weight", self.target_weight, low=0, high=1, low_open=True)
        if self.fallback is not None:
            check_option("fallback", self.fallback, ("target_only",))
        check_option("drop_source", self.drop_source, (True, False))
        check_alignment(self.alignment)

    def _check_weights(self, X, y, sample_weight, *, keep_all):
        if sample_weight is None:
            return Target(X, y)
        sample_weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if keep_all or sample_weight.all():
            return Target(X, y, sample_weight)
        # Rows without weight tell nothing of the target, nor do they count for the share.
        counted = np.flatnonzero(sample_weight)
        X, y = take_rows(X, counted), None if y is None else y[counted]
        return Target(X, y, sample_weight[counted])

    def _check_all_labels(self, y, sources):
        if y is None and not sources:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None, and so "
                "is source; pass y, or source=SourceDomain(X_source, y_source)."
            )
        if y is not None:
            self._check_labels(y)
        if sources:
            y_source = stack_source_labels(sources)
            y = y_source if y is None else stack_labels(y, y_source)
        if sources and self.target_weight == 1 and y is not None:
            return
        self._check_labels_of_both(y)

    def _forget_last_fit(self, sources):
        """Set the attributes to what holds where nothing is weighted or compared."""
        describe_sources(self, ())
        self.source_selected_ = np.ones(len(sources), dtype=bool)
        self.alignment_ = None
        self.target_weight_ = 1.0
        self.oof_loss_, self.transfer_gain_ = {}, {}

    def _fit_both_domains(self, estimator, sources, target):
        check_takes_weights(estimator)  # before the source is weighted, which may take long
        weighted = self._weigh(sources, target)
        folds = self._make_folds(target)
        if not folds:
            self._keep(estimator, target, weighted[:1])
            return
        held_out = HeldOut(
            estimator, target, folds, self._make_kind(estimator, target.y, sources), self.n_jobs
        )
        candidates, oof_loss = [TargetOnly(), Pooled(sources)], {}
        if len(sources) > 1:
            held_out.predict(candidates)
            self.source_selected_, oof_loss = select_sources(held_out, weighted[0])
            weighted = [each.restrict(self.source_selected_) for each in weighted]
            held_out.predict(weighted)
        else:
            held_out.predict(candidates + weighted)
        evidence = weigh_evidence(held_out)
        self.oof_loss_, self.transfer_gain_ = evidence.oof_loss | oof_loss, evidence.gains
        self._keep(estimator, target, candidates + weighted, evidence)

    def _weigh(self, sources, target):
        """Align and weight the sources, and return the candidates that learn from them."""
        X = target.X
        for source in sources:
            check_domains(X, source)
        if self.alignment is not None:
            self.alignment_, sources, X = align(self.alignment, sources, X)
            if self.drop_source:
                self.alignment_ = self.alignment_.without_source()
        weighted = weigh_sources(sources, X, self.weighting, self.random_state, target.y)
        describe_sources(self, weighted)
        candidates = [Weighted(weighted, self.target_weight, self.alignment_)]
        if self.target_weight == "auto":
            candidates.append(Weighted(weighted, None, self.alignment_, name="weighted_pool"))
        return candidates

    def _make_folds(self, target):
        if self.fallback is None or not self._can_compare(target.y):
            return []
        return make_folds(
            self.cv,
            target.X,
            target.y,
            by_class=self._by_class,
            random_state=check_random_state(self.random_state),
        )

    def _keep(self, estimator, target, candidates, evidence=None):
        """Fit candidates to all rows: those that have a weight, or the only one."""
        self.weights_ = {candidates[0].name: 1.0} if evidence is None else evidence.weights
        fitted = [(c.name, c.fit(estimator, target)) for c in candidates if c.name in self.weights_]
        name, self.estimator_ = fitted[0]
        self.strategy_ = name if len(fitted) == 1 else "average"
        adjusted = {} if evidence is None else evidence.adjustments
        # What was fitted to the target alone needs none where it is not averaged.
        if len(fitted) > 1 or (name in adjusted and name != "target_only"):
            self.estimator_ = self._average(fitted, evidence)
