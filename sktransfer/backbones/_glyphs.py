"""The embedded backbone: a small residual network for pictures of single characters."""

from importlib import resources

import torch
from torch import nn
from torch.nn import functional as F

CANVAS = 24
LARGEST_SIDE = 32
MARGIN = 1.7
FEATURE_NORM = 16.0


class GlyphNetwork(nn.Module):
    """Features of grey images that show one character each.

    Every image is prepared on its own inside `forward`: the contrast is stretched,
    dark ink on a bright background inverted, and the ink centred, set upright and
    scaled to a canvas of 24 by 24 pixels. Size and value range of the images are
    therefore free, and a row has the same features in any batch.

    The children `stem`, `stage1`, `stage2` and `stage3` are the convolutional
    blocks from input to output; `pool` turns the last into the features.
    """

    n_features = 640

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.stage1 = ResidualBlock(32, 48)
        self.stage2 = nn.Sequential(
            ResidualBlock(48, 96, stride=2),
            ResidualBlock(96, 96),
        )
        self.stage3 = ResidualBlock(96, 160, stride=2)
        self.pool = FeaturePool(self.n_features)

    def forward(self, images):
        """Compute the features of images.

        Parameters
        ----------
        images : float tensor of shape (n, 1, height, width)
            Grey images of any value range, at least 8 by 8 pixels.

        Returns
        -------
        features : tensor of shape (n, 640)
        """
        return self.pool(self.encode(centre_ink(extract_ink(images))))

    def encode(self, prepared):
        """Run the convolutional blocks on prepared images."""
        return self.stage3(self.stage2(self.stage1(self.stem(prepared))))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x):
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class FeaturePool(nn.Module):
    """Average over the four quadrants, standardise, and bring to one length.

    A plain `LogisticRegression` is not scale-invariant. On letters held out from
    training its accuracy hardly depends on this length, but with its default `C=1`
    shorter features give timid probabilities.
    """

    def __init__(self, n_features):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features, affine=False)

    def forward(self, x):
        quadrants = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return FEATURE_NORM * F.normalize(self.norm(quadrants))


def extract_ink(images):
    """Stretch each image to 0 (paper) .. 1 (ink), whatever its range and polarity."""
    low = images.amin((2, 3), keepdim=True)
    high = images.amax((2, 3), keepdim=True)
    ink = (images - low) / (high - low).clamp_min(1e-12)
    ink = torch.where(_has_bright_paper(ink), 1 - ink, ink)
    # A constant image holds no ink, whether it is black or white.
    return torch.where(high > low, ink, torch.zeros_like(ink))


def _has_bright_paper(ink):
    # Only both together: bold characters fill the frame, others touch its border.
    top_bottom = ink[:, :, [0, -1]].mean((2, 3), keepdim=True)
    left_right = ink[:, :, :, [0, -1]].mean((2, 3), keepdim=True)
    border = (top_bottom + left_right) / 2
    return (border > 0.5) & (ink.mean((2, 3), keepdim=True) > 0.5)


def centre_ink(ink):
    """Move the ink to the middle of the canvas, undo its slant, fit its extent.

    Measured on letters that were held out from training, each step makes unseen
    characters easier to tell apart, even from the bare pixels.
    """
    ink = _shrink(ink)
    n, _, height, width = ink.shape
    x_centre, y_centre, slant, x_half, y_half = _measure_ink(ink[:, 0])
    zero = torch.zeros_like(slant)
    theta = torch.stack(
        [
            torch.stack([x_half, slant * y_half, x_centre], 1) * (2 / width),
            torch.stack([zero, y_half, y_centre], 1) * (2 / height),
        ],
        1,
    )
    grid = F.affine_grid(theta, (n, 1, CANVAS, CANVAS), align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


def _measure_ink(ink):
    """Find the frame of the ink, in pixels from the middle: centre, slant, half its sides."""
    # Faint noise far from the character would dominate the high moments.
    weight = (ink - 0.15).clamp_min(0)
    weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1e-6)
    y, x = (_offsets(side, ink) for side in ink.shape[1:])
    x_centre = (weight.sum(1) * x).sum(1)
    y_centre = (weight.sum(2) * y).sum(1)
    x = (x - x_centre[:, None])[:, None, :]
    y = (y - y_centre[:, None])[:, :, None]
    slant = (weight * x * y).sum((1, 2)) / (weight * y**2).sum((1, 2)).clamp_min(0.1)
    slant = slant.clamp(-0.6, 0.6)
    x_half, y_half = _extent(weight, x - slant[:, None, None] * y), _extent(weight, y)
    longer = torch.maximum(x_half, y_half).clamp_min(1.0)
    # The geometric mean with the longer side keeps narrow characters narrow, though less so.
    x_half, y_half = ((half.clamp_min(0.1) * longer).sqrt() for half in (x_half, y_half))
    return x_centre, y_centre, slant, MARGIN * x_half, MARGIN * y_half


def _offsets(side, like):
    return torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2


def _shrink(ink):
    """Average larger images down, for sampling at few points would skip pixels."""
    longest = max(ink.shape[2:])
    if longest <= LARGEST_SIDE:
        return ink
    shape = [max(1, round(side * LARGEST_SIDE / longest)) for side in ink.shape[2:]]
    return F.interpolate(ink, shape, mode="area")


def _extent(weight, offset):
    """Estimate half the size of the ink: the fourth moment is a smooth stand-in for the maximum."""
    return (weight * offset**4).sum((1, 2)).clamp_min(1e-6) ** 0.25


def load_glyph_network():
    """Load the network that comes with the package.

    Returns
    -------
    network : GlyphNetwork
        In evaluation mode, on the CPU, with float32 weights.
    """
    from safetensors.torch import load

    packaged = resources.files(__package__).joinpath("glyphs.safetensors")
    network = GlyphNetwork()
    # The file holds float16; copying into the parameters widens to float32.
    network.load_state_dict(load(packaged.read_bytes()))
    return network.eval()
