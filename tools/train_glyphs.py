"""Train the embedded backbone on letters and write `glyphs.safetensors`.

It needs fonttools, pillow and scikit-image beside the project's own packages, and
fonts; on Debian 12 those of `FONTS` in `glyph_images.py`:

    apt-get install --no-install-recommends $(python tools/glyph_images.py)
    python tools/train_glyphs.py --steps 6000 --seed 0

Rendering takes one minute and training 34 minutes on two cores that also did other
work. Progress shows as the accuracy on letters that were held out from training;
digits are for `benchmarks/glyphs_quality.py` alone.
"""

import argparse
import copy
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from glyph_images import FONTS, build_atlas, draw
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from sktransfer.backbones._glyphs import GlyphNetwork, centre_ink, extract_ink  # noqa: E402

HELD_OUT = 80
EMA_DECAY = 0.998


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    atlas = load_atlas(options)
    held_out = choose_held_out(atlas, options.seed)
    print(f"{len(atlas.letters)} classes, {len(atlas.classes)} glyphs, {len(atlas.fonts)} fonts")
    train(atlas, held_out, options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fonts", default="/usr/share/fonts", help="folder of the fonts")
    parser.add_argument("--atlas", help="file that keeps the rendered letters between runs")
    parser.add_argument("--output", default=PROJECT / "sktransfer/backbones/glyphs.safetensors")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--images-per-step", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def load_atlas(options):
    if options.atlas and Path(options.atlas).exists():
        return torch.load(options.atlas, weights_only=False)
    atlas = build_atlas(options.fonts)
    if options.atlas:
        torch.save(atlas, options.atlas)
    return atlas


def choose_held_out(atlas, seed):
    """Classes for validation only: half of them drawn by many fonts, half by few."""
    rng = np.random.default_rng(seed)
    n_fonts = np.bincount(atlas.classes)
    many, few = np.flatnonzero(n_fonts >= 30), np.flatnonzero((n_fonts < 30) & (n_fonts > 1))
    return np.concatenate([rng.choice(some, HELD_OUT // 2, replace=False) for some in (many, few)])


class Drawings(IterableDataset):
    """Batches of prepared images and their labels, never the same twice."""

    def __init__(self, atlas, chances, options):
        self.atlas = atlas
        self.chances = chances
        self.options = options

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.options.seed)
        labels = torch.from_numpy(self.atlas.classes)
        for _ in range(self.options.steps):
            rows = torch.multinomial(
                self.chances, self.options.images_per_step, True, generator=generator
            )
            yield prepare(draw(self.atlas, rows, generator)), labels[rows]


class CosineSoftmax(nn.Module):
    """Cross-entropy over cosines: the directions of features alone tell classes apart."""

    def __init__(self, n_features, n_classes, scale=20.0):
        super().__init__()
        self.directions = nn.Parameter(0.1 * torch.randn(n_classes, n_features))
        self.scale = scale

    def forward(self, features, labels):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cosines = F.normalize(features) @ F.normalize(self.directions).T
        return F.cross_entropy(self.scale * cosines.float(), labels)


def train(atlas, held_out, options):
    network = GlyphNetwork().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    loss_of = CosineSoftmax(network.n_features, len(atlas.letters))
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *loss_of.parameters()], options.learning_rate, weight_decay=0.05
    )
    drawings = Drawings(atlas, glyph_chances(atlas, held_out), options)
    start = time.monotonic()
    for step, (images, labels) in enumerate(DataLoader(drawings, None, num_workers=1), 1):
        set_learning_rate(optimizer, options.learning_rate, step / options.steps)
        loss = update(network, loss_of, optimizer, images, labels)
        follow(average, network, min(EMA_DECAY, step / (step + 10)))
        if step % 250 == 0 or step == options.steps:
            seconds = time.monotonic() - start
            report(step, seconds, loss, average, atlas, held_out)
            save(average, atlas, options, seconds, step)


def glyph_chances(atlas, held_out):
    """Draw letters that many fonts have more often, but far from proportionally."""
    n_fonts = np.bincount(atlas.classes)
    chances = np.sqrt(np.minimum(n_fonts, 64)) / n_fonts
    chances[held_out] = 0
    return torch.from_numpy(chances[atlas.classes])


def set_learning_rate(optimizer, peak, progress):
    warm, cool = min(1.0, progress / 0.05), 0.5 * (1 + np.cos(np.pi * progress))
    for group in optimizer.param_groups:
        group["lr"] = peak * warm * cool


def update(network, loss_of, optimizer, images, labels):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = network.encode(images.to(memory_format=torch.channels_last))
    loss = loss_of(network.pool(maps.float()), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def prepare(groups):
    """Prepare groups of images of one size each as the network itself does."""
    return torch.cat([centre_ink(extract_ink(images)) for images in groups])


@torch.no_grad()
def follow(average, network, decay):
    for slow, fast in zip(
        average.state_dict().values(), network.state_dict().values(), strict=True
    ):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)


def report(step, seconds, loss, network, atlas, held_out):
    scores = [few_shot_accuracy(network, atlas, held_out, shots) for shots in (1, 5)]
    print(
        f"step {step}, {seconds:.0f} s: loss {loss:.3f}, held-out letters, 10 classes: "
        f"{scores[0]:.4f} at 1 image per class, {scores[1]:.4f} at 5",
        flush=True,
    )


def few_shot_accuracy(network, atlas, classes, shots, episodes=60, queries=15):
    """Accuracy of logistic regression among ten classes that were not trained."""
    features, labels = draw_features(network, atlas, classes, per_class=40)
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(episodes):
        chosen = rng.choice(classes, 10, replace=False)
        rows = np.stack([rng.permutation(np.flatnonzero(labels == c)) for c in chosen])
        support, query = rows[:, :shots].ravel(), rows[:, shots : shots + queries].ravel()
        model = LogisticRegression(max_iter=1000).fit(features[support], labels[support])
        scores.append(model.score(features[query], labels[query]))
    return np.mean(scores)


@torch.no_grad()
def draw_features(network, atlas, classes, per_class):
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    labels = rng.permutation(np.repeat(classes, per_class))
    rows = [rng.choice(np.flatnonzero(atlas.classes == label)) for label in labels]
    images = prepare(draw(atlas, np.array(rows), generator))
    features = [network.pool(network.encode(part)) for part in images.split(400)]
    return torch.cat(features).numpy(), labels


def save(network, atlas, options, seconds, step):
    """Write the float16 weights with their provenance, all or nothing."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    output = Path(options.output)
    unfinished = output.with_suffix(".tmp")
    save_file(weights, unfinished, provenance(atlas, options, seconds, step))
    # safetensors makes files that only their owner can read.
    unfinished.chmod(0o644)
    unfinished.replace(output)


def provenance(atlas, options, seconds, step):
    return {
        "what": "GlyphNetwork of sktransfer: features of grey images of single characters",
        "license": "BSD-3-Clause",
        "source_data": (
            f"{len(atlas.classes)} glyphs of {len(atlas.letters)} letters (Unicode categories "
            f"Lu, Ll, Lo; no digits, no numbers) of {len(atlas.scripts)} scripts"
        ),
        "scripts": " ".join(atlas.scripts),
        "font_packages": json.dumps(FONTS),
        "font_licenses": "SIL Open Font License 1.1 (Breip: 1.0); DejaVu: Bitstream Vera licence",
        "font_files": " ".join(atlas.fonts),
        "letters_sha256": hashlib.sha256("".join(atlas.letters).encode()).hexdigest(),
        "command": f"python tools/train_glyphs.py --steps {options.steps} --seed {options.seed}",
        "seed": str(options.seed),
        "steps": f"{step} of {options.steps}",
        "images_per_step": str(options.images_per_step),
        "seconds": f"{seconds:.0f}",
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
