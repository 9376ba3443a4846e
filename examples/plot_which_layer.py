"""
Which layer?
============

A pretrained network has many layers, and each of them can give features. Early ones see strokes,
late ones see whole characters of the alphabets that the network was trained on. Which are best for
another task is a question that a few labels can answer.

The network is ``"glyphs"``, which comes with the package: it was trained on letters and never saw a
digit. The target are scikit-learn's handwritten digits, 8 x 8 pixels, with 2, 5 or 20 labels per
class. Nothing is downloaded.
"""

# %%
# All layers in one pass
# ----------------------
#
# ``layers="all"`` takes the output of each block, and what the network ends in
# (``"penultimate"``). One pass serves them all, and each layer goes into the row cache by itself.
# So everything that follows on this page sends no image through the network again.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline

from sktransfer import FeatureTransferTransformer, load_backbone
from sktransfer.datasets import load_digit_images

X, y = load_digit_images()

everything = FeatureTransferTransformer("glyphs", layers="all").fit(X)
features = everything.transform(X)
layers = everything.layers_
columns = [name.rpartition("_")[0] for name in everything.get_feature_names_out()]
widths = [columns.count(layer) for layer in layers]
print("| layer       | features per image |")
print("|:------------|-------------------:|")
for layer, width in zip(layers, widths, strict=True):
    print(f"| {layer:<11} | {width:18} |")
print(f"images sent through the network: {everything.cache_info_.misses}")

# %%
# Accuracy by layer
# -----------------
#
# Logistic regression on the pooled activations of one layer, trained on few digits, tested on
# the others. ``scale_blocks=True`` brings each layer to one size, so that the penalty means the
# same for all of them. The control is the same network with random weights
# (``load_backbone("glyphs", pretrained=False)``): it has the architecture, which centres the ink of
# each image, but has learned nothing.

LABELS_PER_CLASS = (2, 5, 20)
DRAWS = 5


def measure(transformer, n_labels):
    """Return the accuracy on held-out digits, one for each draw of the training rows."""
    splits = StratifiedShuffleSplit(DRAWS, train_size=10 * n_labels, test_size=500, random_state=0)
    pipeline = make_pipeline(transformer, LogisticRegression(max_iter=2000))
    return cross_val_score(pipeline, X, y, cv=splits)


def measure_layers(backbone, n_labels):
    transformers = [
        FeatureTransferTransformer(backbone, layers=layer, scale_blocks=True) for layer in layers
    ]
    return np.array([measure(transformer, n_labels) for transformer in transformers])


random_weights = load_backbone("glyphs", pretrained=False)
FeatureTransferTransformer(random_weights, layers=layers).fit(X).transform(X)


pixels = FeatureTransferTransformer(scale_blocks=True)
by_labels = {}
for n in LABELS_PER_CLASS:
    by_labels[n] = {
        "pixels": measure(pixels, n),
        "glyphs": measure_layers("glyphs", n),
        "random weights": measure_layers(random_weights, n),
    }

print(f"\nAccuracy on held-out digits, mean over {DRAWS} draws\n")
print("| labels per class                |" + "".join(f" {n:>5} |" for n in LABELS_PER_CLASS))
print("|:--------------------------------|" + len(LABELS_PER_CLASS) * "------:|")
cells = "".join(f" {by_labels[n]['pixels'].mean():.3f} |" for n in LABELS_PER_CLASS)
print(f"| {'pixels':<31} |{cells}")
for backbone in ("glyphs", "random weights"):
    for i, layer in enumerate(layers):
        cells = "".join(f" {by_labels[n][backbone][i].mean():.3f} |" for n in LABELS_PER_CLASS)
        print(f"| {backbone + ', ' + layer:<31} |{cells}")

# %%
# The deeper, the better: letters are close to digits. In the first stage the pixels are about as
# good or better, since pooling leaves 32 or 48 numbers of an image, which say what strokes are in
# it and not where. From the second stage on the network is ahead, and most so where labels are few.
# With random weights even the last layer, which keeps the four quadrants of the image apart, is
# only as good as the pixels. The further away a source, the earlier the curve may bend down;
# ``GridSearchCV`` over ``layers`` finds the place.

# %%
# Where the classes unfold
# ------------------------
#
# The same 500 digits at three depths: their activations, on their first 30 principal components and
# then in two dimensions (t-SNE, which keeps neighbours and was told no label). What the network
# does to the classes can be seen without training anything.

SHOWN = ("stem.2", "stage2.1", "penultimate")
some = np.random.default_rng(0).permutation(len(X))[:500]


def project(layer):
    block = features[some][:, [column == layer for column in columns]]
    flat = PCA(30, random_state=0).fit_transform(block)
    return TSNE(perplexity=25, max_iter=500, random_state=0).fit_transform(flat)


# %%
# The picture
# -----------
#
# Above: points are means over the draws, bars one standard deviation. Colours say how many labels
# per class there are; dashed are random weights, and the short lines at the left are the pixels.
# Below: one colour per digit.

COLORS = dict(zip(LABELS_PER_CLASS, ("#9ecae1", "#4292c6", "#08306b"), strict=True))


def draw_accuracies(ax):
    # A logit scale shows halved errors as equal steps, at .7 as at .98.
    ax.set_yscale("logit")
    places = np.arange(1, len(layers) + 1)
    # Bars are moved apart a little, so that they can be told from each other.
    for n, move in zip(LABELS_PER_CLASS, (-0.06, 0, 0.06), strict=True):
        found, color = by_labels[n], COLORS[n]
        ax.plot([-0.25, 0.25], 2 * [found["pixels"].mean()], color=color, lw=3)
        known = found["glyphs"]
        ax.errorbar(
            places + move,
            known.mean(axis=1),
            known.std(axis=1),
            color=color,
            marker="o",
            ms=5,
            capsize=3,
        )
        control = found["random weights"].mean(axis=1)
        ax.plot(places, control, color=color, ls="--", lw=1.2, marker="o", ms=3)
        ax.annotate(
            f"{n} labels",
            (places[0] + move, known[0].mean()),
            xytext=(-9, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=color,
        )
    ticks = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]
    ax.set_yticks(ticks, [f"{tick:.2f}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xticks([0, *places], ["pixels", *layers])
    ax.set_xlim(-0.5, len(layers) + 0.5)
    ax.set_ylabel("accuracy on held-out digits (logit scale)")
    ax.set_title("Accuracy by layer, labels per class", loc="left")
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.plot([], [], color="#555555", marker="o", ms=5, label="glyphs")
    ax.plot([], [], color="#555555", ls="--", marker="o", ms=3, label="random weights")
    ax.legend(loc="lower right", frameon=False)


def draw_classes(ax, layer):
    points = project(layer)
    for label in range(10):
        mine = points[y[some] == label]
        ax.scatter(*mine.T, s=9, color=plt.get_cmap("tab10")(label), lw=0)
        # On a digit of the class, since its mean may lie among others.
        middle = mine[np.argmin(np.linalg.norm(mine - np.median(mine, axis=0), axis=1))]
        ax.text(*middle, str(label), weight="bold", ha="center", va="center", fontsize=12).set_bbox(
            {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}
        )
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{layer}, 500 digits", loc="left", fontsize=10)
    ax.spines[:].set_color("#cccccc")


figure = plt.figure(figsize=(9, 8), layout="constrained")
grid = figure.add_gridspec(2, len(SHOWN), height_ratios=(1.35, 1))
draw_accuracies(figure.add_subplot(grid[0, :]))
for column, layer in enumerate(SHOWN):
    draw_classes(figure.add_subplot(grid[1, column]), layer)
plt.show()
