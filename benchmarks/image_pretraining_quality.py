"""Features of networks that `pretrain_backbone` trained on digits 0 to 4, for digits 5 to 9.

    python benchmarks/image_pretraining_quality.py
    python benchmarks/image_pretraining_quality.py --usps usps.npz

Accuracy of a logistic regression (C = 0.1, standardised features) on few labels per class, the mean
over draws of these labels; the held-out half of the target, or the test split of USPS, is what it
is measured on. Rows: the pixels; the same small network with random weights; trained on the labels
of the source; trained on its images alone (SimCLR); on both; and ``"glyphs"``, which comes with the
package and was trained on many more characters. The second part of each line is the accuracy beside
the pixels (``mode="concat"``).
"""

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import FeatureTransferTransformer, pretrain_backbone

PER_CLASS = (5, 10, 25)


def split_digits():
    """Return source images and labels, and those of the target to draw from and to measure on."""
    digits = load_digits()
    is_source = digits.target < 5
    images, labels = digits.images.astype(np.float32), digits.target
    order = np.random.RandomState(0).permutation(np.flatnonzero(~is_source))
    pool, test = np.array_split(order, 2)
    parts = (is_source, pool, test)
    return [(images[part], labels[part]) for part in parts]


def split_usps(path, n_source):
    """Return the same of USPS, 16 x 16 pixels."""
    with np.load(path) as data:
        images, labels = data["X_train"].astype(np.float32), data["y_train"].astype(int)
        test, test_labels = data["X_test"].astype(np.float32), data["y_test"].astype(int)
    is_low = labels < 5
    source = np.random.RandomState(0).permutation(np.flatnonzero(is_low))[:n_source]
    high = test_labels >= 5
    return [
        (images[source], labels[source]),
        (images[~is_low], labels[~is_low]),
        (test[high], test_labels[high]),
    ]


def measure(features, labels, test_features, test_labels, per_class, n_draws):
    """Return the accuracy of each draw of labels."""
    scores = []
    for draw in range(n_draws):
        generator = np.random.RandomState(draw)
        rows = np.concatenate(
            [
                generator.choice(np.flatnonzero(labels == label), per_class, replace=False)
                for label in np.unique(labels)
            ]
        )
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        classifier.fit(features[rows], labels[rows])
        scores.append(classifier.score(test_features, test_labels))
    return np.array(scores)


def pretrain_all(images, labels, max_epochs, seed):
    """Return backbones by name, and the seconds that each took."""
    recipes = {
        "random": {"y_source": labels, "max_epochs": 1, "learning_rate": 1e-12},
        "labels": {"y_source": labels, "max_epochs": max_epochs},
        "images": {"y_source": None, "max_epochs": max_epochs},
        "both": {"y_source": labels, "self_supervised": 1.0, "max_epochs": max_epochs},
    }
    backbones = {}
    for name, recipe in recipes.items():
        started = time.perf_counter()
        backbone = pretrain_backbone(images, **recipe, random_state=seed)
        backbones[name] = (backbone, time.perf_counter() - started)
        print(f"# {name}: {backbone.report_!r}", flush=True)
    backbones["glyphs"] = ("glyphs", 0.0)
    return backbones


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--usps", help="an .npz file with X_train, y_train, X_test, y_test")
    parser.add_argument("--n-source", type=int, default=2000, help="of USPS")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--max-epochs", type=int, help="of the default if it is not given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = split_usps(options.usps, options.n_source) if options.usps else split_digits()
    (images, labels), (pool, pool_labels), (test, test_labels) = parts
    print(f"# source {len(images)}, target {len(pool)}, measured on {len(test)}")
    backbones = pretrain_all(images, labels, options.max_epochs, options.seed)
    flat = [X.reshape(len(X), -1) for X in (pool, test)]
    print(f"{'features':10}" + "".join(f"{n:>8}/class" for n in PER_CLASS) + "  seconds")
    rows = {"pixels": (flat, flat, 0.0)}
    for name, (backbone, seconds) in backbones.items():
        transformer = FeatureTransferTransformer(backbone, cache=False).fit(pool)
        features = [transformer.transform(X) for X in (pool, test)]
        beside = [np.hstack(both) for both in zip(flat, features, strict=True)]
        rows[name] = (features, beside, seconds)
    for name, (alone, beside, seconds) in rows.items():
        line = f"{name:10}"
        for n in PER_CLASS:
            of = [
                measure(X[0], pool_labels, X[1], test_labels, n, options.draws).mean()
                for X in ((alone,) if name == "pixels" else (alone, beside))
            ]
            line += f"{' '.join(f'{value:.3f}' for value in of):>14}"
        print(f"{line}  {seconds:.1f}", flush=True)


if __name__ == "__main__":
    main()
