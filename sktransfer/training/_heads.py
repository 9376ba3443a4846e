"""Fully connected layers that go on top of a backbone."""

import itertools

import numpy as np
import torch
from torch import nn

from sktransfer.backbones._rescale import Rescale
from sktransfer.utils._torch import seeded, to_tensor


def measure_scale(features, sample_weight):
    """Return the mean of the features and the root of their mean variance (one if zero).

    One number for all features: at few rows the scale of each is mostly noise.
    """
    center = np.average(features, axis=0, weights=sample_weight)
    variance = np.average((features - center) ** 2, axis=0, weights=sample_weight).mean()
    return center, float(np.sqrt(variance)) or 1.0


def make_head(center, scale, hidden_layer_sizes, n_outputs, *, dropout=0.0, seed=0):
    """Make a head with random weights: rescale, hidden layers, output layer.

    Parameters
    ----------
    center : array of shape (d,)
    scale : float
    hidden_layer_sizes : sequence of int
        Width of each fully connected layer between backbone and output.
    n_outputs : int
    dropout : float, default=0.0
        Before every layer with weights but the first, in training.
    seed : int, default=0
        Of the weights; torch's global generators are left as they were.

    Returns
    -------
    head : nn.Sequential
        Its last layer is named ``output``.
    """
    widths = [len(center), *hidden_layer_sizes]
    rescale = Rescale(widths[0])
    rescale.center.copy_(torch.as_tensor(center))
    rescale.scale.fill_(scale)
    head = nn.Sequential()
    head.add_module("rescale", rescale)
    with seeded(seed):
        for i, (width, next_width) in enumerate(itertools.pairwise(widths), start=1):
            head.add_module(f"hidden{i}", nn.Linear(width, next_width))
            head.add_module(f"activation{i}", nn.ReLU())
            head.add_module(f"dropout{i}", nn.Dropout(dropout))
        head.add_module("output", nn.Linear(widths[-1], n_outputs))
    return head


def make_head_from_probe(probe):
    """Make the linear head that computes what the probe computes."""
    head = make_head(probe.center, probe.scale, (), len(probe.coef))
    with torch.no_grad():
        head.output.weight.copy_(torch.as_tensor(probe.coef))
        head.output.bias.copy_(torch.as_tensor(probe.intercept))
    return head


def compute_head_logits(head, features):
    """Return the logits of a head as float64, of shape (n, n_classes)."""
    with torch.inference_mode():
        return head(to_tensor(features)).numpy().astype(np.float64)
