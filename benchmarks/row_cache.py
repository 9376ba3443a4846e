"""How many rows go through the network in a grid search, and what that saves.

    python benchmarks/row_cache.py

GridSearchCV over 10 candidates with 5 folds, on the embedded backbone and scikit-learn's digits,
with the row cache and without.
"""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sktransfer import Backbone, FeatureTransferTransformer, load_backbone
from sktransfer.backbones import clear_row_cache

N_ROWS = 500


class CountedNetwork:
    """Count the rows that a backbone's network is sent, by a hook on a layer that sees them all."""

    def __init__(self, backbone):
        self.rows = 0
        with backbone.borrowed() as network:
            self.handle = network.register_forward_pre_hook(self._count)

    def _count(self, network, args):
        self.rows += len(args[0])


def run_search(cache):
    clear_row_cache()
    glyphs = load_backbone("glyphs")
    backbone = Backbone(glyphs.copy_module(), input=glyphs.input)
    counted = CountedNetwork(backbone)
    digits = load_digits()
    X, y = digits.images[:N_ROWS], digits.target[:N_ROWS]
    pipeline = make_pipeline(
        FeatureTransferTransformer(backbone, cache=cache), LogisticRegression(max_iter=2000)
    )
    grid = {"logisticregression__C": np.logspace(-2, 1, 10)}
    started = time.perf_counter()
    GridSearchCV(pipeline, grid, cv=5).fit(X, y)
    seconds = time.perf_counter() - started
    return counted.rows, len(np.unique(X, axis=0)), seconds


def main():
    print(f"{'row cache':>10} {'rows sent':>10} {'distinct':>9} {'ratio':>7} {'seconds':>8}")
    for cache in (True, False):
        rows, distinct, seconds = run_search(cache)
        print(f"{cache!s:>10} {rows:>10} {distinct:>9} {rows / distinct:>7.2f} {seconds:>8.1f}")


if __name__ == "__main__":
    main()
