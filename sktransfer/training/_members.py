"""What a strategy gives: one network, or several whose predictions are averaged."""

import copy
import dataclasses
from collections import OrderedDict

import torch
from torch import nn

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.utils._torch import to_tensor


@dataclasses.dataclass(frozen=True)
class Member:
    """A backbone up to its features, and a head on them.

    Parameters
    ----------
    name : str
        "frozen", "fine_tune", "no_transfer" (a linear model on the input), or one of these with
        a detail behind a colon.
    backbone : Backbone
    layer : str
        Where its features are taken.
    head : nn.Module
        Features in, outputs out; in eval mode on the CPU.
    cache : {"auto", True, False}
        Row cache of the features.
    cache_dir : path-like or None
        Its folder.
    """

    name: str
    backbone: Backbone
    layer: str
    head: nn.Module
    cache: object = False
    cache_dir: object = None

    @classmethod
    def frozen(cls, name, head, settings):
        """Make a member whose backbone is as it was, so that its features are cached as such."""
        return cls(
            name,
            settings.backbone,
            "penultimate",
            head.eval().requires_grad_(False),
            settings.cache,
            settings.cache_dir,
        )

    @classmethod
    def of_network(cls, name, network, pretrained):
        """Make a member of a fine-tuned `TransferNetwork`."""
        backbone = pretrained.with_module(network.backbone, name=f"{pretrained.name}, {name}")
        return cls(name, backbone, "output", network.head.eval().requires_grad_(False))

    @property
    def strategy(self):
        """What became of the backbone: the part of the name before a colon."""
        return self.name.partition(":")[0]

    def compute_features(self, X, image_shape, device):
        """Return what the head sees, of shape (n, n_features), float32."""
        (features,) = compute_activations(
            self.backbone,
            X,
            layers=(self.layer,),
            image_shape=image_shape,
            device=device,
            cache=self.cache,
            cache_dir=self.cache_dir,
        )
        return features

    def compute_outputs(self, features):
        """Return the outputs of the head, float64, of shape (n, n_outputs)."""
        with torch.inference_mode():
            return self.head(to_tensor(features)).double()

    def calibrated(self, temperature):
        """Return the member with its outputs divided by a number."""
        head = copy.deepcopy(self.head)
        with torch.no_grad():
            head.output.weight.div_(temperature)
            head.output.bias.div_(temperature)
        return dataclasses.replace(self, head=head)

    def make_network(self):
        """Return backbone and head as one module: prepared rows in, outputs out."""
        module = self.backbone.copy_module()
        if self.layer == "penultimate":
            module = FeatureExtractor(module)
        parts = {"backbone": module, "head": self.head}
        return nn.Sequential(OrderedDict(parts)).eval()


class AveragedNetwork(nn.Module):
    """Networks whose predictions are averaged; gives outputs that stand for the average.

    Parameters
    ----------
    members : sequence of nn.Module
        Prepared rows in, outputs out.
    weights : sequence of float
        Sum to one.
    objective : Objective
    """

    def __init__(self, members, weights, objective):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32))
        self.objective = objective

    def forward(self, inputs):
        outputs = [member(inputs) for member in self.members]
        return average_outputs(outputs, self.weights, self.objective)


def average_outputs(outputs, weights, objective):
    """Return the outputs that stand for the weighted mean of the predictions of several.

    A single one is returned as it is.
    """
    if len(outputs) == 1:
        return outputs[0]
    mean = sum(w * objective.predict(o) for w, o in zip(weights, outputs, strict=True))
    return objective.invert(mean)


@dataclasses.dataclass(frozen=True)
class FittedModel:
    """Members with their weights, and what is known of them.

    Parameters
    ----------
    members : tuple of Member
    weights : tuple of float, default=(1.0,)
        Sum to one.
    net : TransferNet or None
        What trained the main member.
    param_groups : list of dict
    prefix : str or None
        What of the backbone ran once per row, see `split_off_prefix`.
    evidence : Evidence or None
        What held-out rows said, see `sktransfer.training._guard`.
    """

    members: tuple
    weights: tuple = (1.0,)
    net: object = None
    param_groups: list = dataclasses.field(default_factory=list)
    prefix: str | None = None
    evidence: object = None

    @property
    def main(self):
        """The member of the largest weight that uses what was learned elsewhere."""
        pairs = zip(self.weights, self.members, strict=True)
        transferred = [(w, m) for w, m in pairs if m.strategy != "no_transfer"]
        if not transferred:
            return self.members[0]
        return max(transferred, key=lambda pair: pair[0])[1]

    def weight_of(self, strategy):
        """Return the summed weight of the members of a strategy."""
        pairs = zip(self.members, self.weights, strict=True)
        return float(sum(weight for member, weight in pairs if member.strategy == strategy))

    @property
    def strategy(self):
        """The strategy that carries the weight, or "average" if several do."""
        strategies = {member.strategy for member in self.members}
        return strategies.pop() if len(strategies) == 1 else "average"

    def compute_outputs(self, X, objective, image_shape, device):
        """Return outputs of shape (n, n_outputs), float64."""
        outputs = [
            member.compute_outputs(member.compute_features(X, image_shape, device))
            for member in self.members
        ]
        return average_outputs(outputs, self.weights, objective).numpy()

    def make_network(self, objective):
        """Return all members as one module: prepared rows in, outputs out."""
        networks = [member.make_network() for member in self.members]
        if len(networks) == 1:
            return networks[0]
        return AveragedNetwork(networks, self.weights, objective).eval()
