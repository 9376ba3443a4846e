"""What the guard chooses from: ways to predict the target, with and without transfer.

A new one is a class here and a place in a tuple of `Guarded`.
"""

import dataclasses
import functools
import math

from torch import nn

from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._rescale import Rescale
from sktransfer.backbones._side_by_side import SideBySide
from sktransfer.training._batches import count_batches
from sktransfer.training._heads import make_head_from_probe, measure_scale
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

    ``fit(rows, settings)`` trains once and gives `Variants`.

    Parameters
    ----------
    share : float
        Weight of the candidate while there is no evidence.
    """

    name: str
    moves_backbone = False

    def __init__(self, share):
        self.share = share

    def fit(self, rows, settings):
        raise NotImplementedError

    def suits(self, settings):
        """Tell whether it can be fitted at all."""
        return True


class WithoutTransfer(Candidate):
    """A linear model on the input alone.

    Images are averaged to about a thousand values; of tables it has the encoded rows.
    """

    name = "no_transfer"

    def fit(self, rows, settings):
        network = settings.backbone.input.make_plain_network()
        return fit_on_output(self.name, network, rows, settings)


class FrozenBackbone(Candidate):
    """A head on the features of the backbone as it is."""

    name = "frozen"

    def fit(self, rows, settings):
        fitted = Frozen().fit(rows, settings)
        return Variants(
            {self.name: lambda: fitted.main}, fitted.net, fitted.param_groups, fitted.prefix
        )


class SourceHeadAsItIs(Candidate):
    """The head of the source on the backbone as it is: rows decide on its temperature alone.

    While rows are few and their classes those of the source, nothing else is as good.
    """

    name = "frozen:source_head"

    def fit(self, rows, settings):
        head = settings.source_head.make_head(Rescale(rows.features.shape[1]))
        member = Member.frozen(self.name, head, settings)
        groups = describe_frozen(head, settings)
        return Variants({self.name: lambda: member}, param_groups=groups, prefix=WHOLE_BACKBONE)

    def suits(self, settings):
        return settings.source_head is not None


class BesideInput(Candidate):
    """A linear model on the input and what the backbone says of it, side by side.

    It can repeat the source by one coefficient, correct it by others, or ignore it. The outputs of
    the backbone are brought to the total variance of the input, so that they are cheap to use.
    """

    name = "frozen:beside_input"

    def fit(self, rows, settings):
        plain = settings.backbone.input.make_plain_network()
        network = settings.backbone.copy_module()
        columns, outputs = (take_output(n, rows, settings)[1] for n in (plain, network))
        _, spread = measure_scale(outputs, rows.sample_weight)
        _, wanted = measure_scale(columns, rows.sample_weight)
        rescale = Rescale(outputs.shape[1])
        rescale.scale.fill_(spread / wanted * math.sqrt(outputs.shape[1] / columns.shape[1]))
        beside = SideBySide(plain, nn.Sequential(network, rescale))
        fitted = fit_on_output(self.name, beside, rows, settings)
        member = fitted.makers[self.name]()
        groups = describe_frozen(member.head, settings.replace(backbone=member.backbone))
        return dataclasses.replace(fitted, param_groups=groups, prefix=WHOLE_BACKBONE)


class Prototypes(Candidate):
    """The mean direction of each class, on the features of the backbone as it is."""

    name = "frozen:prototypes"

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

    name = "fine_tune:linear_probe"
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

    name = "fine_tune:random"
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


def fit_on_output(name, network, rows, settings):
    """Return the variants of a linear head on the output of a network that does not move."""
    backbone, features = take_output(network, rows, settings)
    head = make_head_from_probe(fit_probe(features, rows, settings))
    return Variants({name: lambda: Member(name, backbone, "output", head)})


def take_output(network, rows, settings):
    """Return a network as a backbone that is fed as the pretrained one is, and its output."""
    backbone = settings.backbone.with_module(network, name="input")
    (features,) = compute_activations(
        backbone, rows.X, layers=("output",), image_shape=settings.image_shape, cache=False
    )
    return backbone, features


def fit_probe(features, rows, settings):
    """Fit a linear head on any features of these rows."""
    return fit_linear_probe(
        features,
        rows.targets,
        settings.objective,
        sample_weight=rows.sample_weight,
        seed=settings.seed,
    )
