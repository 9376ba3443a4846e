"""One prototype per class, its mean direction: the head that needs the fewest rows."""

import numpy as np
import torch
from torch import nn

from sktransfer.backbones._rescale import UnitLength

# What a logit of one is worth as a cosine, before a temperature is fitted.
_SCALE = 10.0


def make_prototype_head(features, targets, sample_weight):
    """Make a head whose logits are ten times the cosine of a row with the mean of each class.

    Features are centred first, and each row counts by its direction alone (prototypical networks,
    Snell et al., NeurIPS 2017, with cosine similarity as Chen et al., "A Closer Look at Few-shot
    Classification", ICLR 2019).

    Parameters
    ----------
    features : ndarray of shape (n, d)
    targets : ndarray of shape (n, n_classes)
        One-hot.
    sample_weight : ndarray of shape (n,)

    Returns
    -------
    head : nn.Sequential
        Layers ``rescale`` and ``output``.
    """
    center = np.average(features, axis=0, weights=sample_weight)
    directions = _to_unit_length(features - center)
    prototypes = _to_unit_length((targets * sample_weight[:, None]).T @ directions)
    head = nn.Sequential()
    head.add_module("rescale", UnitLength(len(center)))
    head.add_module("output", nn.utils.skip_init(nn.Linear, *prototypes.shape[::-1]))
    with torch.no_grad():
        head.rescale.center.copy_(torch.as_tensor(center))
        head.output.weight.copy_(torch.as_tensor(_SCALE * prototypes))
        head.output.bias.zero_()
    return head


def _to_unit_length(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)
