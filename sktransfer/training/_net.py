"""Training of a network with two learning rates, on skorch's loop."""

import copy
import math

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sktransfer.training._batches import ShuffledBatches, make_loader
from sktransfer.training._schedules import (
    MIN_STEPS,
    WarmupCosine,
    choose_batch_size,
    choose_epochs,
)
from sktransfer.utils._torch import seeded


class TransferNetwork(nn.Module):
    """A backbone with a head; what is frozen stays in eval mode while the rest trains.

    Parameters
    ----------
    backbone : nn.Module
        Gives features of shape (n, d).
    head : nn.Module
    freeze_norm : bool, default=True
        Keep the running statistics of normalisation layers in the backbone. The head is started
        on features that were computed with them.
    """

    def __init__(self, backbone, head, *, freeze_norm=True):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.freeze_norm = freeze_norm

    def forward(self, inputs):
        return self.head(self.backbone(inputs))

    def train(self, mode=True):
        super().train(mode)
        for module in self.backbone.modules():
            if _is_frozen(module) or (self.freeze_norm and isinstance(module, _NormBase)):
                module.eval()
        return self


def _is_frozen(module):
    parameters = list(module.parameters())
    if not parameters:
        return False
    return not any(parameter.requires_grad for parameter in parameters)


class WeightedCrossEntropy(nn.Module):
    """Mean of cross-entropy times weight, over the rows of a batch.

    Weights have mean one over all rows, so batches need no normalisation of their own.
    """

    def forward(self, logits, targets):
        labels, weight = targets
        return (nn.functional.cross_entropy(logits, labels, reduction="none") * weight).mean()


class GroupedAdamW(torch.optim.AdamW):
    """AdamW that joins parameter groups with equal options, which makes steps cheaper."""

    def __init__(self, params, **defaults):
        joined = {}
        for group in params:
            options = {key: value for key, value in group.items() if key != "params"}
            joined.setdefault(tuple(sorted(options.items())), []).extend(group["params"])
        groups = [{"params": p, **dict(options)} for options, p in joined.items() if p]
        # One kernel for all parameters: for a small network a fifth of the time of many.
        super().__init__(groups, fused=True, **defaults)


def describe_param_groups(network, *, head_lr, backbone_lr, weight_decay):
    """Return what moves and how fast: one record per part and decay.

    Weight decay spares biases and the scales of normalisation layers. A learning rate of None
    stands for weights that are solved for.

    Returns
    -------
    groups : list of dict
        Keys ``name``, ``lr``, ``weight_decay``, ``n_parameters``, ``parameter_names``.
    """
    groups = {}
    keys = ("name", "lr", "weight_decay")
    for parameter_name, parameter in network.named_parameters():
        part = parameter_name.partition(".")[0]
        lr = (head_lr if part == "head" else backbone_lr) if parameter.requires_grad else 0.0
        decay = weight_decay if lr and parameter.ndim > 1 else 0.0
        name = f"{part} (frozen)" if lr == 0 else part
        key = (name, lr, decay)
        new = {**dict(zip(keys, key, strict=True)), "n_parameters": 0, "parameter_names": []}
        group = groups.setdefault(key, new)
        group["n_parameters"] += parameter.numel()
        group["parameter_names"].append(parameter_name)
    return list(groups.values())


def train_network(
    network,
    rows,
    *,
    param_groups,
    max_epochs=None,
    min_steps=MIN_STEPS,
    batch_size="auto",
    device="cpu",
    callbacks=None,
    verbose=0,
    seed=0,
):
    """Train a network in place; keyboard interrupts come through, early stopping does not.

    Parameters
    ----------
    network : nn.Module
    rows : PreparedRows
    param_groups : list of dict
        As `describe_param_groups` makes them.
    max_epochs : int, default=None
        None: a budget in steps, see `choose_epochs`.
    min_steps : int
        Smallest budget.
    seed : int
        Seeds shuffling and dropout; torch's global generators are left as they were.

    Returns
    -------
    net : skorch.NeuralNet
    """
    if batch_size == "auto":
        batch_size = choose_batch_size(len(rows))
    if max_epochs is None:
        max_epochs = choose_epochs(len(rows), batch_size, min_steps=min_steps)
    n_steps = max_epochs * len(ShuffledBatches(len(rows), batch_size, seed))
    schedule = LRScheduler(
        policy=torch.optim.lr_scheduler.LambdaLR,
        lr_lambda=WarmupCosine(n_steps),
        step_every="batch",
    )
    net = NeuralNet(
        network,
        criterion=WeightedCrossEntropy,
        optimizer=GroupedAdamW,
        optimizer__param_groups=_as_patterns(param_groups),
        max_epochs=max_epochs,
        batch_size=batch_size,
        iterator_train=make_loader,
        iterator_train__seed=seed,
        train_split=None,
        callbacks=[
            ("schedule", schedule),
            ("clipping", GradientNormClipping(1.0)),
            *copy.deepcopy(list(callbacks or [])),
        ],
        device=str(device),
        verbose=verbose,
    )
    with seeded(seed):
        net.initialize()
        # Not `partial_fit`, which swallows KeyboardInterrupt and returns a half-trained network.
        net.notify("on_train_begin", X=rows, y=None)
        try:
            net.fit_loop(rows)
        except KeyboardInterrupt:
            if not _stopped_early(net):
                raise
        net.notify("on_train_end", X=rows, y=None)
    network.eval()
    _check_finite(net)
    return net


def check_callbacks(callbacks):
    """Raise unless this is None or a list of skorch callbacks, each alone or behind a name."""
    if callbacks is None:
        return
    items = callbacks if isinstance(callbacks, list | tuple) else [None]
    for item in items:
        callback = item[-1] if isinstance(item, tuple) and len(item) == 2 else item
        if not isinstance(callback, Callback):
            raise TypeError(
                f"Got callbacks={callbacks!r}, but expected a list of skorch callbacks."
            )


def _stopped_early(net):
    """Tell skorch's EarlyStopping, which raises KeyboardInterrupt too, from an interrupt."""
    callbacks = [callback for _, callback in net.callbacks_]
    return any(isinstance(c, EarlyStopping) and c.misses_ >= c.patience for c in callbacks)


def _as_patterns(param_groups):
    """One pattern per parameter, the form in which skorch takes groups."""
    return [
        (name, {"lr": group["lr"], "weight_decay": group["weight_decay"]})
        for group in param_groups
        for name in group["parameter_names"]
        if group["lr"]
    ]


def _check_finite(net):
    losses = net.history[:, "train_loss"]
    finite = all(torch.isfinite(p).all() for p in net.module_.parameters())
    if not finite or not math.isfinite(losses[-1]):
        shown = np.round(losses[-3:], 3).tolist()
        raise ValueError(
            f"Training diverged: the last losses are {shown}; expected finite numbers. Use a "
            "smaller head_lr or backbone_lr, and check the scale of X."
        )
