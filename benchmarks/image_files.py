"""What reading image files costs beside the network: decoding overlaps with the forward passes.

    python benchmarks/image_files.py [n_images]

JPEG files of 500 x 375 pixels, made on the spot, through a network of the size of ResNet-18 at
224 x 224 pixels, on the CPU and without the row cache. Every row of the table is measured in turn,
several times; ratios are medians of those within one round, since other programs share the CPU.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _resnet import make_resnet
from joblib import parallel_config
from PIL import Image

from sktransfer import Backbone, FeatureTransferTransformer
from sktransfer.backbones import ImageRows, NetworkInput

N_IMAGES = 32
N_ROUNDS = 5
BATCH_SIZE = 8
INPUT = NetworkInput(
    channels=3,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    resize=256,
    crop=224,
)


def make_files(folder, n_images):
    """Write photographs of nothing, with as much detail as to need about 60 kB each."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n_images):
        coarse = Image.fromarray(rng.integers(0, 256, (63, 83, 3), dtype=np.uint8))
        paths.append(str(Path(folder, f"{i}.jpg")))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(paths[-1], quality=85)
    return paths


def prepare_in_processes(paths):
    with parallel_config(backend="loky", n_jobs=2):
        return ImageRows(paths).prepare(INPUT)


def measure(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main():
    n_images = int(sys.argv[1]) if len(sys.argv) > 1 else N_IMAGES
    backbone = Backbone(make_resnet(), name="ResNet-18", input=INPUT)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(folder, n_images)
        arrays = np.moveaxis(ImageRows(paths).decode(INPUT), 1, -1)

        def transform(X, n_jobs=None):
            transformer = FeatureTransferTransformer(
                backbone, batch_size=BATCH_SIZE, cache=False, n_jobs=n_jobs
            )
            transformer.fit(X)
            return lambda: transformer.transform(X)

        runs = {
            "forward alone (arrays)": transform(arrays),
            "files, 1 thread reads": transform(paths, 1),
            "files, 2 threads read": transform(paths, 2),
            "files read alone, 1 thread": lambda: ImageRows(paths).prepare(INPUT),
            "files read alone, 2 threads": lambda: ImageRows(paths, n_jobs=2).prepare(INPUT),
            "files read alone, 2 processes": lambda: prepare_in_processes(paths),
        }
        prepare_in_processes(paths)  # which are then there
        difference = np.abs(transform(paths)() - transform(arrays)()).max()
        seconds = np.array([[measure(run) for run in runs.values()] for _ in range(N_ROUNDS)])
    per_image = 1000 * np.median(seconds, axis=0) / n_images
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    print(f"{n_images} JPEG files, {torch.get_num_threads()} threads of torch, largest difference")
    print(f"between features of files and of arrays {difference:.1e}")
    print(f"{'':<30} {'ms per image':>12} {'ratio':>7}")
    for name, milliseconds, ratio in zip(runs, per_image, ratios, strict=True):
        print(f"{name:<30} {milliseconds:>12.1f} {ratio:>7.2f}")


if __name__ == "__main__":
    main()
