"""What happens to the weights of the backbone: frozen, fine-tuned, or whichever is held out better.

A strategy is an object with ``fit(rows, settings) -> FittedNetwork``.
"""

import dataclasses
from collections import OrderedDict

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold
from torch import nn

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import FeatureExtractor, compute_activations
from sktransfer.backbones._taps import PenultimateTap, run_taps
from sktransfer.training._batches import PreparedRows
from sktransfer.training._heads import make_head, make_head_from_probe, measure_scale
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
        """Return some of the rows."""
        return LabelledRows(
            self.X[rows], self.features[rows], self.y[rows], self.sample_weight[rows]
        )


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
            with torch.inference_mode():
                return self.network.head(to_tensor(rows.features)).numpy().astype(np.float64)
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
        return FittedNetwork(_finish(network), net, "frozen", groups)


class FineTuned:
    """All weights move, the backbone's more slowly, from the head of the frozen backbone."""

    def fit(self, rows, settings):
        if settings.head_init == "linear_probe":
            head, _ = _fit_head(rows, settings)
        else:
            head = _make_random_head(rows, settings)
        extractor = settings.make_extractor()
        _leave_out_old_head(extractor, rows, settings)
        network = TransferNetwork(extractor, head, freeze_norm=settings.freeze_norm)
        groups = _describe(
            network, settings, head_lr=settings.head_lr, backbone_lr=settings.backbone_lr
        )
        prepared = PreparedRows(rows.X, rows.y, rows.sample_weight, settings.prepare)
        net = settings.train(network, prepared, groups)
        return FittedNetwork(_finish(network), net, "fine_tune", groups)


class Guarded:
    """Fine-tuned only where held-out predictions are better by more than a standard error."""

    n_folds = 3

    def fit(self, rows, settings):
        if not self._can_judge(rows, settings):
            return Frozen().fit(rows, settings)
        losses = self._held_out_losses(rows, settings)
        gain = losses["frozen"] - losses["fine_tune"]
        standard_error = gain.std(ddof=1) / np.sqrt(len(gain))
        chosen = FineTuned() if gain.mean() > standard_error else Frozen()
        oof_loss = {name: float(loss.mean()) for name, loss in losses.items()}
        return dataclasses.replace(chosen.fit(rows, settings), oof_loss=oof_loss)

    def _can_judge(self, rows, settings):
        return settings.backbone.n_parameters > 0 and np.bincount(rows.y).min() >= self.n_folds

    def _held_out_losses(self, rows, settings):
        losses = {"frozen": np.empty(len(rows.y)), "fine_tune": np.empty(len(rows.y))}
        folds = StratifiedKFold(self.n_folds, shuffle=True, random_state=settings.seed)
        for train, test in folds.split(rows.X, rows.y):
            held_out = rows.take(test)
            for candidate in (Frozen(), FineTuned()):
                fitted = candidate.fit(rows.take(train), settings)
                losses[fitted.strategy][test] = _log_losses(fitted, held_out, settings)
        return losses


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
    """Freeze the source's own head, which is not on the way to the new one."""
    tap = PenultimateTap()
    with torch.no_grad():
        run_taps(extractor.network, to_tensor(settings.prepare(rows.X[:1])), [tap])
    if tap.head is not None:
        tap.head.requires_grad_(False)


def _describe(network, settings, *, head_lr, backbone_lr):
    if not backbone_lr:
        network.backbone.requires_grad_(False)
    return describe_param_groups(
        network, head_lr=head_lr, backbone_lr=backbone_lr, weight_decay=settings.weight_decay
    )


def _finish(network):
    """Return the network as plain layers on the CPU, free of what only training needs."""
    parts = {"backbone": network.backbone, "head": network.head}
    return nn.Sequential(OrderedDict(parts)).cpu().eval()


def _log_losses(fitted, rows, settings):
    log_proba = log_softmax(fitted.compute_logits(rows, settings), axis=1)
    return -log_proba[np.arange(len(rows.y)), rows.y]
