"""The contract of the scores of transferability."""

from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from sktransfer.evaluation._targets import read_targets

__all__ = ["TransferabilityMethod"]


class TransferabilityMethod(ABC, BaseEstimator):
    """How well features of a backbone tell the labels of a target, without training a network.

    Every method keeps this contract: a larger score is better; it is a finite float; it depends
    neither on the order of the rows nor on the names of the classes, and, if it takes features,
    not on one factor on all of them; nothing is random. A method derives from this class and
    computes `_score` from checked rows; one that takes what the source's head says, in place of
    features, sets ``takes = "proba"``, and one that is for classes only ``takes_numbers = False``.
    """

    # "features", or "proba": the probabilities that the source's head gives.
    takes = "features"
    # Whether y may hold numbers in place of classes.
    takes_numbers = True

    def score(self, F, y, *, task="auto"):
        """Return the score of the rows.

        Parameters
        ----------
        F : array-like of shape (n, d)
            Features, or probabilities of the classes of the source, see ``takes``.
        y : array-like of shape (n,), or (n, n_outputs) for numbers
        task : {"auto", "classification", "regression"}, default="auto"

        Returns
        -------
        score : float
        """
        return self._score(*self._check(F, y, task))

    @abstractmethod
    def _score(self, F, targets):
        """Compute the score.

        Parameters
        ----------
        F : float64 ndarray of shape (n, d)
        targets : Targets
        """

    def _check_parameters(self):
        """Raise for parameters of the constructor that make no sense."""

    def _check(self, F, y, task):
        self._check_parameters()
        if np.ndim(F) > 2:
            raise ValueError(
                f"Got F of shape {np.shape(F)}, but expected one vector per row; pool the "
                "activations first, as FeatureTransferTransformer does."
            )
        F = check_array(F, dtype=np.float64, order="C", ensure_min_samples=2, input_name="F")
        check_consistent_length(F, y)
        targets = read_targets(y, task)
        if not (targets.are_classes or self.takes_numbers):
            raise ValueError(
                f"Got y with numbers, but {type(self).__name__} is for classes; expected another "
                "method, or task='classification' if the numbers stand for classes."
            )
        return F, targets
