"""What is predicted for held-out rows, how far off it is, and how much that tells.

One class a kind of prediction, all with the same methods: ``predict`` gives the outputs of a fitted
estimator, ``calibrate`` makes them as sure of themselves as they may be, ``losses`` is the loss of
each row, ``log_likelihood`` what these losses are worth as evidence, in nats. ``averages`` says
whether outputs of several estimators can be averaged.
"""

import dataclasses

import numpy as np

from sktransfer.instance._temperature import apply_temperature, fit_temperature

__all__ = ["Classes", "Numbers", "Probabilities"]

SMOOTHING = 0.02  # of probabilities: no row may say more than log(50) against a classifier


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

    def calibrate(self, outputs, y, sample_weight):
        """Return calibrated outputs and their temperature.

        Without it, one over-confident estimator outvotes the others in an average.
        """
        temperature = fit_temperature(outputs, lambda p: self.losses(p, y) @ sample_weight)
        return apply_temperature(outputs, temperature), temperature

    def losses(self, outputs, y):
        """Return the log loss of each row, of slightly smoothed probabilities."""
        smooth = (1 - SMOOTHING) * outputs + SMOOTHING / len(self.classes)
        return -np.log(smooth[np.arange(len(y)), np.searchsorted(self.classes, y)])

    def log_likelihood(self, losses, sample_weight):
        """Return the log likelihood of the rows."""
        return -float(losses @ sample_weight)


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

    def calibrate(self, outputs, y, sample_weight):
        """Return the outputs as they are."""
        return outputs, 1.0

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

    def calibrate(self, outputs, y, sample_weight):
        """Return the outputs as they are."""
        return outputs, 1.0

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
