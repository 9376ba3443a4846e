"""A regressor that is boosted on the target while the source fades."""

import numbers

import numpy as np
from sklearn.base import RegressorMixin, is_regressor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.utils.parallel import Parallel, delayed

from sktransfer.instance._base import effective_sample_size
from sktransfer.instance._boosting import (
    check_cv_parameter,
    loses_clearly,
    pool,
    seeded,
    source_rows,
    split_target,
    to_mean_of_one,
)
from sktransfer.instance._source import check_numbers
from sktransfer.instance._tradaboost_base import BaseTrAdaBoost
from sktransfer.instance._two_stage_r2 import (
    LOSSES,
    RegressionRules,
    boost_at_step,
    boost_r2,
    held_out_losses,
    target_shares,
)
from sktransfer.utils._gain import compare_losses
from sktransfer.utils._validation import check_count, check_option

__all__ = ["TrAdaBoostRegressor"]


class TrAdaBoostRegressor(RegressorMixin, BaseTrAdaBoost):
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

    learning_rate : float in (0, 10], default=1.0
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

    _estimator_type_name = "regressor"
    _default_estimator = staticmethod(Ridge)
    _is_right_type = staticmethod(is_regressor)
    _score = staticmethod(r2_score)

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
        super().__init__(
            estimator,
            source=source,
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            cv=cv,
            drop_source=drop_source,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.n_steps = n_steps
        self.loss = loss

    def _check_parameters(self):
        super()._check_parameters()
        check_count("n_steps", self.n_steps)
        check_option("loss", self.loss, tuple(LOSSES))
        if self.cv is not None:
            check_cv_parameter(self.cv)

    @staticmethod
    def _check_labels(y, name="y"):
        if y.dtype.kind == "O" and all(isinstance(label, numbers.Real) for label in y):
            y = y.astype(np.float64)
        check_numbers(y, "TrAdaBoostClassifier", name)
        return y.astype(np.float64, copy=False)

    def _learn(self, target, sources):
        rules = RegressionRules(
            self._wrapped(), self.n_estimators, self.n_steps, self.learning_rate, self.loss
        )
        source = self._pool(sources)
        seed, fold_seed = self._draw_seeds()
        self.cv_errors_, self.transfer_gain_ = None, {}
        if source is None:
            self.step_, self.target_shares_, faded = 0, np.ones(1), np.zeros(0)
            boosted = boost_r2(*target, faded, rules, seeded(seed))
        else:
            masses = target.weights.sum(), source.weights.sum()
            self.target_shares_ = target_shares(*masses, self.n_steps)
            self.step_ = self._choose_step(target, source, rules, seed, fold_seed)
            boosted, faded = boost_at_step(target, source, rules, seed, self.step_)
        self._describe_source(faded, target.weights, [len(one.y) for one in sources])
        self._use(boosted, boosted.errors)

    def _choose_step(self, target, source, rules, seed, fold_seed):
        if self.n_steps == 1:
            return 0
        if self.cv is None or len(target.y) < 2:
            return int(np.abs(self.target_shares_ - 0.5).argmin())
        folds = split_target(self.cv, target.X, target.y, fold_seed, stratify=False)
        losses = Parallel(n_jobs=self.n_jobs)(
            delayed(held_out_losses)(target, source, rules, seed, *fold) for fold in folds
        )
        losses = np.concatenate(losses, axis=1)
        weights = np.concatenate([target.weights[test] for _, test in folds])
        weights = weights / weights.mean()
        self.cv_errors_ = np.mean(losses * weights, axis=1)
        best_transfer = losses[self.cv_errors_[:-1].argmin()]
        gain = compare_losses(best_transfer, losses[-1], weights)
        self.transfer_gain_ = {"target_only": gain}
        if loses_clearly(gain):
            self._warn_of_negative_transfer(
                f"squared error is {self.cv_errors_[:-1].min():.4g} at best with the source, and "
                f"{self.cv_errors_[-1]:.4g} for boosting the target alone",
                gain,
            )
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

    def _pool(self, sources):
        """Return the rows of all sources together, or None."""
        rows = [
            source_rows(source)._replace(y=self._check_labels(source.y, "source y"))
            for source in sources
        ]
        return pool(rows) if rows else None
