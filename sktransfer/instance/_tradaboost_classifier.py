"""A classifier that is boosted on the target with the help of source rows."""

import warnings

import numpy as np
from joblib import Parallel, delayed
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
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
from sktransfer.instance._tradaboost import Rules, boost, final_votes, staged_votes
from sktransfer.utils._gain import compare_losses
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["TrAdaBoostClassifier"]

MOST_COEFFICIENTS = 500  # of a logistic regression that is fitted by Newton's method
LEAST_PROBABILITY = 1e-3  # so that one confident mistake does not decide a comparison
# The ways to learn that the guard compares, and what each is called afterwards.
STRATEGIES = {
    "transfer": "transfer",
    "pooled": "pooled",
    "target_only": "target_only",
    "boosted_target": "target_only",
}
# Log likelihood, in nats, that each has in advance of what held-out rows say. A few of these are
# easily predicted better by chance: one learner for the target alone needs no reason.
LEADS = {"transfer": 0.0, "pooled": 0.0, "target_only": 0.5, "boosted_target": -0.5}
TEMPERATURES = np.geomspace(0.25, 64, 33)


class TrAdaBoostClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    r"""Boost a classifier on the target, with the help of source rows that fit to it.

    TrAdaBoost [1]_ turns AdaBoost around for the source: target rows that a learner predicts
    wrongly gain weight, source rows that it predicts wrongly lose weight, since they seem to
    follow another rule. ``fit`` takes the target; the source comes with the constructor and is
    whole in every fold of a cross-validation.

    Parameters
    ----------
    estimator : classifier whose ``fit`` takes ``sample_weight``, or None, default=None
        What is boosted; a Pipeline passes the weights to each step that takes them. None stands
        for a ``LogisticRegression``, fitted by Newton's method where there are few columns. Take
        a weak learner: one that predicts all target rows correctly, such as a deep tree, leaves
        nothing to learn from. For a classifier that takes no weights, use
        :class:`InstanceWeightingSampler`.

    source : SourceDomain, list of SourceDomain or None, default=None
        Source rows with labels. With several sources, each round fits one learner for each, on
        that source and the target, and keeps the one that errs least on the target [3]_.
        Without a source, there is a warning, and the target alone is boosted (SAMME [4]_).

    n_estimators : int, default=10
        Number of rounds. There are fewer learners where boosting stops early, or where learners
        were discarded.

    learning_rate : float > 0, default=1.0
        Factor on how fast rows gain and lose weight.

    target_weight : float in (0, 1) or None, default=0.5
        Share of the target in the total weight at the start, with each of several sources. None
        starts with equal weights for all rows, as the paper has it; then few target rows among
        many source rows are hardly heard, and boosting stays where the source is.

    dynamic : bool, default=True
        Whether source rows keep pace with the target [2]_. Without it, source rows lose their
        share of the weight even when they are right, because the target gains.

    voting : {"auto", "soft", "hard"}, default="auto"
        What errors and votes are made of: probabilities ("soft"), or predicted classes
        ("hard", the paper). "auto" takes probabilities where the estimator has them. With
        classes, a learner often makes no error at all on a few target rows.

    voters : {"all", "last_half"}, default="all"
        Which learners vote: all, or the last half of them, as the paper has it. Without a
        source, all.

    fallback : {"target_only"} or None, default="target_only"
        The guard. "target_only": what predicts held-out target rows best is kept, boosting with
        the source, one learner for all rows of both domains ("pooled"), or the target alone, as
        one learner or boosted. Without the source, the classes that the target lacks are left
        out too; where it loses clearly, there is a :class:`NegativeTransferWarning`. None:
        transfer, whatever comes of it; one ensemble.

    cv : int >= 2, cross-validation splitter or iterable, default=5
        How the guard holds out target rows: the number of stratified folds, at most one a row,
        or a splitter. Up to 60 rows, folds are dealt out three times, since one split of few rows
        is a matter of luck. For each fold there are at most ``n_estimators + 1`` fits with the
        rows of the source and as many without: 330 fits by default up to 60 rows, 110 above. With
        several sources, each round with them takes one fit for each.

    drop_source : bool, default=False
        Whether pickles and copies of the fitted classifier leave the source rows out. They
        predict, and cannot be fitted again.

    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, as in joblib.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the learners. With None, learners keep their own seeds.

    Attributes
    ----------
    estimators_ : list of classifiers
        The learners, in the order of their rounds.

    estimator_weights_ : float64 array of shape (n_learners,)
        Weight of each learner in the vote.

    estimator_errors_ : float64 array of shape (n_learners,)
        Weighted error of each learner on the target, in [0, 1].

    classes_ : array of shape (n_classes,)
        What ``predict`` can return: the classes of the target and those of the sources.

    n_classes_ : int
        Their number.

    source_weights_ : float64 array of shape (n_source,), or a list of arrays
        Weights of the source rows after the last round, with a mean of 1; a list for a list of
        sources. An array without rows where there is no source. With another ``strategy_`` than
        "transfer", they are those of the ensemble that was not used.

    source_share_ : float, or array of shape (n_sources,)
        Share of the source in the total weight after the last round.

    effective_sample_size_ : float, or array of shape (n_sources,)
        Number of equally weighted source rows that would vary as little.

    strategy_ : {"transfer", "pooled", "target_only"}
        What predicts: an ensemble that was boosted with the source, one learner that was fitted
        to the rows of both domains, or one learner or an ensemble without the source.

    oof_loss_ : dict of str to float
        Held-out log loss of each strategy, calibrated by a temperature. Of one learner for the
        target and boosting it, "target_only" is the better one; the guard gives one learner a
        start of 0.5 over transfer and of 1 over boosting, in the sum of the losses of all rows.
        Empty without the guard: with ``fallback=None``, without a source, with one class in the
        target, or where no class has two rows.

    transfer_gain_ : dict of str to (mean, standard_error)
        By how much that loss is lower for "transfer" than for "target_only" and for "pooled",
        paired over rows; empty without the guard.

    n_features_in_, feature_names_in_, input_shape_
        Columns, their names where there are names, and the shape of one row in ``fit``.

    See Also
    --------
    InstanceTransferClassifier : One fit on target rows and weighted source rows.
    TrAdaBoostRegressor : The same for numbers.

    Notes
    -----
    With errors :math:`e` in [0, 1], :math:`K` classes and :math:`\varepsilon` the weighted mean
    error on the target, a learner votes with
    :math:`\alpha = \log\frac{1-\varepsilon}{\varepsilon} + \log(K-1)`; target rows are
    multiplied by :math:`\exp(\alpha e)`, source rows by
    :math:`\exp(-\alpha_s e)` with :math:`\alpha_s = \log(1 + \sqrt{2 \ln n_{source} / N})`, and
    with ``dynamic`` also by the growth of the target, which is
    :math:`2 (1 - \varepsilon)` for two classes and errors of 0 and 1.

    :math:`\varepsilon` counts as at least half an error among the target rows. A learner that is
    no better than chance on the target (:math:`\varepsilon \ge 1 - 1/K`) is discarded, and the
    weight of the source halved; without a source, boosting ends there. It also ends when no row
    is predicted wrongly.

    References
    ----------
    .. [1] Dai, Yang, Xue and Yu, "Boosting for transfer learning", ICML 2007.
    .. [2] Al-Stouhi and Reddy, "Adaptive boosting for transfer learning using dynamic updates",
       ECML PKDD 2011.
    .. [3] Yao and Doretto, "Boosting for transfer learning with multiple sources", CVPR 2010.
    .. [4] Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", Statistics and Its Interface,
       2009.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.domain import SourceDomain
    >>> from sktransfer.instance import TrAdaBoostClassifier
    >>> domains = make_covariate_shift(500, 40, random_state=0)
    >>> source = SourceDomain(domains.X_source, domains.y_source)
    >>> classifier = TrAdaBoostClassifier(source=source, random_state=0)
    >>> classifier.fit(domains.X_target, domains.y_target).strategy_
    'pooled'
    """

    def __init__(
        self,
        estimator=None,
        *,
        source=None,
        n_estimators=10,
        learning_rate=1.0,
        target_weight=0.5,
        dynamic=True,
        voting="auto",
        voters="all",
        fallback="target_only",
        cv=5,
        drop_source=False,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.source = source
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.target_weight = target_weight
        self.dynamic = dynamic
        self.voting = voting
        self.voters = voters
        self.fallback = fallback
        self.cv = cv
        self.drop_source = drop_source
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Boost on target rows and the rows of the source.

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
        self : TrAdaBoostClassifier
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        X, y = check_target(self, X, y)
        check_classification_targets(y)
        sources = check_source(self.source, stacklevel=3)
        for source in sources:
            check_domains(X, source)
        X, y, weight = rows_that_count(X, y, sample_weight)
        self.classes_ = _find_classes(y, sources)
        self.n_classes_ = len(self.classes_)
        rules = self._make_rules(self.n_features_in_ * self.n_classes_)
        with threads_for(X, sources):
            self._boost_and_compare(X, y, weight, sources, rules)
        return self

    def _boost_and_compare(self, X, y, weight, sources, rules):
        sources = [(source.X, source.y, source_row_weights(source)) for source in sources]
        seed, fold_seed = self._draw_seeds()
        transfer = self._boost(X, y, weight, sources, rules, seed)
        self._describe_source(transfer)
        self.strategy_, chosen = "transfer" if sources else "target_only", transfer
        self.oof_loss_, self.transfer_gain_ = {}, {}
        # Of one class alone, a constant would win.
        if sources and self.fallback is not None and (y != y[0]).any():
            way = self._compare(X, y, weight, sources, rules, seed, fold_seed)
            self.strategy_ = STRATEGIES[way]
            if way != "transfer":
                chosen = self._follow(way, X, y, weight, sources, rules, seed)
        # What predicting needs, as it was in fit, whatever becomes of the parameters.
        self._boosted = chosen._replace(source_weights=None, target_weights=None)
        self._soft = rules.soft
        self._first_voter = self._choose_voters(self.strategy_ == "transfer")
        self.estimators_ = chosen.estimators
        self.estimator_weights_ = chosen.weights
        self.estimator_errors_ = chosen.errors

    def _boost(self, X, y, weight, sources, rules, seed):
        random_state = None if seed is None else np.random.RandomState(seed)
        return boost(X, y, weight, sources, self.classes_, rules, random_state)

    def _follow(self, way, X, y, weight, sources, rules, seed):
        """Return the ensemble, or the one learner, of a way to learn."""
        if way == "pooled":
            sources = [_pool(sources, weight.mean())]
        elif way != "transfer":
            sources = []
        if way in ("pooled", "target_only"):
            # One round, which starts with the weights that the rows have.
            rules = rules._replace(n_estimators=1, target_weight=None)
        return self._boost(X, y, weight, sources, rules, seed)

    def _describe_source(self, boosted):
        """Set the attributes that say what became of the source."""
        masses = np.array([weights.sum() for weights in boosted.source_weights])
        weights = [to_mean_of_one(weights) for weights in boosted.source_weights]
        shares = masses / (masses + boosted.target_weights.sum())
        sizes = np.array([effective_sample_size(one) if one.any() else 0.0 for one in weights])
        if isinstance(self.source, (list, tuple)):
            self.source_weights_, self.source_share_ = weights, shares
            self.effective_sample_size_ = sizes
        else:
            self.source_weights_ = weights[0] if weights else np.zeros(0)
            self.source_share_ = float(shares.sum())
            self.effective_sample_size_ = float(sizes.sum())

    def _compare(self, X, y, weight, sources, rules, seed, fold_seed):
        """Return the way that predicts held-out rows best, and say what transfer gains."""
        folds = split_target(self.cv, X, y, fold_seed, stratify=True)
        if not folds:
            return "transfer"
        outputs = Parallel(n_jobs=self.n_jobs)(
            delayed(self._predict_held_out)(name, X, y, weight, sources, rules, seed, *fold)
            for name in LEADS
            for fold in folds
        )
        rows = np.concatenate([test for _, test in folds])
        labels = np.searchsorted(self.classes_, y)
        held_out = np.unique(rows)
        weights = weight[held_out] / weight[held_out].mean()
        losses = {}
        for k, name in enumerate(LEADS):
            shares = np.concatenate(outputs[k * len(folds) : (k + 1) * len(folds)])
            losses[name] = _calibrated_losses(shares, labels, rows, weight)
        scores = {name: LEADS[name] - loss @ weights for name, loss in losses.items()}
        alone = max(("target_only", "boosted_target"), key=scores.get)
        losses = {
            "transfer": losses["transfer"],
            "pooled": losses["pooled"],
            "target_only": losses[alone],
        }
        self.oof_loss_ = {name: float(np.mean(loss * weights)) for name, loss in losses.items()}
        self.transfer_gain_ = {
            name: compare_losses(losses["transfer"], losses[name], weights)
            for name in ("target_only", "pooled")
        }
        best = max(scores, key=scores.get)
        with_source = min(("transfer", "pooled"), key=self.oof_loss_.get)
        gain = compare_losses(losses[with_source], losses["target_only"], weights)
        if STRATEGIES[best] == "target_only" and loses_clearly(gain):
            self._warn_of_negative_transfer(with_source, gain)
        return best

    def _predict_held_out(self, way, X, y, weight, sources, rules, seed, train, test):
        ensemble = self._follow(
            way, take_rows(X, train), y[train], weight[train], sources, rules, seed
        )
        first_voter = self._choose_voters(way == "transfer")
        return final_votes(ensemble, take_rows(X, test), self.classes_, rules.soft, first_voter)

    def _warn_of_negative_transfer(self, with_source, gain):
        warnings.warn(
            "Transfer loses: the held-out log loss is "
            f"{self.oof_loss_[with_source]:.3f} with the source, and "
            f"{self.oof_loss_['target_only']:.3f} for the target alone (gain of transfer "
            f"{gain}). The source is left out; try another source, or none.",
            NegativeTransferWarning,
            stacklevel=6,
        )

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
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]

    def predict_proba(self, X):
        """Predict the share of the vote of each class, in the order of ``classes_``.

        With ``voting="soft"`` it is the weighted mean of the probabilities of the learners.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        probabilities : float64 array of shape (n_rows, n_classes)
        """
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        return final_votes(*self._vote_arguments(X))

    def predict_log_proba(self, X):
        """Predict the logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        log_probabilities : float64 array of shape (n_rows, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Compute by how much the votes are in favour of each class.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        scores : float64 array of shape (n_rows,) or (n_rows, n_classes)
            For two classes, the share of the vote of the second class less that of the first;
            otherwise the shares.
        """
        return _decide(self.predict_proba(X))

    def staged_predict_proba(self, X):
        """Yield ``predict_proba`` after each learner.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Yields
        ------
        probabilities : float64 array of shape (n_rows, n_classes)
        """
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        yield from staged_votes(*self._vote_arguments(X))

    def staged_predict(self, X):
        """Yield ``predict`` after each learner.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Yields
        ------
        y : array of shape (n_rows,)
        """
        for shares in self.staged_predict_proba(X):
            yield self.classes_[shares.argmax(axis=1)]

    def staged_decision_function(self, X):
        """Yield ``decision_function`` after each learner.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Yields
        ------
        scores : float64 array of shape (n_rows,) or (n_rows, n_classes)
        """
        for shares in self.staged_predict_proba(X):
            yield _decide(shares)

    def staged_score(self, X, y, sample_weight=None):
        """Yield the accuracy after each learner.

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
        accuracy : float
        """
        for predicted in self.staged_predict(X):
            yield accuracy_score(y, predicted, sample_weight=sample_weight)

    def _vote_arguments(self, X):
        return self._boosted, X, self.classes_, self._soft, self._first_voter

    def _choose_voters(self, uses_source):
        return _last_half if self.voters == "last_half" and uses_source else _all

    def _draw_seeds(self):
        """Return the seed of the learners, which may be None, and that of the folds."""
        seed, fold_seed = check_random_state(self.random_state).randint(MAX_SEED, size=2)
        return None if self.random_state is None else seed, fold_seed

    def _wrapped(self, n_coefficients=1):
        if self.estimator is not None:
            return self.estimator
        # Newton's steps need no scaled columns and end close to the optimum, so that rounds do
        # not add up what is missing; their memory is quadratic.
        solver = "newton-cholesky" if n_coefficients <= MOST_COEFFICIENTS else "lbfgs"
        return LogisticRegression(solver=solver, max_iter=1000)

    def _check_parameters(self):
        estimator = self._wrapped()
        check_base_estimator(estimator, is_classifier, "classifier", "LogisticRegression()")
        check_count("n_estimators", self.n_estimators)
        check_number("learning_rate", self.learning_rate, low=0, low_open=True)
        if self.target_weight is not None:
            check_number("target_weight", self.target_weight, low=0, high=1, low_open=True)
            if self.target_weight == 1:
                raise ValueError(
                    "Got target_weight=1, but expected less than 1, so that the source has a "
                    "share; pass source=None to leave it out."
                )
        check_option("dynamic", self.dynamic, (True, False))
        check_option("voting", self.voting, ("auto", "soft", "hard"))
        check_option("voters", self.voters, ("all", "last_half"))
        if self.fallback is not None:
            check_option("fallback", self.fallback, ("target_only",))
        check_cv_parameter(self.cv)
        check_option("drop_source", self.drop_source, (True, False))

    def _make_rules(self, n_coefficients):
        estimator = self._wrapped(n_coefficients)
        return Rules(
            estimator,
            self.n_estimators,
            self.learning_rate,
            self.target_weight,
            self.dynamic,
            self._resolve_voting(estimator),
        )

    def _resolve_voting(self, estimator):
        has_probabilities = hasattr(estimator, "predict_proba")
        if self.voting == "soft" and not has_probabilities:
            raise ValueError(
                f"Got voting='soft' with estimator={type(estimator).__name__}(...), which has no "
                'predict_proba, but expected one that has; pass voting="hard".'
            )
        return has_probabilities and self.voting != "hard"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.categorical = wrapped.input_tags.categorical
        tags.input_tags.string = wrapped.input_tags.string
        if wrapped.classifier_tags is not None:
            tags.classifier_tags.multi_class = wrapped.classifier_tags.multi_class
        return tags

    def __getstate__(self):
        state = super().__getstate__()
        if self.drop_source and "estimators_" in state:
            state = {**state, "source": drop_rows(self.source)}
        return state


