"""A folder of images, one sub-folder per class, to a cross-validated classifier.

    python examples/image_folder.py                      # a small folder made on the spot
    python examples/image_folder.py FOLDER --backbone timm/resnet18.a1_in1k --folds 5

Images may be of any format that Pillow reads, and of any size: the backbone says to which size
they are brought; for one that takes any size, "glyphs" for instance, --size does.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import Backbone, FeatureTransferTransformer, load_backbone
from sktransfer.datasets import load_image_folder, make_rendered_digits


def main():
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or make_folder(Path(made, "digits"))
        paths, labels = load_image_folder(folder, recursive=options.recursive)
        classes, counts = np.unique(labels, return_counts=True)
        print(f"{len(paths)} images, {len(classes)} classes of {counts.min()} to {counts.max()}")
        if counts.min() < options.folds:
            raise SystemExit(f"--folds {options.folds} needs as many images of each class.")
        started = time.perf_counter()
        scores = cross_validate_images(paths, labels, options)
        seconds = time.perf_counter() - started
    for name, values in scores.items():
        print(f"{name:<18} {values.mean():.3f} ± {values.std():.3f} over {options.folds} folds")
    print(f"in {seconds:.1f} s; each image went through the network once")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="one sub-folder per class")
    parser.add_argument("--backbone", default="glyphs", help="a name or a .safetensors file")
    parser.add_argument("--size", type=int, help="bring the images to so many pixels a side")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="threads that read images")
    parser.add_argument("--recursive", action="store_true", help="folders within those of classes")
    return parser.parse_args()


def cross_validate_images(paths, labels, options):
    pipeline = make_pipeline(
        FeatureTransferTransformer(choose_backbone(options), n_jobs=options.jobs),
        StandardScaler(),
        # Hundreds of standardised features want a strong penalty.
        LogisticRegression(C=0.01, max_iter=1000),
    )
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    scoring = ("accuracy", "balanced_accuracy")
    scores = cross_validate(pipeline, paths, labels, cv=folds, scoring=scoring, error_score="raise")
    return {name: scores[f"test_{name}"] for name in scoring}


def choose_backbone(options):
    backbone = load_backbone(options.backbone)
    if options.size is None:
        return backbone
    size = (options.size, options.size)
    return Backbone(
        backbone.copy_module(),
        name=backbone.name,
        input=dataclasses.replace(backbone.input, resize=size, crop=None),
    )


def make_folder(folder, n_images=100):
    """Render digits as files: black on white, of formats that differ."""
    from PIL import Image

    images, digits = make_rendered_digits(n_images, size=16, random_state=0)
    for i, (image, digit) in enumerate(zip(images, digits, strict=True)):
        path = folder / str(digit) / f"{i:03d}{('.png', '.jpg', '.gif')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(255 - image / 16 * 255)).save(path)
    return folder


if __name__ == "__main__":
    main()
