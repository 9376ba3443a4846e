"""What the estimators that boost with source rows check, keep and answer."""

import warnings

from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sktransfer.domain import check_domains
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.instance._boosting import LARGEST_RATE, MAX_SEED, target_rows
from sktransfer.instance._meta_estimator import BaseSourceMetaEstimator
from sktransfer.instance._source import check_rows, check_source, check_target, threads_for
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["BaseTrAdaBoost"]


class BaseTrAdaBoost(BaseSourceMetaEstimator):
    """Check the target and the source, boost, and ask the learners.

    A subclass says what is predicted, in the attributes and methods named below.

    Attributes
    ----------
    _estimator_type_name, _default_estimator, _is_right_type
        As `BaseSourceMetaEstimator` has them.
    _score : function of labels, predictions and ``sample_weight``
        What ``score`` computes.
    _check_labels, _learn : methods
        What target labels are as they are learned; and the fit to target rows and sources.
    """

    def __init__(
        self,
        estimator=None,
        *,
        source=None,
        n_estimators=10,
        learning_rate=1.0,
        cv=5,
        drop_source=False,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.source = source
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
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
            Weights of the target rows at the start, of which 1 is one row; they sum to 1e-12 to
            1e50. Rows of weight 0 are left out.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        X, y = check_target(self, X, y)
        y = self._check_labels(y)
        sources = check_source(self.source, stacklevel=3)
        for source in sources:
            check_domains(X, source)
        target = target_rows(X, y, sample_weight)
        with threads_for(X, sources):
            self._learn(target, sources)
        return self

    def _check_parameters(self):
        self._check_estimator()
        check_count("n_estimators", self.n_estimators)
        check_number("learning_rate", self.learning_rate, low=0, high=LARGEST_RATE, low_open=True)
        check_option("drop_source", self.drop_source, (True, False))

    def _draw_seeds(self):
        """Return the seed of the learners, which may be None, and that of the folds."""
        seed, fold_seed = check_random_state(self.random_state).randint(MAX_SEED, size=2)
        return None if self.random_state is None else seed, fold_seed

    def _use(self, ensemble, errors):
        """Predict with an ensemble from now on, and show its learners."""
        # As it was in fit, whatever becomes of the parameters.
        self._ensemble = ensemble
        self.estimators_ = ensemble.estimators
        self.estimator_weights_ = ensemble.weights
        self.estimator_errors_ = errors

    def _warn_of_negative_transfer(self, losses, gain):
        """Warn at the line that called ``fit``, from a method that ``_learn`` calls."""
        warnings.warn(
            f"Transfer loses: the held-out {losses} (gain of transfer {gain}). The source is left "
            "out; try another source, or none.",
            NegativeTransferWarning,
            stacklevel=6,
        )

    def _check_asked_rows(self, X):
        check_is_fitted(self)
        return check_rows(self, X, reset=False)

    def predict(self, X):
        """Predict the label of each row: what the vote, or the median, of the learners is.

        Parameters
        ----------
        X : array or DataFrame
            Rows as in ``fit``.

        Returns
        -------
        y : array of shape (n_rows,)
        """
        X = self._check_asked_rows(X)
        return self._ensemble.predict(X)

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
        X = self._check_asked_rows(X)
        yield from self._ensemble.staged_predict(X)

    def staged_score(self, X, y, sample_weight=None):
        """Yield ``score`` after each learner.

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
        score : float
            The accuracy, or R² where labels are numbers.
        """
        for predicted in self.staged_predict(X):
            yield self._score(y, predicted, sample_weight=sample_weight)
