"""What the guard chooses from: ways to predict the target, with and without transfer.

A new one is a class here and a place in the tuple of `Guarded`.
"""

import dataclasses
import functools
import math

from torch import nn
from torch.nn import functional as F

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.training._batches import count_batches
from sktransfer.training._heads import make_head_from_probe
from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._members import Member
from sktransfer.training._objectives import Multiclass
from sktransfer.training._prefix import WHOLE_BACKBONE
from sktransfer.training._prototypes import make_prototype_head
from sktransfer.training._schedules import choose_batch_size, choose_epochs
from sktransfer.training._strategies import Frozen, describe_frozen, fine_tune

# Points between where fine-tuning began and where it ended.
_ALPHAS = (0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class Variants:
    """What one training of a candidate gives, without any further training.

    Parameters
    ----------
    makers : dict of str to callable
        Name to function that makes the `Member`.
    net, param_groups, prefix
        As of `FittedModel`.
    """

    makers: dict
    net: object = None
    param_groups: list = dataclasses.field(default_factory=list)
    prefix: str | None = None


class Candidate:
    """Base of what the guard chooses from.

    ``fit(rows, settings)`` trains once and gives `Variants`. ``share`` is the weight of the
    candidate while there is no evidence.
    """

    name: str
    share: float
    moves_backbone = False

    def fit(self, rows, settings):
        raise NotImplementedError

    def suits(self, settings):
        """Tell whether it can be fitted at all."""
        return True


class WithoutTransfer(Candidate):
    """A linear model on the input alone; images are averaged to about a thousand values."""

    name, share = "no_transfer", 0.05

    def fit(self, rows, settings):
        backbone = Backbone(PixelAverage(), name="input", input=settings.backbone.input)
        (features,) = compute_activations(
            backbone, rows.X, layers=("output",), image_shape=settings.image_shape, cache=False
        )
        head = make_head_from_probe(fit_probe(features, rows, settings))
        return Variants({self.name: lambda: Member(self.name, backbone, "output", head)})


class FrozenBackbone(Candidate):
    """A head on the features of the backbone as it is."""

    name, share = "frozen", 0.20

    def fit(self, rows, settings):
        fitted = Frozen().fit(rows, settings)
        return Variants(
            {self.name: lambda: fitted.main}, fitted.net, fitted.param_groups, fitted.prefix
        )


class Prototypes(Candidate):
    """The mean direction of each class, on the features of the backbone as it is."""

    name, share = "frozen:prototypes", 0.15

    def fit(self, rows, settings):
        head = make_prototype_head(rows.features, rows.targets, rows.sample_weight)
        member = Member.frozen(self.name, head, settings)
        groups = describe_frozen(head, settings)
        return Variants({self.name: lambda: member}, param_groups=groups, prefix=WHOLE_BACKBONE)

    def suits(self, settings):
        return isinstance(settings.objective, Multiclass)


class FromLinearProbe(Candidate):
    """Fine-tuned in large steps from the head of the frozen backbone; points on the way there.

    Large steps are what a source far from the target needs, and the points before the end are what
    a near one does.
    """

    name, share = "fine_tune:linear_probe", 0.25
    moves_backbone = True

    def fit(self, rows, settings):
        trained = fine_tune(
            rows,
            _share_budget(settings).replace(
                head_init="linear_probe", backbone_lr=10 * settings.backbone_lr
            ),
        )
        names = {f"{self.name}@{alpha:g}": alpha for alpha in _ALPHAS}
        makers = {
            name: functools.partial(trained.as_member, name, settings, alpha)
            for name, alpha in names.items()
        }
        return Variants(makers, trained.net, trained.groups, trained.prefix)

    def suits(self, settings):
        return settings.moves_backbone


class FromRandomHead(Candidate):
    """Fine-tuned from a random head that learns a hundred times as fast as the backbone."""

    name, share = "fine_tune:random", 0.35
    moves_backbone = True

    def fit(self, rows, settings):
        trained = fine_tune(
            rows,
            _share_budget(settings).replace(head_init="random", head_lr=100 * settings.backbone_lr),
        )
        makers = {self.name: functools.partial(trained.as_member, self.name, settings)}
        return Variants(makers, trained.net, trained.groups, trained.prefix)

    def suits(self, settings):
        return settings.moves_backbone


def _share_budget(settings):
    """Return settings with half the steps, since two networks are fine-tuned."""
    options = settings.options
    if options.max_epochs is not None:
        return settings
    batch_size = options.batch_size
    if batch_size == "auto":
        batch_size = choose_batch_size(settings.budget_of)
    epochs = math.ceil(choose_epochs(count_batches(settings.budget_of, batch_size)) / 2)
    return settings.replace(options=dataclasses.replace(options, max_epochs=epochs))


class PixelAverage(nn.Module):
    """Rows as flat vectors, images first averaged to at most about ``n_values`` values."""

    def __init__(self, n_values=1024):
        super().__init__()
        self.n_values = n_values

    def forward(self, inputs):
        if inputs.ndim == 4:
            side = max(1, math.isqrt(self.n_values // inputs.shape[1]))
            size = [min(side, length) for length in inputs.shape[2:]]
            inputs = F.adaptive_avg_pool2d(inputs, size)
        return inputs.flatten(1)


def fit_probe(features, rows, settings):
    """Fit a linear head on any features of these rows."""
    return fit_linear_probe(
        features,
        rows.targets,
        settings.objective,
        sample_weight=rows.sample_weight,
        seed=settings.seed,
    )