def _find_classes(y, sources):
    for source in sources:
        check_classification_targets(source.y)
        y = stack_labels(y, source.y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"Got one class, {classes[0]!r}, but expected at least two classes in the target and "
            "the source together."
        )
    return classes


def _pool(sources, mean_weight):
    """Stack sources; a row of them weighs as much as a target row, in the mean of each source."""
    X, y, weights = sources[0]
    for X_source, y_source, more in sources[1:]:
        X, y = stack_rows(X, X_source), stack_labels(y, y_source)
        weights = np.concatenate([weights, more])
    return X, y, weights * mean_weight


def _calibrated_losses(shares, labels, rows, weight):
    """Return the log loss of each held-out row at the temperature that is best for them all.

    A single learner, of which boosting a few target rows often consists, is far more confident
    than an average of many; as they are, only this would be compared. A row that was held out
    several times has the mean of its losses.
    """
    counts = np.bincount(rows, minlength=len(labels))
    logits = np.log(np.maximum(shares, LEAST_PROBABILITY))
    candidates = []
    for temperature in TEMPERATURES:
        scaled = logits / temperature
        log_proba = scaled - logsumexp(scaled, axis=1, keepdims=True)
        candidates.append(-log_proba[np.arange(len(rows)), labels[rows]])
    losses = min(candidates, key=lambda losses: losses @ (weight / np.maximum(counts, 1))[rows])
    held_out = counts > 0
    sums = np.bincount(rows, weights=losses, minlength=len(labels))
    return sums[held_out] / counts[held_out]


def _all(n_learners):
    """Return the position of the first learner that votes."""
    return 0


def _last_half(n_learners):
    """Return the position of the first learner that votes: ceil(n / 2), counted from 1."""
    return -(-n_learners // 2) - 1


def _decide(shares):
    return shares[:, 1] - shares[:, 0] if shares.shape[1] == 2 else shares
