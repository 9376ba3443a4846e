"""What happens to the weights of the backbone: they are frozen, or they move.

A strategy is an object with ``fit(rows, settings) -> FittedModel``. The third one, which decides
between these by held-out evidence, is in `_guard`.
"""

import copy
import dataclasses

import numpy as np
from torch import nn

from sktransfer.backbones import Backbone
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._assembly import assemble_backbone, old_head_of
from sktransfer.training._batches import AugmentedRows, PreparedRows
from sktransfer.training._heads import make_head, make_head_from_probe, measure_scale
from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._members import FittedModel, Member
from sktransfer.training._net import TrainingOptions, TransferNetwork, train_network
from sktransfer.training._objectives import split_distinct
from sktransfer.training._prefix import WHOLE_BACKBONE, Prefix, split_off_prefix
from sktransfer.training._schedules import HEAD_STEPS
from sktransfer.training._source_head import SourceHead
from sktransfer.training._stopping import HeldOutStopping
from sktransfer.training._trainable import describe_param_groups
from sktransfer.utils._torch import copy_module, seeded, thread_limit


@dataclasses.dataclass(frozen=True)
class LabelledRows:
    """Target rows with their features under the frozen backbone."""

    X: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray

    def __len__(self):
        return len(self.X)

    def take(self, rows):
        """Return some of the rows, their weights again of mean one."""
        weight = self.sample_weight[rows]
        weight = weight / weight.mean()
        return LabelledRows(self.X[rows], self.features[rows], self.targets[rows], weight)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Hold out a share of the rows, stop after epochs without a lower loss; see the estimators."""

    share: float
    patience: int


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is trained and how: parameters of an estimator, resolved."""

    options: TrainingOptions
    backbone: Backbone
    image_shape: tuple | None
    hidden_layer_sizes: tuple = ()
    source_head: SourceHead | None = None
    must_reuse: bool = False
    head_init: str = "linear_probe"
    head_lr: float = 1e-3
    backbone_lr: float = 1e-4
    layer_decay: float = 1.0
    trainable: object = "all"
    weight_decay: float = 1e-2
    dropout: float = 0.0
    freeze_norm: bool = True
    adapters: object = None
    augment: object = None
    early_stopping: EarlyStopping | None = None
    cache: object = "auto"
    cache_dir: object = None
    # What a warm start goes on with: the `Member` of the last fit.
    warm_start: Member | None = None
    # Where the backbone is cut, see `find_prefix`.
    prefix: Prefix | None = None
    # Rows that decide the budget of steps; None: those that are trained on.
    budget_of: int | None = None

    @property
    def objective(self):
        return self.options.objective

    @property
    def moves_backbone(self):
        """Whether anything but the head is trained."""
        is_frozen = self.prefix is not None and self.prefix.reason == WHOLE_BACKBONE
        return self.backbone_lr > 0 and not is_frozen

    @property
    def seed(self):
        return self.options.seed

    def prepare(self, X):
        """Return what the backbone takes."""
        return self.backbone.input.prepare(X, self.image_shape)

    def replace(self, **changes):
        """Return these settings with some of them changed."""
        return dataclasses.replace(self, **changes)

    def train(self, network, rows, groups, **budget):
        """Run the training loop on prepared rows."""
        return train_network(
            network, rows, groups, self.options, budget_of=self.budget_of, **budget
        )


class Frozen:
    """A head on the features of the backbone as it is."""

    def fit(self, rows, settings):
        head, net = fit_head(rows, settings)
        groups = describe_frozen(head, settings, is_solved=net is None)
        member = Member.frozen("frozen", head, settings)
        return FittedModel((member,), net=net, param_groups=groups, prefix=WHOLE_BACKBONE)


def describe_frozen(head, settings, *, is_solved=True):
    """Return the parameter groups of a head, solved for or trained, on the backbone as it is."""
    with settings.backbone.borrowed() as module:
        return describe_param_groups(
            TransferNetwork(FeatureExtractor(module), head),
            head_lr=None if is_solved else settings.head_lr,
            backbone_lr=0.0,
            weight_decay=0.0 if is_solved else settings.weight_decay,
        )


class FineTuned:
    """The chosen weights move, the backbone's more slowly, from the head of the frozen backbone."""

    def fit(self, rows, settings):
        trained = fine_tune(rows, settings)
        member = trained.as_member("fine_tune", settings)
        return FittedModel(
            (member,), net=trained.net, param_groups=trained.groups, prefix=trained.prefix
        )


@dataclasses.dataclass(frozen=True)
class Trained:
    """A fine-tuned network, with the weights that it started from."""

    network: TransferNetwork
    start: dict
    net: object
    groups: list
    prefix: str | None

    def as_member(self, name, settings, alpha=1.0):
        """Return the network at a point of the segment from its start (0) to its end (1)."""
        network = copy_module(self.network) if alpha != 1 else self.network
        if alpha != 1:
            network.load_state_dict(interpolate(self.start, network.state_dict(), alpha))
        return Member.of_network(name, network, settings.backbone)


def interpolate(start, end, alpha):
    """Return weights between two states of one network; integers are the end's."""
    return {
        name: start[name] + alpha * (value - start[name]) if value.is_floating_point() else value
        for name, value in end.items()
    }


