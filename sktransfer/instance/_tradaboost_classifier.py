"""A classifier that is boosted on the target with the help of source rows."""

import functools

import numpy as np
from sklearn.base import ClassifierMixin, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets

from sktransfer.domain import stack_labels
from sktransfer.instance._base import effective_sample_size
from sktransfer.instance._boosting import (
    check_cv_parameter,
    source_rows,
    split_target,
    to_mean_of_one,
)
from sktransfer.instance._source import find_classes
from sktransfer.instance._tradaboost import Rules, default_learner
from sktransfer.instance._tradaboost_base import BaseTrAdaBoost
from sktransfer.instance._tradaboost_guard import STRATEGIES, Task, compare, follow
from sktransfer.instance._votes import decide, votes_softly
from sktransfer.utils._validation import check_number, check_option

__all__ = ["TrAdaBoostClassifier"]


class TrAdaBoostClassifier(ClassifierMixin, BaseTrAdaBoost):
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

    learning_rate : float in (0, 10], default=1.0
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

    _estimator_type_name = "classifier"
    _is_right_type = staticmethod(is_classifier)
    _score = staticmethod(accuracy_score)

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
        self.target_weight = target_weight
        self.dynamic = dynamic
        self.voting = voting
        self.voters = voters
        self.fallback = fallback

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
        X = self._check_asked_rows(X)
        return self._ensemble.shares(X)

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
        return decide(self.predict_proba(X))

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
        X = self._check_asked_rows(X)
        yield from self._ensemble.staged_shares(X)

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
            yield decide(shares)

    @staticmethod
    def _default_estimator():
        return default_learner(n_coefficients=1)

    def _check_parameters(self):
        super()._check_parameters()
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

    @staticmethod
    def _check_labels(y):
        check_classification_targets(y)
        return y

    def _learn(self, target, sources):
        y = functools.reduce(stack_labels, [source.y for source in sources], target.y)
        self.classes_ = find_classes(y)
        self.n_classes_ = len(self.classes_)
        seed, fold_seed = self._draw_seeds()
        sources = [source_rows(source) for source in sources]
        task = Task(target, sources, self.classes_, self._make_rules(), seed)
        boosted = follow("transfer", task)
        self._describe_source(boosted)
        way = self._choose_way(task, fold_seed)
        if way != "transfer":
            boosted = follow(way, task)
        self.strategy_ = STRATEGIES[way] if sources else "target_only"
        self._use(boosted.voters, boosted.errors)

    def _choose_way(self, task, fold_seed):
        """Return the way to learn that held-out rows ask for, and set what they said."""
        self.oof_loss_, self.transfer_gain_ = {}, {}
        X, y, _ = task.target
        # Of one class alone, a constant would win.
        if not task.sources or self.fallback is None or (y == y[0]).all():
            return "transfer"
        folds = split_target(self.cv, X, y, fold_seed, stratify=True)
        if not folds:
            return "transfer"
        verdict = compare(task, folds, self.n_jobs)
        self.oof_loss_, self.transfer_gain_ = verdict.oof_loss, verdict.gains
        if verdict.loss_of_transfer:
            self._warn_of_negative_transfer(*verdict.loss_of_transfer)
        return verdict.way

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

    def _make_rules(self):
        estimator = self.estimator
        if estimator is None:
            estimator = default_learner(self.n_features_in_ * self.n_classes_)
        return Rules(
            estimator,
            self.n_estimators,
            self.learning_rate,
            self.target_weight,
            self.dynamic,
            votes_softly(self.voting, estimator),
            self.voters == "last_half",
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        if wrapped.classifier_tags is not None:
            tags.classifier_tags.multi_class = wrapped.classifier_tags.multi_class
        return tags
