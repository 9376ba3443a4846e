"""Probabilities that are as sure of themselves as held-out rows allow."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

__all__ = ["apply_temperature", "fit_temperature"]

# How far a temperature is drawn to one: as much as this many rows.
PRIOR_ROWS = 10.0
# Added to probabilities, of which trees give zeros.
FLOOR = 1e-3


def apply_temperature(probabilities, temperature):
    """Return probabilities whose logarithms are divided by a temperature."""
    if temperature == 1:
        return probabilities
    floored = (1 - FLOOR) * probabilities + FLOOR / probabilities.shape[1]
    return softmax(np.log(floored) / temperature, axis=1)


def fit_temperature(probabilities, compute_loss):
    """Return the temperature of least loss, drawn to one where rows are few.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, has no such prior.

    Parameters
    ----------
    probabilities : array of shape (n_rows, n_classes)
    compute_loss : callable
        Takes probabilities and returns the sum of the losses of the rows.

    Returns
    -------
    temperature : float
    """

    def cost(log_temperature):
        calibrated = apply_temperature(probabilities, math.exp(log_temperature))
        return compute_loss(calibrated) + 0.5 * PRIOR_ROWS * log_temperature**2

    return math.exp(minimize_scalar(cost, bounds=(-2, 3), method="bounded").x)