def fit_head(rows, settings):
    """Fit the head on the features of the frozen backbone: convex if it is linear."""
    if not settings.hidden_layer_sizes:
        return make_head_from_probe(_fit_probe(rows, settings)), None
    head = make_random_head(rows, settings)
    network = TransferNetwork(nn.Identity(), head)
    groups = describe_param_groups(
        network,
        head_lr=settings.head_lr,
        backbone_lr=0.0,
        weight_decay=settings.weight_decay,
    )
    options = dataclasses.replace(settings.options, penalties=(), unfreezing=None)
    inner = settings.replace(options=options)
    prepared = PreparedRows(rows.features, rows.targets, rows.sample_weight, np.asarray)
    # Steps on features cost next to nothing, with one thread least.
    with thread_limit(1):
        net = inner.train(network, prepared, groups, min_steps=HEAD_STEPS)
    net.forget_training()
    return head.cpu(), net


def _fit_probe(rows, settings):
    """Fit the linear head, near that of the source if there is one and it predicts better."""

    def fit(start):
        return fit_linear_probe(
            rows.features,
            rows.targets,
            settings.objective,
            sample_weight=rows.sample_weight,
            seed=settings.seed,
            start=start,
        )

    source_head = settings.source_head
    if source_head is None:
        return fit(None)
    reused = fit((source_head.coef, source_head.intercept))
    if settings.must_reuse or reused.held_out_loss is None:
        return reused
    return min(reused, fit(None), key=lambda probe: probe.held_out_loss)


def make_random_head(rows, settings):
    """Make a head with random weights, for features of the size that these rows have."""
    center, scale = measure_scale(rows.features, rows.sample_weight)
    return make_head(
        center,
        scale,
        settings.hidden_layer_sizes,
        settings.objective.n_outputs,
        dropout=settings.dropout,
        seed=settings.seed,
    )


def fine_tune(rows, settings, head=None):
    """Train backbone and head on the rows.

    Parameters
    ----------
    rows : LabelledRows
    settings : Settings
    head : nn.Module, default=None
        Where the head starts; None: as ``settings.head_init`` says. It is copied.

    Returns
    -------
    trained : Trained
    """
    if head is None and settings.head_init == "linear_probe":
        head, _ = fit_head(rows, settings)
    elif head is None:
        head = make_random_head(rows, settings)
    watch = None
    if settings.early_stopping is not None:
        watch = _watch_held_out(rows, settings, head)
    trained = _train(rows, settings, head, watch and watch.best_epoch)
    if watch is not None:
        for epoch, loss in zip(trained.net.history, watch.losses[1:], strict=False):
            epoch["valid_loss"] = loss
    return trained


def _watch_held_out(rows, settings, head):
    """Train on a part of the rows, and return what was seen on the others; None if too few."""
    stopping = settings.early_stopping
    n_folds = max(2, round(1 / stopping.share))
    folds = split_distinct(settings.objective, rows.targets, rows.features, n_folds, settings.seed)
    if not folds:
        return None
    train, test = folds[0]
    seen, held_out = rows.take(train), rows.take(test)
    watch = HeldOutStopping(_prepared(held_out, settings), settings.objective, stopping.patience)
    # The head has seen the rows that are held out here, so it is fitted again, without them.
    if settings.head_init == "linear_probe":
        head, _ = fit_head(seen, settings)
    budget = len(rows) if settings.budget_of is None else settings.budget_of
    _train(seen, settings.replace(budget_of=budget), head, watch)
    return watch


def _train(rows, settings, head, stop=None):
    network, blocks = _assemble(rows, settings, head)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    extractor = network.backbone
    if settings.adapters is not None:
        with seeded(settings.seed):
            extractor.network = settings.adapters.add_to(extractor.network)
        for layer in old_head_of(extractor):
            layer.requires_grad_(False)
    groups = describe_param_groups(
        network,
        head_lr=settings.head_lr,
        backbone_lr=settings.backbone_lr,
        weight_decay=settings.weight_decay,
        blocks=blocks,
        layer_decay=settings.layer_decay,
        by_block=settings.options.unfreezing is not None,
    )
    trained, prepared = network, _prepared(rows, settings, settings.augment)
    if stop is None or isinstance(stop, int):
        trained, prepared = split_off_prefix(network, prepared, rows, settings)
    net = settings.train(
        trained,
        prepared,
        groups,
        parameters=dict(network.named_parameters()),
        stop=stop,
    )
    net.forget_training()
    net.device = "cpu"
    network = network.cpu().eval()
    if settings.adapters is not None:
        extractor.network = settings.adapters.merge(extractor.network)
    return Trained(network, start, net, groups, settings.prefix and settings.prefix.reason)


def _assemble(rows, settings, head):
    """Return the network, with what moves set, and its blocks."""
    extractor, blocks = assemble_backbone(settings, rows.X)
    if settings.warm_start is not None:
        head = settings.warm_start.head
    network = TransferNetwork(
        extractor,
        copy.deepcopy(head).requires_grad_(True),
        freeze_norm=settings.freeze_norm,
        autocast=settings.options.autocast,
    )
    return network, blocks


def _prepared(rows, settings, augment=None):
    if augment is None:
        return PreparedRows(rows.X, rows.targets, rows.sample_weight, settings.prepare)
    return AugmentedRows(
        rows.X,
        rows.targets,
        rows.sample_weight,
        settings.backbone.input,
        settings.image_shape,
        augment,
    )
