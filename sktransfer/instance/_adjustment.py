"""Probabilities that can be averaged: equally sure, and of classes as frequent as in the target."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import softmax

__all__ = ["Adjustment", "fit_adjustments", "log_loss"]

# How far the size of logits is drawn to one, and the bias of a class to none: as much as this many
# rows.
ROWS_OF_SIZE = 10.0
ROWS_OF_BIAS = 5.0
# Added to probabilities, of which trees give zeros.
FLOOR = 1e-3
SMOOTHING = 0.02  # of probabilities: no row may say more than log(50) against a classifier
LEAST_SIZE = 0.01  # of logits: what is smaller is rounding, not knowledge
LOG_SIZES = (-3, 3)  # between next to no knowledge and no doubt


class Adjustment(NamedTuple):
    """A line on which the logits of a classifier are moved, with an own start for each class.

    Parameters
    ----------
    slope : float > 0
        Its reciprocal is the temperature.
    biases : array of shape (n_classes,)
    """

    slope: float
    biases: np.ndarray

    def apply(self, probabilities):
        """Return adjusted probabilities."""
        return softmax(self.slope * _to_logits(probabilities) + self.biases, axis=1)

    def take(self, columns):
        """Return the adjustment of some of the classes."""
        return self._replace(biases=self.biases[columns])


def fit_adjustments(outputs, codes, sample_weight, size=None):
    """Return the adjustments with which classifiers can be averaged.

    All are made equally sure of themselves, in the mean over rows: as sure as the best of them may
    be. How sure each one was says little: where much of the source is wrong, what is learned from
    it is right but timid, and what a few rows teach is bold. With a temperature for each, a
    classifier that is wrong would only become unsure; so it stays wrong, and its loss says so.
    Biases undo the class frequencies of the source.

    Parameters
    ----------
    outputs : dict of str to array of shape (n_rows, n_classes)
        Probabilities that each classifier gave to held-out rows.
    codes : int array of shape (n_rows,)
        Columns of the true classes.
    sample_weight : array of shape (n_rows,)
    size : float or None
        Of the logits of others, to which these are to be comparable.

    Returns
    -------
    adjustments : dict of str to Adjustment
    size : float
    """
    logits = {name: _to_logits(probabilities) for name, probabilities in outputs.items()}
    sizes = {name: max(np.sqrt(np.mean(z**2)), LEAST_SIZE) for name, z in logits.items()}
    if size is None:
        size = _find_size([z / sizes[name] for name, z in logits.items()], codes, sample_weight)
    slopes = {name: size / own for name, own in sizes.items()}
    adjustments = {
        name: Adjustment(slopes[name], _fit_biases(slopes[name] * z, codes, sample_weight))
        for name, z in logits.items()
    }
    return adjustments, size


def log_loss(probabilities, codes):
    """Return the log loss of each row, of slightly smoothed probabilities."""
    smooth = (1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1]
    return -np.log(smooth[np.arange(len(codes)), codes])


def _to_logits(probabilities):
    floored = (1 - FLOOR) * probabilities + FLOOR / probabilities.shape[1]
    logits = np.log(floored)
    return logits - logits.mean(axis=1, keepdims=True)


def _find_size(unit_logits, codes, sample_weight):
    """Return the size of logits that is best for the best classifier."""

    def cost(log_size, logits):
        losses = log_loss(softmax(np.exp(log_size) * logits, axis=1), codes)
        return losses @ sample_weight + 0.5 * ROWS_OF_SIZE * log_size**2

    found = (
        minimize_scalar(cost, args=(logits,), bounds=LOG_SIZES, method="bounded")
        for logits in unit_logits
    )
    return float(np.exp(min(found, key=lambda result: result.fun).x))


def _fit_biases(logits, codes, sample_weight):
    """Return what to add for each class so that the loss is lowest, drawn to nothing."""
    rows = np.arange(len(codes))

    def cost(biases):
        probabilities = softmax(logits + biases, axis=1)
        losses = log_loss(probabilities, codes)
        # What smoothing leaves of the gradient of the plain log loss.
        left = sample_weight * (1 - SMOOTHING) * probabilities[rows, codes] * np.exp(losses)
        residuals = probabilities * left[:, None]
        residuals[rows, codes] -= left
        gradient = residuals.sum(axis=0) + ROWS_OF_BIAS * biases
        return losses @ sample_weight + 0.5 * ROWS_OF_BIAS * biases @ biases, gradient

    return minimize(cost, np.zeros(logits.shape[1]), jac=True, method="L-BFGS-B").x
