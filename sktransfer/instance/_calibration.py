"""Scores of two domains, turned into log odds that mean what they say."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

__all__ = ["calibrate_log_odds", "fit_line", "log_loss"]


def calibrate_log_odds(log_odds, is_target):
    """Return the log odds on their line of `fit_line`."""
    slope, intercept = fit_line(log_odds, is_target)
    return slope * log_odds + intercept


def fit_line(log_odds, is_target):
    """Fit ``slope * log_odds + intercept`` to the domains, with a slope that is not negative.

    The penalty of ``slope ** 2`` stands against slopes that few rows suggest.
    """

    def penalized_loss(parameters):
        slope, intercept = parameters
        calibrated = slope * log_odds + intercept
        loss = np.logaddexp(0, calibrated).sum() - calibrated[is_target].sum() + slope**2
        residual = expit(calibrated) - is_target
        return loss, np.array([residual @ log_odds + 2 * slope, residual.sum()])

    start = (0.5, 0.5 * logit(is_target.mean()))
    bounds = [(0, None), (None, None)]
    return minimize(penalized_loss, start, jac=True, bounds=bounds).x


def log_loss(log_odds, is_target):
    """Return the mean negative log likelihood of the domains."""
    return float(np.logaddexp(0, np.where(is_target, -log_odds, log_odds)).mean())
