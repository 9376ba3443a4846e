"""
Two transfers in a row
======================

What one transfer has learned can be the start of the next. A fitted ``ParameterTransferClassifier``
holds its network as ``backbone_``, head included, and that is a backbone like any other.

Here the chain has three links: printed letters (the network ``"glyphs"``, which comes with the
package), printed digits with many labels, handwritten digits with few labels. Does the link in the
middle help, and does it help to keep its head?
"""

# %%
# The first transfer
# ------------------
#
# From letters to printed digits: 1,000 images rendered from fonts, fine-tuned. ``max_epochs=5``
# instead of 30 passes keeps this page under a minute.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sktransfer import ParameterTransferClassifier, load_backbone
from sktransfer.datasets import load_digit_images, make_rendered_digits

X_printed, y_printed = make_rendered_digits(1000, random_state=0)
first = ParameterTransferClassifier(
    "glyphs", strategy="fine_tune", max_epochs=5, n_threads=1, random_state=0
)
first.fit(X_printed, y_printed)
print(first.backbone_, "with outputs for the classes", first.backbone_.classes)

# %%
# How good is it without any handwritten label? On new printed digits and on handwritten ones:

X, y = load_digit_images()
X_new, y_new = make_rendered_digits(1000, random_state=1)
printed_accuracy = first.score(X_new, y_new)
no_label_accuracy = first.score(X, y)
print(f"accuracy on new printed digits: {printed_accuracy:.3f}")
print(f"accuracy on handwritten digits: {no_label_accuracy:.3f}")

# %%
# Save and load
# -------------
#
# The two transfers need not happen in one process. A backbone is saved as a ``.safetensors`` file,
# which holds weights and a description of the layers, no code. What is loaded is equal to what was
# saved, and it still knows its classes. Without a file, ``backbone=first.backbone_`` and
# ``backbone=first`` do the same.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "printed_digits.safetensors"
    first.backbone_.save(path)
    printed_digits = load_backbone(path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")

print("equal:", printed_digits == first.backbone_, "| classes:", printed_digits.classes)

# %%
# The second transfer
# -------------------
#
# Four ways to handwritten digits. The network stays frozen in all of them, so that they differ in
# nothing but where features and head come from. The head of the first transfer has an output for
# each of the ten classes, so it can be reused; ``head="auto"`` tries it and a new one on held-out
# rows.

LABELS_PER_CLASS = (1, 2, 5)
DRAWS = 10
WAYS = {
    "direct, new head": {"backbone": "glyphs", "head": "new"},
    "through printed digits, new head": {"backbone": printed_digits, "head": "new"},
    "through printed digits, head reused": {"backbone": printed_digits, "head": "reuse"},
    "through printed digits, head auto": {"backbone": printed_digits, "head": "auto"},
}


def split_rows(y, seed):
    """Return training rows, of which the first n x 10 hold n of each class, and the rest."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    n_train = max(LABELS_PER_CLASS)
    train = np.stack([rows[:n_train] for rows in columns], axis=1).ravel()
    test = np.concatenate([rows[n_train:] for rows in columns])
    return train, test


def measure(way, n_labels, seed):
    """Return the accuracy on handwritten digits that were not trained on."""
    train, test = split_rows(y, seed)
    rows = train[: 10 * n_labels]
    second = ParameterTransferClassifier(**way, strategy="frozen", n_threads=1, random_state=seed)
    return second.fit(X[rows], y[rows]).score(X[test], y[test])


# (ways, numbers of labels, draws)
accuracies = np.array(
    [
        [[measure(way, n, seed) for seed in range(DRAWS)] for n in LABELS_PER_CLASS]
        for way in WAYS.values()
    ]
)

print(f"\nAccuracy on handwritten digits, mean ± standard deviation over {DRAWS} draws\n")
print(f"| {'labels per class':<35} |" + "".join(f" {n:>11} |" for n in LABELS_PER_CLASS))
print("|:" + 36 * "-" + "|" + len(LABELS_PER_CLASS) * "------------:|")
for name, scores in zip(WAYS, accuracies, strict=True):
    cells = "".join(f" {s.mean():.3f} ±{f'{s.std():.3f}'[1:]} |" for s in scores)
    print(f"| {name:<35} |" + cells)

# %%
# All ways have the same rows in the same draw, so the differences to the direct way can be told
# more exactly than the accuracies:

print("\nDifference to the direct way, mean ± standard error over draws, in percentage points\n")
for name, scores in list(zip(WAYS, accuracies, strict=True))[1:]:
    differences = 100 * (scores - accuracies[0])
    errors = differences.std(axis=1, ddof=1) / np.sqrt(DRAWS)
    cells = "".join(
        f" {mean:+6.2f} ±{error:4.2f} |"
        for mean, error in zip(differences.mean(axis=1), errors, strict=True)
    )
    print(f"| {name:<35} |" + cells)

# %%
# What was measured
# -----------------
#
# With a new head the link in the middle changes little. Letters already give good features for
# digits, and five slow passes over printed digits do not move them far.
#
# The reused head is worse than a new one at each number of labels here. It separates printed digits
# almost without error, but many handwritten ones lie on the wrong side of its borders. With one
# label per class no row can be held out, so the head stays as it is and the labels change nothing.
# With more, cross-validation on the few rows chooses how far it moves away from its start.
#
# ``head="auto"`` is the reused head at one label per class, for want of evidence. At two the
# evidence is thin, and it is right more often than not; at five it takes the new head.
#
# So: reuse the head where the target looks like the source that the head was fitted to, or where
# there are no labels at all. With a single label per class of something that looks different, say
# ``head="new"``.

# %%
# The picture
# -----------
#
# Each small dot is one draw, each large one the mean.

COLORS = ["#777777", "#fd8d3c", "#1f77b4", "#2ca02c"]

figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
ax.axhline(no_label_accuracy, color="black", lw=1, ls=":")
ax.annotate(
    f"first transfer alone, no handwritten label: {no_label_accuracy:.3f}",
    xy=(1, no_label_accuracy),
    xycoords=("axes fraction", "data"),
    xytext=(-4, -8),
    textcoords="offset points",
    ha="right",
    va="top",
    fontsize=9,
)
places = np.arange(len(LABELS_PER_CLASS))
for name, scores, color, move in zip(
    WAYS, accuracies, COLORS, (-0.24, -0.08, 0.08, 0.24), strict=True
):
    ax.plot(
        np.repeat(places + move, DRAWS), scores.ravel(), "o", color=color, alpha=0.35, ms=4, mew=0
    )
    ax.plot(places + move, scores.mean(axis=1), "o-", color=color, lw=1.6, ms=8, label=name)
ax.set_xticks(places, [str(n) for n in LABELS_PER_CLASS])
ax.set_xlim(-0.5, len(places) - 0.5)
ax.set_xlabel("labelled handwritten digits per class")
ax.set_ylabel("accuracy on other handwritten digits")
ax.set_title("Letters → printed digits → handwritten digits", loc="left")
ax.grid(axis="y", alpha=0.25)
ax.spines[["top", "right"]].set_visible(False)
ax.set_ylim(bottom=no_label_accuracy - 0.025)
ax.legend(loc="upper left", frameon=False)
plt.show()
