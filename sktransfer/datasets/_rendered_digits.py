"""Printed digits, distorted and scaled down until they look a little like handwriting."""

from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.utils import check_random_state

__all__ = ["make_rendered_digits"]

# They come with matplotlib; licences: Bitstream Vera (DejaVu) and SIL OFL (STIX).
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
    "STIXGeneralBol",
)
GLYPH_HEIGHT = 48  # resolution of the outlines
SUPERSAMPLING = 4  # points a pixel and axis: 4 x 4 points give the values 0 to 16


def make_rendered_digits(n_samples=1000, *, size=8, random_state=None):
    """Render printed digits as small grey images, in the manner of scikit-learn's digits.

    Each image is one digit from one of the fonts that come with matplotlib, with a random pen
    width, a random affine and a small smooth distortion. Each pixel counts the ink of its area,
    0 to 16. The digits are a source domain for handwritten ones.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of images. Classes are as equal in number as they can be.

    size : int, default=8
        Height and width in pixels.

    random_state : int, RandomState instance or None, default=None
        Seed of the fonts and distortions.

    Returns
    -------
    X : float32 array of shape (n_samples, size, size)
        Images with values from 0 (paper) to 16 (ink).

    y : integer array of shape (n_samples,)
        The digits, 0 to 9.

    Examples
    --------
    >>> from sktransfer.datasets import make_rendered_digits
    >>> X, y = make_rendered_digits(20, random_state=0)
    >>> X.shape
    (20, 8, 8)
    """
    if n_samples < 1:
        raise ValueError(f"Got n_samples={n_samples!r}, but expected at least 1.")
    if size < 4:
        raise ValueError(f"Got size={size!r}, but expected at least 4 pixels.")
    random_state = check_random_state(random_state)

    y = random_state.permutation(np.arange(n_samples) % 10)
    X = np.empty((n_samples, size, size), dtype=np.float32)
    for image, digit in zip(X, y, strict=True):
        font = FONTS[random_state.randint(len(FONTS))]
        image[:] = _draw(_signed_distances(font, int(digit)), size, random_state)
    return X, y


def _draw(distances, size, random_state):
    """Draw one distorted glyph and count the ink of each pixel."""
    n_points = size * SUPERSAMPLING
    rows, columns = _distorted_grid(n_points, distances.shape, random_state)
    sampled = ndimage.map_coordinates(
        distances, [rows, columns], order=1, mode="constant", cval=-GLYPH_HEIGHT
    )
    pen = random_state.uniform(0.0, 2.2) * GLYPH_HEIGHT / 32
    ink = sampled > -pen
    return ink.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).sum(axis=(1, 3))


def _distorted_grid(n_points, glyph_shape, random_state):
    """Place the points of the image in the coordinates of the glyph."""
    height, width = glyph_shape
    grid = (np.arange(n_points) + 0.5) / n_points - 0.5
    rows, columns = np.meshgrid(grid, grid, indexing="ij")

    angle, slant = random_state.normal(scale=(0.08, 0.12))
    rows, columns = (
        np.cos(angle) * rows + np.sin(angle) * columns,
        np.cos(angle) * columns - np.sin(angle) * rows,
    )
    columns = columns + slant * rows
    waves = random_state.normal(scale=0.045, size=(2, 4, 4))
    waves = ndimage.zoom(waves, (1, n_points / 4, n_points / 4), order=3)
    tall = GLYPH_HEIGHT * random_state.uniform(0.95, 1.1)
    wide = GLYPH_HEIGHT * random_state.uniform(1.0, 1.45)
    shift = random_state.normal(scale=0.03, size=2)
    rows = (rows + waves[0] + shift[0]) * tall + (height - 1) / 2
    columns = (columns + waves[1] + shift[1]) * wide + (width - 1) / 2
    return rows, columns


@cache
def _signed_distances(font, digit):
    """Return the distance of each point from the outline of a glyph, positive inside."""
    bitmap = np.pad(_glyph_bitmap(font, digit), GLYPH_HEIGHT // 4)
    return ndimage.distance_transform_edt(bitmap) - ndimage.distance_transform_edt(~bitmap)


def _glyph_bitmap(font, digit):
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font
    except ImportError as error:
        raise ImportError(
            "make_rendered_digits renders the fonts that come with matplotlib, which is not "
            "installed; pip install 'sktransfer[plot]'."
        ) from error
    drawer = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"))
    drawer.set_size(2 * GLYPH_HEIGHT, 72)
    drawer.set_text(str(digit))
    drawer.draw_glyphs_to_bitmap(antialiased=True)
    bitmap = np.asarray(drawer.get_image()) > 127
    bitmap = bitmap[np.ix_(bitmap.any(axis=1), bitmap.any(axis=0))]
    zoom = GLYPH_HEIGHT / bitmap.shape[0]
    return ndimage.zoom(bitmap.astype(float), zoom, order=1) > 0.5
