"""What happens to the weights of the backbone: frozen, fine-tuned, or whichever is held out better.

A strategy is an object with ``fit(rows, settings) -> FittedNetwork``.
"""

import dataclasses
import warnings
from collections import OrderedDict

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold
from torch import nn

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.backbones._taps import PenultimateTap, run_taps
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.training._batches import PreparedRows
from sktransfer.training._heads import (
    compute_head_logits,
    make_head,
    make_head_from_probe,
    measure_scale,
)
from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._net import TransferNetwork, describe_param_groups, train_network
from sktransfer.training._schedules import HEAD_STEPS
from sktransfer.utils._torch import thread_limit, to_tensor


@dataclasses.dataclass(frozen=True)
class LabelledRows:
    """Target rows with their features under the frozen backbone."""

    X: np.ndarray
    features: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray

    def take(self, rows):
        """Return some of the rows, their weights again of mean one."""
        weight = self.sample_weight[rows]
        weight = weight / weight.mean()
        return LabelledRows(self.X[rows], self.features[rows], self.y[rows], weight)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How networks are trained: the estimator's parameters, resolved."""

    backbone: Backbone
    image_shape: tuple | None
    n_classes: int
    hidden_layer_sizes: tuple
    head_init: str
    head_lr: float
    backbone_lr: float
    weight_decay: float
    dropout: float
    freeze_norm: bool
    max_epochs: int | None
    batch_size: object
    device: object
    callbacks: object
    verbose: int
    seed: int

    def prepare(self, X):
        """Return what the backbone takes."""
        return self.backbone.input.prepare(X, self.image_shape)

    def make_extractor(self):
        """Return a copy of the backbone that gives features and may be trained."""
        return FeatureExtractor(self.backbone.copy_module())

    def train(self, network, rows, groups, **budget):
        """Run the training loop on prepared rows."""
        return train_network(
            network,
            rows,
            param_groups=groups,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=self.device,
            callbacks=self.callbacks,
            verbose=self.verbose,
            seed=self.seed,
            **budget,
        )


@dataclasses.dataclass(frozen=True)
class FittedNetwork:
    """What a strategy gives; the children of ``network`` are ``backbone`` and ``head``."""

    network: nn.Sequential
    net: object
    strategy: str
    param_groups: list
    oof_loss: dict = dataclasses.field(default_factory=dict)

    def compute_logits(self, rows, settings):
        """Return logits of shape (n, n_classes), from the features while these still hold."""
        if self.strategy == "frozen":
            return compute_head_logits(self.network.head, rows.features)
        backbone = Backbone(self.network, input=settings.backbone.input)
        (logits,) = compute_activations(
            backbone,
            rows.X,
            layers=("output",),
            image_shape=settings.image_shape,
            device=settings.device,
            cache=False,
        )
        return logits.astype(np.float64)


class Frozen:
    """A head on the features of the backbone as it is."""

    def fit(self, rows, settings):
        head, net = _fit_head(rows, settings)
        network = TransferNetwork(settings.make_extractor(), head)
        rates = {"head_lr": settings.head_lr if net else None, "backbone_lr": 0.0}
        groups = _describe(network, settings, **rates)
        return FittedNetwork(_finish(network, net), net, "frozen", groups)


class FineTuned:
    """All weights move, the backbone's more slowly, from the head of the frozen backbone."""

    def fit(self, rows, settings):
        if settings.head_init == "linear_probe":
            head, _ = _fit_head(rows, settings)
        else:
            head = _make_random_head(rows, settings)
        extractor = _leave_out_old_head(settings.make_extractor(), rows, settings)
        network = TransferNetwork(extractor, head, freeze_norm=settings.freeze_norm)
        groups = _describe(
            network, settings, head_lr=settings.head_lr, backbone_lr=settings.backbone_lr
        )
        prepared = PreparedRows(rows.X, rows.y, rows.sample_weight, settings.prepare)
        net = settings.train(network, prepared, groups)
        return FittedNetwork(_finish(network, net), net, "fine_tune", groups)


