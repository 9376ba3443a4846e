"""From source images to a pretrained network: the steps, with everything resolved."""

import dataclasses
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from sktransfer.backbones._small_network import make_small_network
from sktransfer.training._assembly import cut_off_old_head
from sktransfer.training._augment import default_image_augmentation
from sktransfer.training._batches import AugmentedRows, PreparedRows, count_batches
from sktransfer.training._best_epoch import BestEpoch
from sktransfer.training._holding_out import hold_out
from sktransfer.training._image_views import TwoViews, default_views
from sktransfer.training._net import TrainingOptions, train_network
from sktransfer.training._pretraining_network import PretrainingNetwork, PretrainingObjective
from sktransfer.training._source_quality import measure_quality
from sktransfer.training._trainable import describe_param_groups
from sktransfer.utils._torch import evaluating, seeded, to_tensor

# Batches of a sixteenth of the rows, within these numbers.
_FEWEST_ROWS, _MOST_ROWS = 32, 128
# Views are compared within a batch, so it has to hold many.
_ROWS_OF_VIEWS = 128
# max_epochs=None: so many passes, but within these numbers of steps.
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 30, 600, 10_000
# A network that was pretrained moves more slowly than its new head.
_SLOWER = 0.1


@dataclasses.dataclass(frozen=True)
class ImagePretraining:
    """How a network is pretrained on images: parameters of `pretrain_backbone`, resolved.

    Parameters
    ----------
    start : Backbone or None
        The network to start from; None: a small one with random weights.
    views : SimCLR or None
        How to learn without labels.
    augment : callable or None
        For labels; "auto" is shifts, crops and colours, and flips of colour images.
    device : torch.device
    seeds : tuple of int
        Of the split, of the weights, and of the training.
    """

    start: object
    views: object
    augment: object
    max_epochs: int | None
    batch_size: object
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    n_iter_no_change: int
    device: object
    callbacks: list
    verbose: int
    seeds: tuple

    def fit(self, images, network_input, target, weight):
        """Train a network on images.

        Parameters
        ----------
        images : ndarray of shape (n, height, width) or (n, ...) with channels
        network_input : NetworkInput
            Without mean and standard deviation if there is no network to start from.
        target : SourceTarget or None
        weight : ndarray of shape (n,)

        Returns
        -------
        network : nn.Sequential
            On the CPU; its outputs are in the units of the labels.
        network_input : NetworkInput
        outcome : dict
            Most fields of a `PretrainingReport`.
        """
        task = "self-supervised" if target is None else target.task
        targets = np.zeros((len(images), 1)) if target is None else target.targets
        objective = PretrainingObjective(None if target is None else target.objective, self.views)
        training, held_out = hold_out(
            images,
            self.validation_fraction,
            self.seeds[0],
            classes=targets.argmax(1) if task == "classification" else None,
            numbers=targets[:, 0] if task == "regression" else None,
        )
        weight = weight / weight[training].mean()
        if self.start is None:
            network_input = _standardise(network_input, images[training])
        network = self._make_network(images[:1], network_input, objective)
        rows = self._make_rows(images, targets, weight, training, network_input)
        batch_size = self._choose_batch_size(len(rows))
        stopping = None
        if len(held_out):
            seen = self._make_held_out(images, targets, weight, held_out, network_input)
            stopping = BestEpoch(seen, objective, self.n_iter_no_change, batch_size)
        net = self._train(network, rows, objective, batch_size, stopping)
        network.cpu()
        scores, chance = {}, {}
        if stopping is not None:
            prior = np.average(targets[training], axis=0, weights=weight[training])
            scores, chance = measure_quality(
                network, seen, objective, task=task, prior=prior, batch_size=batch_size
            )
        n_epochs = len(net.history)
        outcome = {
            "task": task,
            "scores": scores,
            "chance": chance,
            "n_rows": len(training),
            "n_held_out": len(held_out),
            "n_epochs": n_epochs,
            "best_epoch": n_epochs if stopping is None else stopping.best_epoch,
        }
        return self._finish(network, target), network_input, outcome

    def _make_rows(self, images, targets, weight, rows, network_input):
        of_rows = images[rows], targets[rows], weight[rows]
        flip = network_input.channels == 3
        if self.views is not None:
            augment = self.views.augment or default_views(flip)
            return TwoViews(*of_rows, network_input, None, augment)
        augment = default_image_augmentation(flip) if self.augment == "auto" else self.augment
        if augment is None:
            return PreparedRows(*of_rows, network_input.prepare)
        return AugmentedRows(*of_rows, network_input, None, augment)

    def _make_held_out(self, images, targets, weight, rows, network_input):
        of_rows = images[rows], targets[rows], weight[rows]
        if self.views is None:
            return PreparedRows(*of_rows, network_input.prepare)
        # The same views in each epoch, so that the losses of epochs can be compared.
        with seeded(self.seeds[2]):
            made = self._make_rows(images, targets, weight, rows, network_input)
            views, _ = made.__getitems__(list(range(len(rows))))
        return PreparedRows(views.numpy(), *of_rows[1:], np.asarray)

    def _choose_batch_size(self, n_rows):
        if self.batch_size != "auto":
            return self.batch_size
        if self.views is not None:
            return _ROWS_OF_VIEWS
        return min(_MOST_ROWS, max(_FEWEST_ROWS, n_rows // 16))

    def _choose_epochs(self, n_batches):
        if self.max_epochs is not None:
            return self.max_epochs
        n_steps = min(_MOST_STEPS, max(_FEWEST_STEPS, _EPOCHS * n_batches))
        return -(-n_steps // n_batches)

    def _make_network(self, image, network_input, objective):
        inputs = to_tensor(network_input.prepare(image))
        with seeded(self.seeds[1]):
            if self.start is None:
                body = make_small_network(inputs.shape[1], inputs.shape[2:])
            else:
                body = cut_off_old_head(self.start.copy_module(), inputs)
            with torch.no_grad(), evaluating(body):
                width = body(inputs).shape[1]
            head = projection = None
            if objective.supervised is not None:
                head = nn.Linear(width, objective.supervised.n_outputs)
            if self.views is not None:
                projection = nn.Sequential(
                    nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.views.n_components)
                )
        return PretrainingNetwork(body, head, projection)

    def _train(self, network, rows, objective, batch_size, stopping):
        groups = describe_param_groups(
            network,
            head_lr=self.learning_rate,
            backbone_lr=self.learning_rate * (1.0 if self.start is None else _SLOWER),
            weight_decay=self.weight_decay,
        )
        options = TrainingOptions(
            objective=objective,
            max_epochs=self._choose_epochs(count_batches(len(rows), batch_size)),
            batch_size=batch_size,
            device=self.device,
            callbacks=self.callbacks,
            verbose=self.verbose,
            seed=self.seeds[2],
        )
        return train_network(network, rows, groups, options, stop=stopping)

    def _finish(self, network, target):
        """Return the body, under the head for values of y where there is one."""
        body = network.backbone
        blocks = (
            OrderedDict(body.named_children()) if self.start is None else OrderedDict(features=body)
        )
        if target is not None:
            with torch.no_grad():
                scale = torch.as_tensor(target.scale, dtype=torch.float32)
                network.head.weight *= scale[:, None]
                network.head.bias *= scale
                network.head.bias += torch.as_tensor(target.mean, dtype=torch.float32)
            blocks["head"] = network.head
        return nn.Sequential(blocks)


def _standardise(network_input, images):
    """Return a `NetworkInput` with mean and standard deviation of the channels of images."""
    arranged = network_input.arrange(images)
    mean = arranged.mean((0, 2, 3), dtype=np.float64)
    std = arranged.std((0, 2, 3), dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    return dataclasses.replace(
        network_input,
        channels=arranged.shape[1],
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )
