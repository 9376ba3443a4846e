"""What the row cache saves, and what it costs.

    python benchmarks/row_cache.py [part ...]

1. rows: how many rows go through the network in GridSearchCV over 10 candidates with 5 folds and a
   refit, per distinct row, beside no cache and scikit-learn's ``Pipeline(memory=...)``;
2. search: CPU seconds of such a search on a ResNet-18, per CPU seconds of one extraction;
3. store: rows of 512 features kept and looked up per second, in memory and on disk;
4. digest: what digesting images costs, as a share of the forward pass;
5. disk: 100,000 rows of 512 features from disk in a new process: seconds, and peak memory as a
   multiple of the array.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _resnet import make_resnet
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer, load_backbone
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones.cache._tiers import Tiers
from sktransfer.utils._digests import digest_rows

GRID = {"ridgeclassifier__alpha": np.logspace(-2, 3, 10)}
N_FEATURES = 512


class Counter:
    """Of all networks, so that it is no part of any."""

    rows = 0


def count(network, args):
    Counter.rows += len(args[0])


class HandWritten(TransformerMixin, BaseEstimator):
    """A transformer around a torch module, as people write it."""

    def __init__(self, module):
        self.module = module

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        images = torch.as_tensor(X, dtype=torch.float32)[:, None]
        with torch.inference_mode():
            return np.concatenate([self.module(batch).numpy() for batch in images.split(64)])


def measure_rows():
    digits = load_digits()
    X, y = digits.images[:200], digits.target[:200]
    n_distinct = len(np.unique(X, axis=0))
    glyphs = load_backbone("glyphs")
    network = glyphs.copy_module()
    network.register_forward_pre_hook(count)
    backbone = Backbone(network, input=glyphs.input)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as memory:
        cases = {
            "row cache": make_pipeline(FeatureTransferTransformer(backbone), RidgeClassifier()),
            "row cache on disk": make_pipeline(
                FeatureTransferTransformer(backbone, cache_dir=folder), RidgeClassifier()
            ),
            "no cache": make_pipeline(
                FeatureTransferTransformer(backbone, cache=False), RidgeClassifier()
            ),
            "hand-written, Pipeline(memory=...)": make_pipeline(
                HandWritten(network.eval()), RidgeClassifier(), memory=memory
            ),
        }
        print(f"{'1. rows sent per distinct row':<40} {'rows':>8} {'ratio':>7}")
        for name, pipeline in cases.items():
            clear_row_cache()
            Counter.rows = 0
            GridSearchCV(pipeline, GRID, cv=5).fit(X, y)
            print(f"   {name:<37} {Counter.rows:>8} {Counter.rows / n_distinct:>7.2f}")


def measure_search(n_rows=200):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3, 32, 32)).astype(np.float32)
    y = rng.integers(0, 5, n_rows)
    backbone = Backbone(make_resnet(small=True))
    compute_activations(backbone, X[:100], cache=False)
    # A head that costs next to nothing, so that the ratio is that of the search itself.
    pipeline = make_pipeline(FeatureTransferTransformer(backbone), GaussianNB())
    grid = {"gaussiannb__var_smoothing": np.logspace(-9, 0, 10)}
    ratios = []
    for _ in range(3):
        clear_row_cache()
        extraction = take_time(lambda: compute_activations(backbone, X, cache=False))
        search = take_time(lambda: GridSearchCV(pipeline, grid, cv=5).fit(X, y))
        ratios.append(search / extraction)
    print(f"2. search of 51 fits / one extraction (ResNet-18, 3 x 32 x 32) {np.median(ratios):.2f}")


def measure_store(n_rows=10_000):
    rng = np.random.default_rng(0)
    values = rng.random((n_rows, N_FEATURES)).astype(np.float32)
    digests = digest_rows(np.arange(n_rows)[:, None])
    key = ("network", "layer", "auto", "float32")
    shuffled = [digests[i] for i in rng.permutation(n_rows)]
    print(f"{'3. rows per second':<24} {'stored':>10} {'looked up':>10} {'again':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, cache_dir in (("memory", None), ("disk", folder)):
            clear_row_cache()
            stored = take_wall_time(lambda c=cache_dir: Tiers(key, c).keep(digests, values))
            if cache_dir:
                clear_row_cache()
            looked_up = [
                take_wall_time(lambda c=cache_dir: Tiers(key, c).fetch(shuffled)) for _ in "ab"
            ]
            rates = [n_rows / seconds for seconds in (stored, *looked_up)]
            print(f"   {name:<21} " + " ".join(f"{rate:>10,.0f}" for rate in rates))


def measure_digests():
    network = make_resnet()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (48, 3, 224, 224), dtype=np.uint8)
    backbone = Backbone(network)
    print("4. digests, share of the forward pass (ResNet-18, 3 x 224 x 224)")
    for name, X in (("uint8", images), ("float32", images.astype(np.float32) / 255)):
        compute_activations(backbone, X, cache=False, batch_size=16)
        forward = take_time(lambda X=X: compute_activations(backbone, X, cache=False))
        digesting = min(take_time(lambda X=X: digest_rows(X)) for _ in range(3))
        print(f"   {name:<37} {digesting / forward:.2%}")


def measure_disk():
    with tempfile.TemporaryDirectory() as folder:
        for step in ("written", "read"):
            command = [sys.executable, __file__, f"_{step}", folder]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            print(result.stdout, end="")


def measure_peak():
    """Return the most bytes that this process has had in memory (Linux)."""
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


def use_disk(step, folder, n_rows=100_000):
    """Write, or read, in a process of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(64, N_FEATURES), nn.ReLU(), nn.Linear(N_FEATURES, 9)]
        network = nn.Sequential(nn.Flatten(), *layers)
    transformer = FeatureTransferTransformer(network, batch_size=1024, cache_dir=folder)
    X = np.random.default_rng(0).integers(0, 255, (n_rows, 8, 8), dtype=np.uint8)
    transformer.fit(X[:2])
    before = measure_peak()
    started = time.perf_counter()
    features = transformer.transform(X)
    seconds = time.perf_counter() - started
    peak = measure_peak() - before
    info = transformer.cache_info_
    print(
        f"5. {n_rows:,} x {features.shape[1]} {step}: {seconds:.1f} s, "
        f"{peak / features.nbytes:.2f} times the array in memory, {info.misses} rows sent, "
        f"{info.bytes_on_disk / 1e6:.0f} MB on disk ({features.nbytes / 1e6:.0f} MB of values)"
    )


def take_time(function):
    started = time.process_time()
    function()
    return time.process_time() - started


def take_wall_time(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


PARTS = {
    "rows": measure_rows,
    "search": measure_search,
    "store": measure_store,
    "digest": measure_digests,
    "disk": measure_disk,
}


def main():
    torch.set_num_threads(1)
    if len(sys.argv) == 3 and sys.argv[1] in ("_written", "_read"):
        use_disk(sys.argv[1][1:], sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
