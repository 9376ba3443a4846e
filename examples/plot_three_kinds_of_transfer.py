"""
Three kinds of transfer on handwritten digits
=============================================

Few labels, and something learned elsewhere: the three ways to use it, against two ways that do
without.

The target are scikit-learn's real handwritten digits, 8 x 8 pixels, with 1 to 20 labels per class.
What was learned elsewhere is a small network that was trained on printed *letters* and never saw a
digit (``load_backbone("glyphs")``), and, for instance-based transfer, digits rendered from fonts.

Run it with ``make demo``; ``--draws 20`` repeats it on more draws of the labelled rows.
"""

# %%
# The methods
# -----------
#
# Each is a scikit-learn estimator for images of shape (n, 8, 8).

import argparse
import itertools
import os
import warnings
from pathlib import Path

import joblib
import numpy as np
from scipy.special import expit, logit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tqdm.auto import tqdm

from sktransfer import (
    FeatureTransferTransformer,
    InstanceTransferClassifier,
    LowOverlapWarning,
    NegativeTransferWarning,
    ParameterTransferClassifier,
    SourceDomain,
    load_backbone,
)
from sktransfer.backbones import clear_row_cache
from sktransfer.datasets import make_rendered_digits

LABELS_PER_CLASS = (1, 2, 5, 10, 20)
BASELINE = "pixels, logistic regression"
TRAINED = ("network from scratch", "fine-tuned, two rates")


def scale_and_flatten(images):
    return images.reshape(len(images), -1) / 16


def make_methods(seed):
    """The rows of the table: name -> estimator."""
    pixels = make_pipeline(
        FunctionTransformer(scale_and_flatten), LogisticRegression(max_iter=2000)
    )
    glyphs = load_backbone("glyphs")
    X_rendered, y_rendered = make_rendered_digits(1000, random_state=seed)
    return {
        # Without transfer.
        BASELINE: pixels,
        TRAINED[0]: ParameterTransferClassifier(
            load_backbone("glyphs", pretrained=False),
            strategy="fine_tune",
            head_init="random",
            backbone_lr=1e-3,
            freeze_norm=False,
            random_state=seed,
        ),
        # Feature-representation transfer: activations replace the pixels, or are put beside them.
        "features replaced": make_pipeline(
            FeatureTransferTransformer(glyphs), LogisticRegression(max_iter=2000)
        ),
        "features concatenated": make_pipeline(
            FunctionTransformer(lambda images: images / 16),
            # Unscaled: pixels from 0 to 1 then have a small say beside the activations.
            FeatureTransferTransformer(glyphs, mode="concat", scale_blocks=False),
            LogisticRegression(max_iter=2000),
        ),
        # Parameter transfer: a new head, the old layers frozen or moving ten times more slowly.
        "frozen, new head": ParameterTransferClassifier(
            glyphs, strategy="frozen", random_state=seed
        ),
        TRAINED[1]: ParameterTransferClassifier(
            glyphs, strategy="fine_tune", head_lr=1e-3, backbone_lr=1e-4, random_state=seed
        ),
        # Instance-based transfer: weighted rows of a source help to train the target's model.
        "weighted source rows": InstanceTransferClassifier(
            pixels, source=SourceDomain(X_rendered, y_rendered), random_state=seed
        ),
    }


# %%
# One draw
# --------
#
# For each draw of 20 labels per class, smaller training sets are nested in larger ones, and all
# other rows are for testing.


