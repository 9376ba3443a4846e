"""Averages of the predictions of fitted estimators."""

import numpy as np
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from sktransfer.instance._held_out import align_columns

__all__ = ["AveragedClassifier", "AveragedRegressor"]


class _Averaged(BaseEstimator):
    """Fitted estimators and how much each counts, as weights that sum to one."""

    def __sklearn_is_fitted__(self):
        return True

    @property
    def named_estimators_(self):
        """The estimators by their names."""
        return dict(self.estimators)


class AveragedClassifier(ClassifierMixin, _Averaged):
    """Average the adjusted probabilities of fitted classifiers, whose classes may differ.

    Parameters
    ----------
    estimators : list of (str, fitted classifier)
    weights : list of float
    adjustments : list of Adjustment
        Of each, with a bias for each of the classes of all.
    """

    def __init__(self, estimators, weights, adjustments):
        self.estimators = estimators
        self.weights = weights
        self.adjustments = adjustments

    @property
    def classes_(self):
        """The classes of all of them."""
        return np.unique(np.concatenate([fitted.classes_ for _, fitted in self.estimators]))

    def predict(self, X):
        """Return the most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X):
        """Return the averaged probabilities."""
        classes, total = self.classes_, 0.0
        members = zip(self.estimators, self.weights, self.adjustments, strict=True)
        for (_, fitted), weight, adjustment in members:
            aligned = align_columns(fitted.predict_proba(X), fitted.classes_, classes)
            total = total + weight * adjustment.apply(aligned)
        return total

    def predict_log_proba(self, X):
        """Return the logarithms of the averaged probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Return the log odds of the second of two classes, or the log odds of each class."""
        probabilities = np.clip(self.predict_proba(X), 1e-15, 1 - 1e-15)
        scores = logit(probabilities)
        return scores[:, 1] if scores.shape[1] == 2 else scores


class AveragedRegressor(RegressorMixin, _Averaged):
    """Average the predictions of fitted regressors.

    Parameters
    ----------
    estimators : list of (str, fitted regressor)
    weights : list of float
    """

    def __init__(self, estimators, weights):
        self.estimators = estimators
        self.weights = weights

    def predict(self, X):
        """Return the averaged predictions."""
        return sum(
            weight * fitted.predict(X)
            for (_, fitted), weight in zip(self.estimators, self.weights, strict=True)
        )
