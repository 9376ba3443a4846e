"""Scores that are how well each row is predicted from the others."""

from abc import abstractmethod

from sktransfer.evaluation._transferability_method import TransferabilityMethod
from sktransfer.utils._threads import few_threads


class LeaveOneOutProbe(TransferabilityMethod):
    """Base of probes: a simple model predicts each row from all others.

    For classes the score is the accuracy. For numbers it is R², one minus the squared error
    divided by that of the mean of the other rows, in the mean over columns: 0 is no better than
    no features, and it can be negative.
    """

    @abstractmethod
    def _predict(self, F, targets):
        """Return predictions of shape (n, n_columns), each row without its own label.

        For classes the largest is what is predicted.
        """

    def score_rows(self, F, y, *, task="auto"):
        """Return whether the class of each row is predicted; None for numbers.

        Parameters
        ----------
        F, y, task
            See `score`.

        Returns
        -------
        rows : ndarray of bool of shape (n,) or None
        """
        F, targets = self._check(F, y, task)
        return self._are_predicted(F, targets) if targets.are_classes else None

    def _score(self, F, targets):
        if targets.are_classes:
            return float(self._are_predicted(F, targets).mean())
        with few_threads(F.size):
            predictions = self._predict(F, targets)
        y, n = targets.columns, len(targets.columns)
        # The error of the mean of the other rows.
        baseline = (y - y.mean(axis=0)) * n / (n - 1)
        shares = ((y - predictions) ** 2).sum(axis=0) / (baseline**2).sum(axis=0)
        return float(1 - shares.mean())

    def _are_predicted(self, F, targets):
        with few_threads(F.size):
            return self._predict(F, targets).argmax(axis=1) == targets.codes
