"""What is predicted for held-out rows, how far off it is, and how much that tells.

One class a kind of prediction, all with the same methods: ``predict`` gives the outputs of a fitted
estimator, ``adjust`` fits those of several estimators to held-out rows, ``losses`` is the loss of
each row, ``log_likelihood`` what these losses are worth as evidence, in nats. ``averages`` says
whether outputs of several estimators can be averaged.
"""

import dataclasses

import numpy as np

from sktransfer.instance._adjustment import fit_adjustments, log_loss

__all__ = ["Classes", "Numbers", "Probabilities"]


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """Probabilities of classes, judged by their log loss.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Of both domains.
    """

    classes: np.ndarray
    averages = True
    loss_name = "log loss"

    def predict(self, estimator, X):
        """Return probabilities of shape (n, n_classes)."""
        return align_columns(estimator.predict_proba(X), estimator.classes_, self.classes)

    def adjust(self, outputs, y, sample_weight, size=None):
        """Return adjusted outputs by the names of estimators, the adjustments, and their size.

        Without it, one over-confident estimator outvotes the others in an average.
        """
        adjustments, size = fit_adjustments(outputs, self._encode(y), sample_weight, size)
        adjusted = {name: adjustments[name].apply(p) for name, p in outputs.items()}
        return adjusted, adjustments, size

    def losses(self, outputs, y):
        """Return the log loss of each row, of slightly smoothed probabilities."""
        return log_loss(outputs, self._encode(y))

    def log_likelihood(self, losses, sample_weight):
        """Return the log likelihood of the rows, in units in which that of a coin is log(2) a row.

        Losses grow with the number of classes, and so do their differences; what a few rows of each
        class say would decide. They are also unfair to the target alone there: a class that has
        three rows has two where one is held out.
        """
        return -float(losses @ sample_weight) * np.log(2) / np.log(max(2, len(self.classes)))

    def _encode(self, y):
        return np.searchsorted(self.classes, y)


@dataclasses.dataclass(frozen=True)
class Classes:
    """Classes without probabilities, judged by their error.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Of both domains.
    """

    classes: np.ndarray
    averages = False
    loss_name = "error"

    def predict(self, estimator, X):
        """Return the class of each row."""
        return estimator.predict(X)

    def adjust(self, outputs, y, sample_weight, size=None):
        """Return the outputs as they are."""
        return outputs, {}, None

    def losses(self, outputs, y):
        """Return 1 for each wrong row and 0 for each right one."""
        return (outputs != y).astype(np.float64)

    def log_likelihood(self, losses, sample_weight):
        """Return the log likelihood of errors that are made at random, as often as seen."""
        n = len(losses)
        rate = (losses @ sample_weight + 0.5) / (n + 1)
        return float(
            n * (rate * np.log(rate / max(1, len(self.classes) - 1)) + (1 - rate) * np.log1p(-rate))
        )


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers, judged by their squared error."""

    averages = True
    loss_name = "squared error"

    def predict(self, estimator, X):
        """Return the number of each row."""
        return np.asarray(estimator.predict(X), dtype=np.float64)

    def adjust(self, outputs, y, sample_weight, size=None):
        """Return the outputs as they are."""
        return outputs, {}, None

    def losses(self, outputs, y):
        """Return the squared error of each row."""
        return (outputs - y) ** 2

    def log_likelihood(self, losses, sample_weight):
        """Return the log likelihood of normal errors of the variance that was seen."""
        n = len(losses)
        variance = losses @ sample_weight / n
        return -0.5 * n * float(np.log(max(variance, np.finfo(np.float64).tiny)))


def align_columns(probabilities, classes, all_classes):
    """Return probabilities with a column for each of ``all_classes``, 0 for the absent ones."""
    if len(classes) == len(all_classes):
        return probabilities
    aligned = np.zeros((len(probabilities), len(all_classes)))
    aligned[:, np.searchsorted(all_classes, classes)] = probabilities
    return aligned