def split_rows(y, seed):
    """Return training rows, of which the first n x 10 hold n of each class, and the rest."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    train = np.stack([rows[: max(LABELS_PER_CLASS)] for rows in columns], axis=1).ravel()
    test = np.concatenate([rows[max(LABELS_PER_CLASS) :] for rows in columns])
    return train, test


def score_method(name, seed):
    """Return the accuracy of a method at every number of labels, for one draw."""
    digits = load_digits()
    X, y = digits.images, digits.target
    train, test = split_rows(y, seed)
    estimator = make_methods(seed)[name]
    # Features depend in their last bits on the batch they were computed in; a network that trains
    # from scratch would show which process did which task before.
    clear_row_cache()
    accuracies = []
    with warnings.catch_warnings():
        # Rendered digits are easy to tell from handwritten ones; the README says so. Where they do
        # not help, the table shows it.
        warnings.simplefilter("ignore", LowOverlapWarning)
        warnings.simplefilter("ignore", NegativeTransferWarning)
        for n in LABELS_PER_CLASS:
            rows = train[: 10 * n]
            accuracies.append(estimator.fit(X[rows], y[rows]).score(X[test], y[test]))
    return accuracies


def run_draws(n_draws):
    """Return accuracies of shape (methods, numbers of labels, draws), in two processes."""
    names = list(make_methods(0))
    # The networks that train take longest, so they come first.
    order = sorted(names, key=lambda name: name not in TRAINED)
    tasks = [(name, seed) for name in order for seed in range(n_draws)]
    parallel = joblib.Parallel(n_jobs=min(2, os.cpu_count()), return_as="generator")
    scores = parallel(joblib.delayed(score_method)(*task) for task in tasks)
    done = dict(zip(tasks, tqdm(scores, total=len(tasks), desc="methods x draws"), strict=True))
    return names, np.array(
        [np.transpose([done[name, seed] for seed in range(n_draws)]) for name in names]
    )


# %%
# The table
# ---------


def print_table(names, accuracies):
    n_draws = accuracies.shape[2]
    means, spreads = accuracies.mean(axis=2), accuracies.std(axis=2)
    print(f"\nAccuracy on held-out digits, mean ± standard deviation over {n_draws} draws\n")
    print("| labels per class |" + "".join(f" {n:>9} |" for n in LABELS_PER_CLASS))
    print("|:-----------------|" + "----------:|" * len(LABELS_PER_CLASS))
    for name, mean, spread in zip(names, means, spreads, strict=True):
        cells = "".join(f" {m:.3f} ±{f'{s:.3f}'[1:]} |" for m, s in zip(mean, spread, strict=True))
        print(f"| {name} |" + cells)


def count_labels_needed(means, accuracy):
    """Return the labels per class at which a curve reaches an accuracy (log-linear in between)."""
    log_labels = np.log(LABELS_PER_CLASS)
    if means[0] >= accuracy:
        return LABELS_PER_CLASS[0]
    # The curve as it should be: more labels do no harm.
    rising = np.maximum.accumulate(means)
    return float(np.exp(np.interp(accuracy, rising, log_labels)))


def find_labels_saved(names, accuracies):
    """Return the best transfer and the labels per class that it needs to match the baseline."""
    means = dict(zip(names, accuracies.mean(axis=2), strict=True))
    goal = means[BASELINE][-1]
    needed = {name: count_labels_needed(m, goal) for name, m in means.items() if name in TRANSFER}
    best = min(needed, key=lambda name: (needed[name], -means[name].mean()))
    return best, goal, needed[best]


def print_labels_saved(names, accuracies):
    best, goal, needed = find_labels_saved(names, accuracies)
    most = LABELS_PER_CLASS[-1]
    print(
        f"\nWhere logistic regression on pixels needs {most} labels per class for an accuracy of "
        f"{goal:.3f}, “{best}”, the best of the {len(TRANSFER)} ways to transfer, needs "
        f"{needed:.1f}: transfer saved {10 * (most - needed):.0f} of {10 * most} labels."
    )


# %%
# The picture
# -----------
#
# One colour per kind of transfer, greys for none; the bands are one standard deviation.

TRANSFER = {
    "features replaced": ("#1f77b4", "-"),
    "features concatenated": ("#6baed6", "--"),
    "frozen, new head": ("#fd8d3c", "--"),
    "fine-tuned, two rates": ("#d6301d", "-"),
    "weighted source rows": ("#2ca02c", "-"),
}
STYLES = {BASELINE: ("#444444", "-"), "network from scratch": ("#999999", "--"), **TRANSFER}


def place_labels(heights, distance):
    """Move heights apart until neighbours keep a distance, each as little as can be."""
    order = np.argsort(heights)
    placed = np.array(heights, dtype=float)
    for _ in range(200):
        for low, high in itertools.pairwise(order):
            overlap = distance - (placed[high] - placed[low])
            if overlap > 0:
                placed[low] -= overlap / 2
                placed[high] += overlap / 2
    return placed


def draw_picture(names, accuracies, path):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(10, 6), layout="constrained")
    # A logit scale shows halved errors as equal steps, at .8 as at .98.
    ax.set_yscale("logit")
    means, spreads = accuracies.mean(axis=2), accuracies.std(axis=2)
    for name, mean, spread in zip(names, means, spreads, strict=True):
        color, line = STYLES[name]
        ax.plot(LABELS_PER_CLASS, mean, line, color=color, lw=2.2, marker="o", ms=4)
        band = mean - spread, np.minimum(mean + spread, 0.999)
        ax.fill_between(LABELS_PER_CLASS, *band, color=color, alpha=0.10, lw=0)
    heights = expit(place_labels(logit(means[:, -1]), distance=0.22))
    for name, mean, height in zip(names, means[:, -1], heights, strict=True):
        color = STYLES[name][0]
        ax.annotate(
            name,
            xy=(LABELS_PER_CLASS[-1] * 1.02, mean),
            xytext=(LABELS_PER_CLASS[-1] * 1.14, height),
            color=color,
            va="center",
            fontsize=11,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8, "relpos": (0, 0.5)},
        )
    _draw_labels_saved(ax, names, accuracies)
    _set_axes(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    return figure


def _draw_labels_saved(ax, names, accuracies):
    _, goal, needed = find_labels_saved(names, accuracies)
    most = LABELS_PER_CLASS[-1]
    line = {"arrowstyle": "->", "color": "black", "lw": 1.2, "shrinkA": 5, "shrinkB": 2}
    ax.annotate("", xy=(needed, goal), xytext=(most, goal), arrowprops=line)
    ax.annotate(
        f"{10 * (most - needed):.0f} of {10 * most} labels saved",
        xy=(needed * 1.12, goal),
        xytext=(0, -6),
        textcoords="offset points",
        va="top",
        fontsize=11,
    )


def _set_axes(ax):
    ax.set_xscale("log")
    ax.set_xticks(LABELS_PER_CLASS, [str(n) for n in LABELS_PER_CLASS])
    ticks = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]
    ax.set_yticks(ticks, [f"{tick:.2f}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlim(0.93, LABELS_PER_CLASS[-1] * 1.05)
    ax.set_xlabel("labelled handwritten digits per class")
    ax.set_ylabel("accuracy on held-out digits (logit scale)")
    ax.set_title("Printed letters save labels of handwritten digits", loc="left", pad=12)
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


# %%
# All of it
# ---------


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--draws", type=int, default=3, help="draws of the labelled rows")
    parser.add_argument("--picture", type=Path, default=None, help="where the picture goes")
    # An example gallery runs this file with arguments of its own.
    return parser.parse_known_args()[0]


if __name__ == "__main__":
    arguments = parse_arguments()
    names, accuracies = run_draws(arguments.draws)
    print_table(names, accuracies)
    print_labels_saved(names, accuracies)
    default = Path(__file__).resolve().parents[1] / "docs/images/three_kinds_of_transfer.png"
    path = arguments.picture or default
    draw_picture(names, accuracies, path)
    print(f"\nThe learning curves are in {path}")