class Guarded:
    """Fine-tuned only where held-out predictions are better by more than a standard error.

    Without transfer, a linear head on the input itself is judged beside; where that is better by
    more than a standard error, transfer loses, and a warning says so.
    """

    n_folds = 3

    def fit(self, rows, settings):
        if not self._can_judge(rows, settings):
            return Frozen().fit(rows, settings)
        losses = self._held_out_losses(rows, settings)
        is_better = _is_better(losses["fine_tune"], losses["frozen"], rows.sample_weight)
        chosen = FineTuned() if is_better else Frozen()
        fitted = chosen.fit(rows, settings)
        oof_loss = {
            name: float(np.average(loss, weights=rows.sample_weight))
            for name, loss in losses.items()
        }
        if _is_better(losses["no_transfer"], losses[fitted.strategy], rows.sample_weight):
            warnings.warn(
                f"Transfer loses: the held-out log loss is {oof_loss[fitted.strategy]:.3f} with "
                f"the backbone ({fitted.strategy}) and {oof_loss['no_transfer']:.3f} for a linear "
                "model on the input alone; use that, or another backbone.",
                NegativeTransferWarning,
                stacklevel=4,
            )
        return dataclasses.replace(fitted, oof_loss=oof_loss)

    def _can_judge(self, rows, settings):
        n_smallest = np.bincount(rows.y).min()
        return settings.backbone.n_parameters > 0 and n_smallest >= self.n_folds

    def _held_out_losses(self, rows, settings):
        losses = {name: np.empty(len(rows.y)) for name in ("no_transfer", "frozen", "fine_tune")}
        folds = StratifiedKFold(self.n_folds, shuffle=True, random_state=settings.seed)
        for train, test in folds.split(rows.X, rows.y):
            seen, held_out = rows.take(train), rows.take(test)
            logits = _fit_without_transfer(seen, held_out, settings.n_classes)
            losses["no_transfer"][test] = _log_losses(logits, held_out)
            for candidate in (Frozen(), FineTuned()):
                fitted = candidate.fit(seen, settings)
                logits = fitted.compute_logits(held_out, settings)
                losses[fitted.strategy][test] = _log_losses(logits, held_out)
        return losses


def _is_better(loss, than, sample_weight):
    """Tell whether a mean loss is lower by more than the standard error of the difference."""
    gain = sample_weight * (than - loss)
    return gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))


def _fit_without_transfer(rows, held_out, n_classes):
    """Return logits for the held-out rows of a linear head on the input itself."""
    flat = rows.X.reshape(len(rows.X), -1)
    probe = fit_linear_probe(flat, rows.y, n_classes, sample_weight=rows.sample_weight)
    return probe.compute_logits(held_out.X.reshape(len(held_out.X), -1))


STRATEGIES = {"auto": Guarded(), "frozen": Frozen(), "fine_tune": FineTuned()}


def _fit_head(rows, settings):
    """Fit the head on the features of the frozen backbone: convex if it is linear."""
    if not settings.hidden_layer_sizes:
        probe = fit_linear_probe(
            rows.features,
            rows.y,
            settings.n_classes,
            sample_weight=rows.sample_weight,
            random_state=settings.seed,
        )
        return make_head_from_probe(probe), None
    head = _make_random_head(rows, settings)
    network = TransferNetwork(nn.Identity(), head)
    groups = _describe(network, settings, head_lr=settings.head_lr, backbone_lr=0.0)
    prepared = PreparedRows(rows.features, rows.y, rows.sample_weight, np.asarray)
    # Steps on features cost next to nothing, with one thread least.
    with thread_limit(1):
        net = settings.train(network, prepared, groups, min_steps=HEAD_STEPS)
    return head.cpu(), net


def _make_random_head(rows, settings):
    center, scale = measure_scale(rows.features, rows.sample_weight)
    return make_head(
        center,
        scale,
        settings.hidden_layer_sizes,
        settings.n_classes,
        dropout=settings.dropout,
        seed=settings.seed,
    )


def _leave_out_old_head(extractor, rows, settings):
    """Return an extractor that ends below the source's own head, which stays as it is.

    The end is found in eval mode and then fixed: in training, dropout would hide it.
    """
    tap = PenultimateTap()
    with torch.no_grad():
        run_taps(extractor.network, to_tensor(settings.prepare(rows.X[:1])), [tap])
    if tap.head is None:
        return FeatureExtractor(extractor.network, "output")
    tap.head.requires_grad_(False)
    names = {layer: name for name, layer in extractor.network.named_modules()}
    # A network that is one layer has no name for it.
    layer = f"{names[tap.head]}:input" if names[tap.head] else "penultimate"
    return FeatureExtractor(extractor.network, layer)


def _describe(network, settings, *, head_lr, backbone_lr):
    if not backbone_lr:
        network.backbone.requires_grad_(False)
    return describe_param_groups(
        network, head_lr=head_lr, backbone_lr=backbone_lr, weight_decay=settings.weight_decay
    )


def _finish(network, net):
    """Return the network as plain layers on the CPU, free of what only training needs."""
    if net is not None:
        # What the net keeps moves along, and the optimizer's moments are of no more use.
        net.device = "cpu"
        net.optimizer_.state.clear()
    parts = {"backbone": network.backbone, "head": network.head}
    return nn.Sequential(OrderedDict(parts)).cpu().eval()


def _log_losses(logits, rows):
    return -log_softmax(logits, axis=1)[np.arange(len(rows.y)), rows.y]
