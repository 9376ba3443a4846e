"""Training of a network with two learning rates, on skorch's loop."""

import contextlib
import copy
import dataclasses
import math

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sktransfer.training._batches import ShuffledBatches, count_batches
from sktransfer.training._checkpoints import Checkpoint, CheckpointFolder
from sktransfer.training._schedules import (
    MIN_STEPS,
    RateSchedule,
    WarmupCosine,
    choose_batch_size,
    choose_epochs,
)
from sktransfer.training._stopping import HeldOutStopping, TrainingEnded
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
    autocast : torch.dtype, default=None
        What the backbone computes in while training; None: float32.
    """

    def __init__(self, backbone, head, *, freeze_norm=True, autocast=None):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.freeze_norm = freeze_norm
        self.autocast = autocast

    def forward(self, inputs):
        if self.autocast is None:
            return self.head(self.backbone(inputs))
        with torch.autocast(inputs.device.type, dtype=self.autocast):
            features = self.backbone(inputs)
        return self.head(features.float())

    def train(self, mode=True):
        super().train(mode)
        # Dropout and the like have no weights: they are frozen with what comes before them.
        is_prefix = True
        for module in self.backbone.modules():
            own = list(module.parameters(recurse=False))
            is_prefix = is_prefix and not any(parameter.requires_grad for parameter in own)
            inner = list(module.parameters())
            is_frozen = not any(parameter.requires_grad for parameter in inner)
            is_kept = self.freeze_norm and isinstance(module, _NormBase)
            if is_kept or (is_frozen and (inner or is_prefix)):
                module.eval()
        return self


class WeightedLoss(nn.Module):
    """Mean of loss times weight, over the rows of a batch.

    Weights have mean one over all rows, so batches need no normalisation of their own.
    """

    def __init__(self, objective):
        super().__init__()
        self.objective = objective

    def forward(self, outputs, targets):
        targets, weight = targets
        return (self.objective.losses(outputs, targets) * weight).mean()


class GroupedAdamW(torch.optim.AdamW):
    """AdamW that joins parameter groups with equal options, which makes steps cheaper."""

    def __init__(self, groups):
        joined = {}
        for group in groups:
            options = {key: value for key, value in group.items() if key != "params"}
            joined.setdefault(tuple(sorted(options.items())), []).extend(group["params"])
        groups = [{"params": p, **dict(options)} for options, p in joined.items() if p]
        # One kernel for all parameters: for a small network a fifth of the time of many.
        super().__init__(groups, fused=True)


class TransferNet(NeuralNet):
    """skorch's net, with several rates and with penalties.

    Parameters
    ----------
    param_groups : list of dict
        For `GroupedAdamW`.
    """

    def __init__(self, *args, param_groups=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.param_groups = param_groups
        self.penalty_terms = []

    def initialize_optimizer(self, *args, **kwargs):
        self.optimizer_ = GroupedAdamW(self.param_groups)
        return self

    def get_loss(self, *args, **kwargs):
        loss = super().get_loss(*args, **kwargs)
        for penalty, term in self.penalty_terms:
            value = torch.as_tensor(term())
            if not torch.isfinite(value):
                raise ValueError(
                    f"Got {value.item()} from penalty={penalty!r}, but expected a finite number."
                )
            loss = loss + value
        return loss

    def forget_training(self):
        """Keep weights and history; drop what only the training needs."""
        self.optimizer_.state.clear()
        self.param_groups, self.penalty_terms = (), []
        own = (RateSchedule, Checkpoint, HeldOutStopping, EpochReport)
        self.callbacks = None
        self.callbacks_ = [c for c in self.callbacks_ if not isinstance(c[-1], own)]


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How networks are trained, whatever they are: parameters of an estimator, resolved.

    Parameters
    ----------
    objective : Objective
    max_epochs : int or None
        None: a budget in steps, see `choose_epochs`.
    batch_size : int or "auto"
    device : torch.device
    autocast : torch.dtype or None
    penalties : tuple of Penalty
    unfreezing : GradualUnfreezing or None
    callbacks : list of skorch callbacks or None
    checkpoints : CheckpointFolder or None
    progress : callable
        Called with the number of epochs when a training begins; gives a context manager, whose
        value is called around each epoch; see `sktransfer.training._progress`.
    verbose : int
    seed : int
        Seeds shuffling and dropout; torch's global generators are left as they were.
    """

    objective: object
    max_epochs: int | None = None
    batch_size: object = "auto"
    device: object = "cpu"
    autocast: object = None
    penalties: tuple = ()
    unfreezing: object = None
    callbacks: object = None
    checkpoints: CheckpointFolder | None = None
    progress: object = None
    verbose: int = 0
    seed: int = 0


