"""Averages in prediction space: how much each candidate counts, and how sure the average is."""

import dataclasses
import math

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from sktransfer.training._members import average_outputs
from sktransfer.utils._gain import compare_losses

# How far a temperature is drawn to one: as much as this many rows.
_TEMPERATURE_ROWS = 15.0


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out rows: what is known of them.

    Parameters
    ----------
    targets : tensor of shape (n, n_outputs), float64
    sample_weight : tensor of shape (n,), float64
        Of mean one.
    objective : Objective
    """

    targets: torch.Tensor
    sample_weight: torch.Tensor
    objective: object

    def losses(self, outputs):
        """Return the loss of each row."""
        return self.objective.losses(outputs, self.targets)

    def mean_loss(self, outputs):
        """Return the weighted mean loss."""
        return float((self.losses(outputs) * self.sample_weight).mean())

    def compare(self, outputs, others):
        """Return by how much the loss of the first is lower, and the standard error of that."""
        losses = self.losses(outputs), self.losses(others), self.sample_weight
        return compare_losses(*(values.numpy() for values in losses))


def fit_temperature(outputs, held_out):
    """Return the number that outputs are to be divided by, from held-out ones.

    It minimises their loss and is drawn to one where rows are few (Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017, has no such prior).
    """
    if not held_out.objective.has_temperature:
        return 1.0

    def cost(log_temperature):
        losses = held_out.losses(outputs / math.exp(log_temperature)) * held_out.sample_weight
        return float(losses.sum()) + 0.5 * _TEMPERATURE_ROWS * log_temperature**2

    return math.exp(minimize_scalar(cost, bounds=(-3, 3), method="bounded").x)


def fit_weights(outputs, prior, held_out):
    """Return the weights with which predictions are to be averaged.

    The mode of their posterior under a Dirichlet prior, a convex problem: at few rows the prior's
    average, at many the one of lowest held-out loss (stacking of predictive distributions, Yao et
    al., Bayesian Analysis 2018).

    Parameters
    ----------
    outputs : list of tensor of shape (n, n_outputs)
        Of each candidate, for the held-out rows.
    prior : sequence of float
        Pseudo-counts of rows for each candidate, > 0.
    held_out : HeldOut

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
        Sum to one.
    """
    if len(outputs) == 1:
        return np.ones(1)
    prior = torch.as_tensor(prior, dtype=torch.float64)
    objective = held_out.objective
    nats = objective.nats_per_loss(min(held_out.mean_loss(o) for o in outputs))

    def cost(scores):
        scores = torch.tensor(scores, requires_grad=True)
        log_weights = scores.log_softmax(0)
        average = average_outputs(outputs, log_weights.exp(), objective)
        losses = held_out.losses(average) * held_out.sample_weight
        value = nats * losses.sum() - prior @ log_weights
        value.backward()
        return value.item(), scores.grad.numpy()

    start = prior.log().numpy()
    scores = minimize(cost, start, method="L-BFGS-B", jac=True).x
    return torch.from_numpy(scores).softmax(0).numpy()
