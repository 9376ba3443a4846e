"""How well few labels suffice on the features of `load_backbone("glyphs")`.

Prints the accuracy of a plain logistic regression at 1, 5, 10 and 20 labels per
class, mean and standard deviation over draws, on handwritten digits, which the
backbone never saw. Takes half a minute.

    python benchmarks/glyphs_quality.py --data ../shared/data
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sktransfer import FeatureTransferTransformer

PROJECT = Path(__file__).resolve().parents[1]
SHOTS = (1, 5, 10, 20)


def main():
    options = parse_options()
    for name, train, test in load_sets(options.data):
        print(f"\n{name}\n{'labels per class':24}" + "".join(f"{n:>15}" for n in SHOTS))
        for row, (X_train, X_test) in representations(train[0], test[0]).items():
            cells = [accuracy(X_train, train[1], X_test, test[1], n, options.draws) for n in SHOTS]
            print(
                f"{row:24}" + "".join(f"  {mean:.4f} ±{sd:.3f}" for mean, sd in cells), flush=True
            )


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=PROJECT.parent / "shared/data", help="folder with USPS"
    )
    parser.add_argument("--draws", type=int, default=20)
    return parser.parse_args()


def load_sets(data):
    """Name, training pool and test rows; a pool that is its own test is split in each draw."""
    digits = load_digits()
    yield "scikit-learn digits, 8x8", (digits.images, digits.target), (None, None)
    if not (data / "load.py").exists():
        print(f"no USPS in {data}")
        return
    spec = importlib.util.spec_from_file_location("load", data / "load.py")
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    yield "USPS, 16x16", load.usps("train"), load.usps("test")


def representations(train, test):
    """What stands before the logistic regression, for the training pool and the test rows."""
    replaced = FeatureTransferTransformer("glyphs")
    concatenated = FeatureTransferTransformer("glyphs", mode="concat", scale_blocks=False)
    train, test = (None if X is None else X / train.max() for X in (train, test))
    return {
        "pixels": [None if X is None else X.reshape(len(X), -1) for X in (train, test)],
        "features": [None if X is None else replaced.fit_transform(X) for X in (train, test)],
        "features and pixels": [
            None if X is None else concatenated.fit_transform(X) for X in (train, test)
        ],
    }


def accuracy(X_train, y_train, X_test, y_test, n_labels, n_draws):
    scores = []
    for seed in range(n_draws):
        chosen = draw_rows(y_train, n_labels, seed)
        model = LogisticRegression(max_iter=2000).fit(X_train[chosen], y_train[chosen])
        if X_test is None:
            rest = np.setdiff1d(np.arange(len(y_train)), chosen)
            scores.append(model.score(X_train[rest], y_train[rest]))
        else:
            scores.append(model.score(X_test, y_test))
    return np.mean(scores), np.std(scores)


def draw_rows(y, n_per_class, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.choice(np.flatnonzero(y == label), n_per_class, replace=False)
            for label in np.unique(y)
        ]
    )


if __name__ == "__main__":
    main()