def train_network(
    network,
    rows,
    groups,
    options,
    *,
    parameters=None,
    min_steps=MIN_STEPS,
    budget_of=None,
    stop=None,
):
    """Train a network in place; keyboard interrupts come through, early stopping does not.

    Parameters
    ----------
    network : TransferNetwork
    rows : PreparedRows
    groups : list of dict
        As `describe_param_groups` makes them.
    options : TrainingOptions
    parameters : dict of str to parameter, default=None
        What the names in ``groups`` stand for; None: the parameters of ``network``.
    min_steps : int
        Smallest budget.
    budget_of : int, default=None
        Number of rows that decides batch size and epochs; None: those of ``rows``. So a training
        on a part of the rows makes as many passes as one on all of them.
    stop : HeldOutStopping or int, default=None
        Early stopping, or the number of epochs after which to end, the rates as in a whole
        training.

    Returns
    -------
    net : TransferNet
    """
    n_rows = len(rows) if budget_of is None else budget_of
    batch_size = options.batch_size
    batch_size = choose_batch_size(n_rows) if batch_size == "auto" else int(batch_size)
    max_epochs = options.max_epochs
    if max_epochs is None:
        max_epochs = choose_epochs(count_batches(n_rows, batch_size), min_steps=min_steps)
    n_batches = count_batches(len(rows), batch_size)
    params = _take_params(parameters or dict(network.named_parameters()), groups)
    n_blocks = 1 + max((group["depth"] for group in params), default=0)
    schedule = options.unfreezing
    first_steps = {
        group["depth"]: schedule.first_step(group["depth"], n_blocks, max_epochs * n_batches)
        for group in params
        if schedule is not None
    }
    patience = getattr(stop, "patience", stop)
    description = (groups, batch_size, max_epochs, patience)
    checkpoint = _make_checkpoint(network, rows, n_batches, options, description)
    start = checkpoint.start if checkpoint else 0
    # Checkpoints last: they hold what the others record.
    callbacks = [
        ("schedule", RateSchedule(WarmupCosine(max_epochs * n_batches), start, first_steps)),
        ("clipping", GradientNormClipping(1.0)),
        *([("stopping", stop)] if isinstance(stop, HeldOutStopping) else []),
        *copy.deepcopy(list(options.callbacks or [])),
        *([("checkpoint", checkpoint)] if checkpoint else []),
    ]
    last_epoch = stop if isinstance(stop, int) else max_epochs
    with contextlib.ExitStack() as stack:
        stack.enter_context(seeded(options.seed))
        if options.progress is not None:
            report = stack.enter_context(options.progress(last_epoch))
            callbacks.append(("progress", EpochReport(report)))
        net = TransferNet(
            network,
            criterion=WeightedLoss(options.objective),
            param_groups=params,
            max_epochs=max_epochs,
            batch_size=batch_size,
            iterator_train=ShuffledBatches,
            iterator_train__seed=options.seed,
            iterator_train__start=start,
            train_split=None,
            callbacks=callbacks,
            device=str(options.device),
            verbose=options.verbose,
        ).initialize()
        net.penalty_terms = [
            (p, stack.enter_context(p.attached(network, rows))) for p in options.penalties
        ]
        # Not `partial_fit`, which swallows KeyboardInterrupt and returns a half-trained network.
        net.notify("on_train_begin", X=rows, y=None)
        if checkpoint:
            checkpoint.restore(net)
        try:
            net.fit_loop(rows, epochs=max(0, last_epoch - start // n_batches))
        except TrainingEnded:
            pass
        except KeyboardInterrupt:
            if not _stopped_early(net):
                raise
        net.notify("on_train_end", X=rows, y=None)
    network.eval()
    _check_finite(net)
    return net


def _make_checkpoint(network, rows, n_batches, options, description):
    if options.checkpoints is None:
        return None
    # What a training is told of and where it is kept does not decide its course.
    decisive = dataclasses.replace(options, checkpoints=None, progress=None, verbose=0)
    description = (*description, str(options.device), str(options.autocast), decisive)
    path = options.checkpoints.file_of(network, rows, description)
    return Checkpoint(path, options.checkpoints.every, n_batches)


def _take_params(parameters, groups):
    """Return the groups that move, with parameters in place of their names."""
    return [
        {
            "params": [parameters[name] for name in group["parameter_names"]],
            "lr": group["lr"],
            "initial_lr": group["lr"],
            "weight_decay": group["weight_decay"],
            "depth": group["depth"],
        }
        for group in groups
        if group["lr"]
    ]


class EpochReport(Callback):
    """Tell a function of every epoch that begins and ends; it may end the training.

    Parameters
    ----------
    report : callable
        Called with "begin" or "end"; a true answer ends the training.
    """

    def __init__(self, report):
        self.report = report

    def on_epoch_begin(self, net, **kwargs):
        self.report("begin")

    def on_epoch_end(self, net, **kwargs):
        if self.report("end"):
            raise TrainingEnded


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


def _check_finite(net):
    losses = net.history[:, "train_loss"] if net.history else [0.0]
    trained = (p for group in net.optimizer_.param_groups for p in group["params"])
    finite = all(torch.isfinite(p).all() for p in trained)
    if not finite or not math.isfinite(losses[-1]):
        shown = np.round(losses[-3:], 3).tolist()
        raise ValueError(
            f"Training diverged: the last losses are {shown}; expected finite numbers. Use a "
            "smaller head_lr or backbone_lr, and check the scale of X."
        )
