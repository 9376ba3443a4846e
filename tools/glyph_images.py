"""Pictures of letters from installed fonts, drawn as if by hand, in any number.

`build_atlas` renders each (font, letter) pair once, as two distance fields;
`draw` turns random entries of the atlas into low-resolution handwriting. Run as a
script, it prints the Debian packages of the fonts.
"""

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize
from torch.nn import functional as F

CELL = 64
GLYPH = 52
FARTHEST = 12.0
STEPS_PER_PIXEL = 10
SHEET = 48
LETTERS_PER_SCRIPT = 40

# Debian packages, with the files taken from each below the folder of fonts.
FONTS = {
    "fonts-noto-core fonts-noto-extra": "truetype/noto/Noto*-Regular.ttf",
    "fonts-noto-core": "truetype/noto/Noto*-Italic.ttf",
    "fonts-dejavu-core fonts-dejavu-extra": "truetype/dejavu/DejaVuS*.ttf",
    "fonts-stix": "opentype/stix*/STIX[GM-]*.otf",
    "fonts-comic-neue": "opentype/comic-neue/ComicNeue-*.otf",
    "fonts-klee": "truetype/klee/*-Regular.ttf",
    "fonts-kristi": "truetype/kristi/*.ttf",
    "fonts-dancingscript": "opentype/dancingscript/*.otf",
    "fonts-leckerli-one": "truetype/leckerli-one/*.ttf",
    "fonts-breip": "truetype/breip/breipfont.ttf",
    "fonts-bwht": "opentype/bwht/*.otf",
    "fonts-humor-sans": "truetype/humor-sans/*.ttf",
    "fonts-yusei-magic": "truetype/yusei-magic/*.ttf",
    "fonts-joscelyn": "opentype/joscelyn/*.otf",
    "fonts-gfs-gazis": "opentype/gazis/*.otf",
    "fonts-kaushanscript": "opentype/kaushanscript/*.otf",
    "fonts-seto": "truetype/seto/setofont.ttf",
    "fonts-sil-charis": "truetype/charis/*.ttf",
    "fonts-sil-nuosusil": "truetype/nuosusil/*.ttf",
    "fonts-lato": "truetype/lato/Lato-*.ttf",
    "fonts-ebgaramond": "opentype/ebgaramond/EBGaramond12-*.otf",
    "fonts-cantarell": "opentype/cantarell/*.otf",
}

# Pictures and logograms rather than letters (those without a name are logograms, too):
# too dense for a handful of pixels.
DENSE_SCRIPTS = {
    *("CJK", "IDEOGRAPHIC", "HANGUL", "TANGUT", "NUSHU", "BAMUM", "CUNEIFORM"),
    *("EGYPTIAN", "ANATOLIAN", "SIGNWRITING", "UNKNOWN"),
}


@dataclass
class Atlas:
    """Distance fields of glyphs, and which glyphs show the same letter."""

    fields: torch.Tensor  # int8 (n_glyphs, 2, CELL, CELL): to the outline, to the skeleton
    classes: np.ndarray  # class of each glyph
    letters: list  # the letter that stands for each class
    fonts: list  # names of the font files

    @property
    def scripts(self):
        return sorted({script(letter) for letter in self.letters})


def build_atlas(font_folder, same_shape=0.95):
    """Render every letter of every font; letters of one shape become one class."""
    paths = find_fonts(font_folder)
    letters = select_letters(paths)
    glyphs = [
        (letter, render(font, char))
        for path in paths
        for font in [ImageFont.truetype(str(path), 96)]
        for char, letter in letters_in(path)
        if letter in letters
    ]
    glyphs = [(letter, picture) for letter, picture in glyphs if picture is not None]
    representative = merge_same_shapes(glyphs, same_shape)
    names = sorted(set(representative.values()))
    index = {letter: i for i, letter in enumerate(names)}
    return Atlas(
        torch.from_numpy(np.stack([distance_fields(picture) for _, picture in glyphs])),
        np.array([index[representative[letter]] for letter, _ in glyphs]),
        names,
        [path.name for path in paths],
    )


def find_fonts(font_folder):
    paths = {path for pattern in FONTS.values() for path in Path(font_folder).glob(pattern)}
    return sorted(paths, key=lambda path: path.name)


def select_letters(paths):
    """The `LETTERS_PER_SCRIPT` letters of each script that most fonts have."""
    n_fonts = Counter(letter for path in paths for _, letter in set(letters_in(path)))
    scripts = {}
    for letter in sorted(n_fonts, key=lambda letter: (-n_fonts[letter], letter)):
        scripts.setdefault(script(letter), []).append(letter)
    return {letter for alphabet in scripts.values() for letter in alphabet[:LETTERS_PER_SCRIPT]}


def letters_in(path):
    """Pairs of a character of the font and the plain letter that it shows."""
    with TTFont(path, lazy=True) as font:
        chars = [chr(code) for code in sorted(font.getBestCmap())]
    pairs = [(char, plain_letter(char)) for char in chars]
    return [(char, letter) for char, letter in pairs if letter is not None]


def plain_letter(char):
    """The letter behind a character, None for digits, accented and other characters."""
    decomposition = unicodedata.decomposition(char)
    if decomposition.startswith("<font>"):
        char = unicodedata.normalize("NFKC", char)
    elif decomposition:
        return None
    if unicodedata.category(char) not in ("Lu", "Ll", "Lo"):
        return None
    # Some scripts count with their letters.
    if unicodedata.numeric(char, None) is not None:
        return None
    return None if script(char) in DENSE_SCRIPTS else char


def script(letter):
    return unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]


