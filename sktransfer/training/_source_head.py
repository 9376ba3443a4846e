"""The head that a backbone brings along, reused where its classes are the target's."""

import dataclasses

import numpy as np
import torch

from sktransfer.backbones._taps import PenultimateTap, run_taps
from sktransfer.training._heads import make_head
from sktransfer.utils._torch import to_tensor


def find_old_head(network, inputs):
    """Return the last fully connected layer of a network that ends in one, else None.

    Or the convolution that stands for one, see `PenultimateTap`.

    In eval mode, since in training dropout would hide it.
    """
    tap = PenultimateTap()
    with torch.no_grad():
        run_taps(network, to_tensor(inputs), [tap])
    return tap.head


@dataclasses.dataclass(frozen=True)
class SourceHead:
    """A linear model on the features of a backbone, with an output for each target class.

    Parameters
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    """

    coef: np.ndarray
    intercept: np.ndarray

    @classmethod
    def from_layer(cls, layer, outputs=None):
        """Take the chosen outputs (None: all) of a fully connected layer."""
        outputs = slice(None) if outputs is None else outputs
        coef = layer.weight.detach().double().numpy()
        bias = np.zeros(len(coef)) if layer.bias is None else layer.bias.detach().double().numpy()
        return cls(coef[outputs], bias[outputs])

    def make_head(self, rescale):
        """Return the head as layers, the first of which rescales the features."""
        center, scale = rescale.center.double().numpy(), float(rescale.scale)
        head = make_head(center, scale, (), len(self.coef))
        with torch.no_grad():
            head.output.weight.copy_(torch.as_tensor(self.coef * scale))
            head.output.bias.copy_(torch.as_tensor(self.intercept + self.coef @ center))
        return head

    def standardised(self, mean, scale):
        """Return the head for outputs ``(output - mean) / scale``."""
        return SourceHead(self.coef / np.reshape(scale, (-1, 1)), (self.intercept - mean) / scale)


def match_classes(classes, source_classes):
    """Return the position of each class among those of the source, or None if one is missing."""
    if source_classes is None:
        return None
    classes, source_classes = np.asarray(classes), np.asarray(source_classes)
    # Python takes True for 1, but a yes is not the class number one.
    if (classes.dtype == bool) != (source_classes.dtype == bool):
        return None
    positions = {label: i for i, label in enumerate(source_classes.tolist())}
    found = [positions.get(label) for label in classes.tolist()]
    return None if None in found else found
