"""A small convolutional network for images of any size, to be trained from the start."""

import itertools
from collections import OrderedDict

from torch import nn

# Maps are halved until their shorter side is less than twice this.
_SMALLEST_MAP = 4
_WIDTHS = (32, 64, 128, 256)
_GROUPS = 8


def make_small_network(channels, size):
    """Return a network of 3 x 3 convolutions, with random weights, that ends in its features.

    Blocks ``stem``, ``stage1``, ...: one more, of twice the width and half the size, for each time
    that the image can be halved. The last maps are averaged over their four quadrants, which keeps
    roughly where something was. Groups of channels are normalised, not batches, so that a row is
    the same in every batch, and a few rows of another domain can be fine-tuned on.

    Parameters
    ----------
    channels : int
    size : (height, width)
        Of the images; others are taken as well.

    Returns
    -------
    network : nn.Sequential
        Gives (n, 4 * width of the last stage).
    """
    n_halvings, side = 0, min(size)
    while side >= 2 * _SMALLEST_MAP and n_halvings < len(_WIDTHS) - 1:
        n_halvings, side = n_halvings + 1, side // 2
    widths = _WIDTHS[: max(1, n_halvings) + 1]
    blocks = OrderedDict(stem=_make_block(channels, widths[0]))
    for i, (width, next_width) in enumerate(itertools.pairwise(widths), start=1):
        halving = [nn.MaxPool2d(2)] if n_halvings else []
        blocks[f"stage{i}"] = nn.Sequential(
            *halving, *_make_block(width, next_width), *_make_block(next_width, next_width)
        )
    blocks["pool"], blocks["flatten"] = nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(blocks)


def _make_block(n_in, n_out):
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, n_out), nn.ReLU()
    )
