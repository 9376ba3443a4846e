"""Fully connected layers that go on top of a backbone."""

import copy
import itertools

import numpy as np
import torch
from torch import nn

from sktransfer.backbones._rescale import Rescale
from sktransfer.training._batches import ShuffledBatches
from sktransfer.training._schedules import choose_batch_size
from sktransfer.utils._torch import seeded


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


def update_head(head, rows, objective, *, lr, weight_decay, batch_size="auto", seed=0):
    """Return a copy of a head after one pass of AdamW over some rows, at a constant rate.

    Parameters
    ----------
    head : nn.Module
    rows : PreparedRows
        Their inputs are features.
    objective : Objective
    lr, weight_decay : float
    batch_size : int or "auto", default="auto"
    seed : int, default=0
        Of shuffling and dropout.
    """
    head = copy.deepcopy(head).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=weight_decay)
    batch_size = choose_batch_size(len(rows)) if batch_size == "auto" else int(batch_size)
    with seeded(seed):
        for features, (targets, weight) in ShuffledBatches(rows, batch_size, seed):
            optimizer.zero_grad()
            (objective.losses(head(features), targets) * weight).mean().backward()
            optimizer.step()
    return head.eval().requires_grad_(False)