def render(font, char):
    """The character in the middle of a boolean cell, None where there is nothing to see."""
    left, top, right, bottom = font.getbbox(char)
    width, height = right - left, bottom - top
    shorter, longer = sorted((width, height))
    if shorter < 4 or longer > min(300, 6 * shorter):
        return None
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).text((-left, -top), char, fill=255, font=font)
    box = picture.getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    zoom = GLYPH / max(picture.size)
    picture = picture.resize([max(1, round(side * zoom)) for side in picture.size], Image.LANCZOS)
    cell = Image.new("L", (CELL, CELL))
    cell.paste(picture, [(CELL - side) // 2 for side in picture.size])
    inside = np.asarray(cell) > 127
    return inside if inside.sum() > 40 else None


def distance_fields(inside):
    """Distances of each pixel to the outline (negative inside) and to the skeleton."""
    outline = distance_transform_edt(~inside) - distance_transform_edt(inside)
    skeleton = distance_transform_edt(~skeletonize(inside))
    fields = np.clip(np.stack([outline, skeleton]), -FARTHEST, FARTHEST)
    return np.round(fields * STEPS_PER_PIXEL).astype(np.int8)


def merge_same_shapes(glyphs, same_shape):
    """Map each letter to an earlier one whose picture nearly coincides with its own.

    Without this the labels would ask to tell a Latin from a Cyrillic O. One picture
    stands for each letter: that of the first font that has it.
    """
    pictures = {}
    for letter, picture in glyphs:
        pictures.setdefault(letter, picture)
    letters = sorted(pictures)
    blurred = F.avg_pool2d(
        torch.from_numpy(np.stack([pictures[letter] for letter in letters])).float()[:, None], 5, 3
    ).flatten(1)
    blurred = F.normalize(blurred)
    kept, representative = [], {}
    for i, letter in enumerate(letters):
        similarity = blurred[kept] @ blurred[i]
        if kept and similarity.max() > same_shape:
            representative[letter] = letters[kept[int(similarity.argmax())]]
        else:
            kept.append(i)
            representative[letter] = letter
    return representative


def draw(atlas, rows, generator):
    """Draw glyphs as handwriting.

    Returns
    -------
    groups : list of tensors of shape (m, 1, side, side)
        In the order of `rows`; the images of a group have one resolution.
    """
    fields = atlas.fields[rows].float() / STEPS_PER_PIXEL
    fields = F.grid_sample(
        fields, random_grid(len(rows), generator), align_corners=False, padding_mode="border"
    )
    return [digitise(group, generator) for group in put_ink(fields, generator).split(32)]


def random_grid(n, generator):
    """Sampling points after a random affine and a smooth elastic deformation."""
    angle = normal(n, generator) * math.radians(7)
    slant = normal(n, generator) * 0.22
    aspect = (normal(n, generator) * 0.16).exp()
    zoom = uniform(n, generator, 0.78, 1.08)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = uniform((n, 2), generator, -0.08, 0.08)
    theta = torch.stack(
        [
            torch.stack([cos * aspect, sin + slant * cos, shift[:, 0]], 1),
            torch.stack([-sin * aspect, (cos - slant * sin) / aspect, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, (n, 1, SHEET, SHEET), align_corners=False)
    for knots, strength in ((3, 0.16), (5, 0.10)):
        bend = normal((n, 2, knots, knots), generator)
        bend = bend * uniform((n, 1, 1, 1), generator, 0, strength)
        bend = F.interpolate(bend, SHEET, mode="bicubic", align_corners=True)
        grid = grid + bend.permute(0, 2, 3, 1)
    return grid


def put_ink(fields, generator):
    """Ink along the skeleton, as of a pen, or within a widened outline."""
    n = len(fields)
    shape = (n, 1, 1, 1)
    outline, skeleton = fields[:, :1], fields[:, 1:]
    pen = uniform(shape, generator, 1.0, 5.0)
    pressure = F.interpolate(normal((n, 1, 4, 4), generator), SHEET, mode="bilinear")
    pen = pen * (1 + 0.25 * pressure)
    widening = uniform(shape, generator, -1.0, 2.5)
    by_pen = uniform(shape, generator, 0, 1) < 0.7
    distance = torch.where(by_pen, skeleton - pen, outline - widening)
    softness = uniform(shape, generator, 0.4, 1.2)
    return torch.sigmoid(-distance / softness)


RESOLUTIONS = (8, 8, 8, 10, 12, 14, 16, 16, 20, 24, 28)


def digitise(ink, generator):
    """Scan at a random resolution, with uneven contrast, blur and noise."""
    pick = torch.randint(len(RESOLUTIONS), (), generator=generator)
    scan = F.interpolate(ink, (RESOLUTIONS[pick],) * 2, mode="area")
    shape = (len(scan), 1, 1, 1)
    scan = scan.clamp_min(1e-6) ** (normal(shape, generator) * 0.3).exp()
    blurred = F.avg_pool2d(F.pad(scan, (1, 1, 1, 1)), 3, 1)
    scan = torch.lerp(scan, blurred, uniform(shape, generator, -0.6, 0.6).clamp_min(0))
    noise = normal(scan.shape, generator)
    scan = scan + noise * uniform(shape, generator, -0.08, 0.08).clamp_min(0)
    return (scan.clamp(0, 1) * 16).round()


def normal(shape, generator):
    return torch.randn(shape, generator=generator)


def uniform(shape, generator, low, high):
    return torch.rand(shape, generator=generator) * (high - low) + low


if __name__ == "__main__":
    print(*sorted({package for packages in FONTS for package in packages.split()}))
