"""A regressor that is boosted on the target while the source fades."""

import functools
import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, is_regressor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from sktransfer.domain import check_domains, stack_labels, stack_rows, take_rows
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.instance._base import effective_sample_size
from sktransfer.instance._boosting import (
    MAX_SEED,
    check_base_estimator,
    check_cv_parameter,
    loses_clearly,
    rows_that_count,
    source_row_weights,
    split_target,
    to_mean_of_one,
)
from sktransfer.instance._dropped_source import drop_rows
from sktransfer.instance._source import check_rows, check_source, check_target, threads_for
from sktransfer.instance._two_stage_r2 import (
    LOSSES,
    RegressionRules,
    boost_r2,
    fade_source,
    target_shares,
    weighted_median,
)
from sktransfer.utils._gain import compare_losses
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["TrAdaBoostRegressor"]


class TrAdaBoostRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    r"""Boost a regressor on the target, with as much of the source as held-out rows ask for.

    Two-stage TrAdaBoost.R2 [1]_: step by step the source loses weight, first its rows that are
    predicted worst, until the target is alone. At each step AdaBoost.R2 [2]_ is run, in which
    target rows that are predicted badly gain weight and source rows keep theirs. The step that
    predicts held-out target rows best is the one that is used. ``fit`` takes the target; the
    source comes with the constructor and is whole in every fold of a cross-validation.

    Parameters
    ----------
    estimator : regressor whose ``fit`` takes ``sample_weight``, or None, default=None
        What is boosted; a Pipeline passes the weights to each step that takes them. None stands
        for ``Ridge()``. For a regressor that takes no weights, use
        :class:`InstanceWeightingSampler`.

    source : SourceDomain, list of SourceDomain or None, default=None
        Source rows with numbers as labels. Several sources are put together: each row fades by
        its own error. Without a source, there is a warning, and the target alone is boosted.

    n_estimators : int, default=10
        Largest number of learners at each step.

    n_steps : int, default=10
        Number of steps from the source with all of its weight to the target alone.

    cv : int >= 2, cross-validation splitter, iterable or None, default=5
        How target rows are held out to choose the step: the number of folds, at most one a row,
        or a splitter. With None, or with a single target row, it is the step where the target
        has nearest to half of the weight.

    learning_rate : float > 0, default=1.0
        Factor on the weight of each learner, and on how fast target rows gain weight.

    loss : {"linear", "square", "exponential"}, default="linear"
        How the error of a row counts, as a share of the largest.

    drop_source : bool, default=False
        Whether pickles and copies of the fitted regressor leave the source rows out. They
        predict, and cannot be fitted again.

    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, as in joblib.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the learners. With None, learners keep their own seeds.

    Attributes
    ----------
    estimators_ : list of regressors
        The learners of the step in use.

    estimator_weights_ : float64 array of shape (n_learners,)
        Weight of each learner in the median.

    estimator_errors_ : float64 array of shape (n_learners,)
        Weighted error of each learner, from 0 to 0.5.

    step_ : int
        The step in use: 0 is the source with all of its weight, ``n_steps - 1`` the target alone.

    target_shares_ : float64 array of shape (n_steps,)
        Share of the target in the total weight at each step.

    cv_errors_ : float64 array of shape (n_steps,) or None
        Mean squared error on held-out target rows at each step.

    source_weights_ : float64 array of shape (n_source,), or a list of arrays
        Weights of the source rows at the step in use, with a mean of 1, or 0 where the source is
        left out; a list for a list of sources.

    source_share_ : float
        Share of the sources in the total weight at the step in use.

    effective_sample_size_ : float
        Number of equally weighted source rows that would vary as little.

    strategy_ : {"transfer", "target_only"}
        Whether the source is in use.

    transfer_gain_ : dict of str to (mean, standard_error)
        By how much the held-out squared error is lower at the best step with the source than for
        "target_only". As the step was chosen on the same rows, it flatters a little. Empty
        without a comparison: with ``cv=None``, without a source, with ``n_steps=1``, or with a
        single target row.

    n_features_in_, feature_names_in_, input_shape_
        Columns, their names where there are names, and the shape of one row in ``fit``.

    See Also
    --------
    TrAdaBoostClassifier : The same for classes.

    Notes
    -----
    It fits at most ``cv * n_steps * (n_estimators + 1)`` learners to choose the step, and
    ``n_steps + n_estimators`` for the result. Each fold runs both stages on its own rows, so
    that held-out rows do not touch the weights of the source.

    AdaBoost.R2 stops at a learner whose error is 0.5 or more. Where the first learner is as bad,
    or where one makes no error, it is the only one.

    References
    ----------
    .. [1] Pardoe and Stone, "Boosting for regression transfer", ICML 2010.
    .. [2] Drucker, "Improving regressors using boosting techniques", ICML 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.domain import SourceDomain
    >>> from sktransfer.instance import TrAdaBoostRegressor
    >>> rng = np.random.default_rng(0)
    >>> X_source, X = rng.normal(size=(300, 5)), rng.normal(size=(12, 5))
    >>> source = SourceDomain(X_source, X_source.sum(axis=1) + 0.5)
    >>> regressor = TrAdaBoostRegressor(source=source, random_state=0).fit(X, X.sum(axis=1))
    >>> regressor.strategy_
    'transfer'
    """

    def __init__(
        self,
        estimator=None,
        *,
        source=None,
        n_estimators=10,
        n_steps=10,
        cv=5,
        learning_rate=1.0,
        loss="linear",
        drop_source=False,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.source = source
        self.n_estimators = n_estimators
        self.n_steps = n_steps
        self.cv = cv
        self.learning_rate = learning_rate
        self.loss = loss
        self.drop_source = drop_source
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Boost on target rows and fading rows of the source.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,)
            Labels of the target rows.

        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the target rows at the start.

        Returns
        -------
        self : TrAdaBoostRegressor
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        rules = self._check_parameters()
        X, y = check_target(self, X, y)
        sources = check_source(self.source, stacklevel=3)
        for source in sources:
            check_domains(X, source)
        X, y, weight = rows_that_count(X, y, sample_weight)
        source = _stack_sources(sources, y)
        with threads_for(X, sources):
            sizes = [len(one.y) for one in sources]
            self._boost_and_compare(X, y.astype(np.float64), weight, source, sizes, rules)
        return self

    def _boost_and_compare(self, X, y, weight, source, sizes, rules):
        seed, fold_seed = self._draw_seeds()
        self.cv_errors_, self.transfer_gain_ = None, {}
        if source is None:
            self.step_, self.target_shares_ = 0, np.ones(1)
            boosted, faded = boost_r2(X, y, weight, np.zeros(0), rules, _seeded(seed)), np.zeros(0)
        else:
            self.target_shares_ = target_shares(weight.sum(), source[2].sum(), self.n_steps)
            self.step_ = self._choose_step(X, y, weight, source, rules, seed, fold_seed)
            boosted, faded = _boost_at_step(X, y, weight, source, rules, seed, self.step_)
        self._describe_source(faded, weight, sizes)
        self._boosted = boosted
        self.estimators_ = boosted.estimators
        self.estimator_weights_ = boosted.weights
        self.estimator_errors_ = boosted.errors
        if self.transfer_gain_ and loses_clearly(self.transfer_gain_["target_only"]):
            self._warn_of_negative_transfer()

    def _choose_step(self, X, y, weight, source, rules, seed, fold_seed):
        if self.n_steps == 1:
            return 0
        if self.cv is None or len(y) < 2:
            return int(np.abs(self.target_shares_ - 0.5).argmin())
        folds = split_target(self.cv, X, y, fold_seed, stratify=False)
        losses = Parallel(n_jobs=self.n_jobs)(
            delayed(_held_out_losses)(X, y, weight, source, rules, seed, train, test)
            for train, test in folds
        )
        losses = np.concatenate(losses, axis=1)
        weights = np.concatenate([weight[test] for _, test in folds])
        weights = weights / weights.mean()
        self.cv_errors_ = np.mean(losses * weights, axis=1)
        best_transfer = losses[self.cv_errors_[:-1].argmin()]
        self.transfer_gain_ = {"target_only": compare_losses(best_transfer, losses[-1], weights)}
        return int(self.cv_errors_.argmin())

    def _describe_source(self, faded, weight, sizes):
        """Set the attributes that say what became of the source."""
        self.strategy_ = "transfer" if faded.any() else "target_only"
        self.source_share_ = float(faded.sum() / (faded.sum() + weight.sum()))
        self.effective_sample_size_ = effective_sample_size(faded) if faded.any() else 0.0
        if isinstance(self.source, (list, tuple)):
            parts = np.split(faded, np.cumsum(sizes)[:-1])
            self.source_weights_ = [to_mean_of_one(part) for part in parts]
        else:
            self.source_weights_ = to_mean_of_one(faded) if len(faded) else faded

    def _warn_of_negative_transfer(self):
        warnings.warn(
            "Transfer loses: the held-out squared error is "
            f"{self.cv_errors_[:-1].min():.4g} at best with the source, and "
            f"{self.cv_errors_[-1]:.4g} for boosting the target alone (gain of transfer "
            f"{self.transfer_gain_['target_only']}). The source is left out; try another source, "
            "or none.",
            NegativeTransferWarning,
            stacklevel=5,
        )

    def predict(self, X):
        """Predict the label of each row: the weighted median of the learners.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        y : float array of shape (n_rows,)
        """
        return weighted_median(self._ask_learners(X), self._boosted.weights)

    def staged_predict(self, X):
        """Yield ``predict`` after each learner.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Yields
        ------
        y : float array of shape (n_rows,)
        """
        predictions = self._ask_learners(X)
        for n in range(1, len(self._boosted.weights) + 1):
            yield weighted_median(predictions[:, :n], self._boosted.weights[:n])

    def staged_score(self, X, y, sample_weight=None):
        """Yield R² after each learner.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        y : array-like of shape (n_rows,)
            Their labels.

        sample_weight : array-like of shape (n_rows,), default=None
            Their weights.

        Yields
        ------
        r2 : float
        """
        for predicted in self.staged_predict(X):
            yield r2_score(y, predicted, sample_weight=sample_weight)

    def _ask_learners(self, X):
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        return _predict_all(self._boosted, X)

    def _draw_seeds(self):
        """Return the seed of the learners, which may be None, and that of the folds."""
        seed, fold_seed = check_random_state(self.random_state).randint(MAX_SEED, size=2)
        return None if self.random_state is None else seed, fold_seed

    def _wrapped(self):
        return Ridge() if self.estimator is None else self.estimator

    def _check_parameters(self):
        estimator = self._wrapped()
        check_base_estimator(estimator, is_regressor, "regressor", "Ridge()")
        check_count("n_estimators", self.n_estimators)
        check_count("n_steps", self.n_steps)
        check_number("learning_rate", self.learning_rate, low=0, low_open=True)
        check_option("loss", self.loss, tuple(LOSSES))
        if self.cv is not None:
            check_cv_parameter(self.cv)
        check_option("drop_source", self.drop_source, (True, False))
        return RegressionRules(
            estimator, self.n_estimators, self.n_steps, self.learning_rate, self.loss
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.categorical = wrapped.input_tags.categorical
        tags.input_tags.string = wrapped.input_tags.string
        return tags

    def __getstate__(self):
        state = super().__getstate__()
        if self.drop_source and "estimators_" in state:
            state = {**state, "source": drop_rows(self.source)}
        return state


def _stack_sources(sources, y_target):
    """Return rows, labels and weights of all sources together, or None."""
    if not sources:
        return None
    for source in sources:
        stack_labels(y_target, source.y)  # raises where one domain has text
    X = functools.reduce(stack_rows, [source.X for source in sources])
    y = np.concatenate([source.y.astype(np.float64) for source in sources])
    return X, y, np.concatenate([source_row_weights(source) for source in sources])


def _seeded(seed):
    return None if seed is None else np.random.RandomState(seed)


def _boost_at_step(X, y, weight, source, rules, seed, step):
    """Return the ensemble of one step, and the weights of the source at this step."""
    X_s, y_s, weight_s = source
    X_both, y_both = stack_rows(X, X_s), np.concatenate([y, y_s])
    *_, faded = fade_source(
        X_both, y_both, weight, weight_s, rules, _seeded(seed), n_steps=step + 1
    )
    if not faded.any():
        return boost_r2(X, y, weight, np.zeros(0), rules, _seeded(seed)), faded
    return boost_r2(X_both, y_both, weight, faded, rules, _seeded(seed)), faded


def _held_out_losses(X, y, weight, source, rules, seed, train, test):
    """Return the squared error of each held-out row at each step."""
    X_s, y_s, weight_s = source
    X_train, y_train, weight = take_rows(X, train), y[train], weight[train]
    X_both, y_both = stack_rows(X_train, X_s), np.concatenate([y_train, y_s])
    X_test, losses = take_rows(X, test), []
    for faded in fade_source(X_both, y_both, weight, weight_s, rules, _seeded(seed)):
        if faded.any():
            boosted = boost_r2(X_both, y_both, weight, faded, rules, _seeded(seed))
        else:
            boosted = boost_r2(X_train, y_train, weight, np.zeros(0), rules, _seeded(seed))
        predicted = weighted_median(_predict_all(boosted, X_test), boosted.weights)
        losses.append((predicted - y[test]) ** 2)
    return np.array(losses)


def _predict_all(boosted, X):
    """Return the predictions of each learner, one a column."""
    return np.column_stack([learner.predict(X) for learner in boosted.estimators])
