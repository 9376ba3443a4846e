"""
Choose a backbone
=================

There are three networks, each with five layers, and a hundred labels. Which network, and which of
its layers? To train and test them all takes rows and time that one does not have. A score of
*transferability* answers from one pass of the labelled rows.

The target are scikit-learn's handwritten digits, 8 x 8 pixels. Since there are 1,797 of them, the
answers can be checked in the end on those that were not used. Nothing is downloaded.
"""

# %%
# Three networks
# --------------
#
# One architecture, and three histories: ``"glyphs"``, which comes with the package and was trained
# on the letters of many scripts; the same trained for some seconds on printed digits; and the
# same with random weights. The fourth candidate costs nothing: the pixels themselves.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
    load_backbone,
    rank_backbones,
)
from sktransfer.datasets import load_digit_images, make_rendered_digits

random = load_backbone("glyphs", pretrained=False)
classifier = ParameterTransferClassifier(
    random,
    strategy="fine_tune",
    head_init="random",
    head_lr=1e-2,
    backbone_lr=1e-2,
    freeze_norm=False,
    batch_size=32,
    max_epochs=1,
    random_state=0,
).fit(*make_rendered_digits(1000, random_state=0))
# Without what the classifier put around it, so that its layers have the same names.
printed = Backbone(classifier.module_.backbone.network, input=random.input)

X, y = load_digit_images()
X, X_rest, y, y_rest = train_test_split(X, y, train_size=100, stratify=y, random_state=0)

# %%
# The ranking
# -----------
#
# One call, one pass through each network for all layers and scores. The first method, the
# leave-one-out accuracy of nearest neighbours, decides on the order.

METHODS = ["knn", "ridge", "logme", "hscore"]
LAYERS = ["stem", "stage1", "stage2", "stage3", "penultimate"]
BACKBONES = {"pixels": None, "letters": "glyphs", "printed digits": printed, "random": random}

ranking = rank_backbones(BACKBONES, X, y, method=METHODS, layers=LAYERS)
print(ranking)

# %%
# Was it right?
# -------------
#
# The outcome that the scores stand for: a logistic regression on the features of the hundred
# digits, tested on the 1,697 others. Here all sixteen are trained, to see; that is what a score
# saves.


def measure(backbone, layer):
    layer = "penultimate" if backbone is None else layer
    transformer = FeatureTransferTransformer(backbone, layers=layer, scale_blocks=True)
    head = LogisticRegression(max_iter=2000)
    return make_pipeline(transformer, head).fit(X, y).score(X_rest, y_rest)


table = ranking.table
table["outcome"] = [
    measure(BACKBONES[name], layer)
    for name, layer in zip(table["backbone"], table["layer"], strict=True)
]
pixels = table[table["backbone"] == "pixels"].iloc[0]
correlations = {m: spearmanr(table[m], table["outcome"]).statistic for m in METHODS}

print("\n| by knn | candidate      | layer       |   knn | accuracy on other digits |")
print("|-------:|:---------------|:------------|------:|-------------------------:|")
for rank, row in enumerate(table.itertuples(), start=1):
    names = f"{row.backbone:<14} | {row.layer:<11}"
    print(f"| {rank:6} | {names} | {row.knn:.3f} | {row.outcome:24.3f} |")
print("\n| score   | rank correlation with the accuracy |")
print("|:--------|-----------------------------------:|")
for name, value in correlations.items():
    print(f"| {name:<7} | {value:34.2f} |")

# %%
# The picture
# -----------
#
# Left: the score by layer, with its standard error at a hundred rows. Only the late layers of the
# network that has seen many letters are ahead of the pixels; the other two are not worth having.
# Right: what the score promised, and what came. Three layers share the first place, and
# ``near_best`` says so: a hundred rows cannot tell them apart.

COLORS = {"letters": "#0072b2", "printed digits": "#d55e00", "random": "#888888"}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")

places = np.arange(len(LAYERS))
for name, color in COLORS.items():
    found = table[table["backbone"] == name].set_index("layer").loc[LAYERS]
    left.errorbar(
        places, found["knn"], found["standard_error"], color=color, marker="o", lw=2, capsize=3
    )
    left.annotate(
        name,
        (places[-1], found["knn"].iloc[-1]),
        xytext=(10, 6 if name == "random" else -6),
        textcoords="offset points",
        va="center",
        color=color,
        weight="bold",
    )
    right.scatter(found["knn"], found["outcome"], s=50, color=color)
for level, text, color in (
    (pixels.knn, "pixels", "#333333"),
    (ranking.chance, "without features", "#999999"),
):
    left.axhline(level, color=color, ls=":", lw=1.2)
    left.annotate(text, (-0.3, level), xytext=(0, 3), textcoords="offset points", color=color)
left.set_xticks(places, LAYERS)
left.set_xlim(-0.35, len(LAYERS) + 0.6)
left.set_ylim(0, 1)
left.set_ylabel("score: leave-one-out accuracy of kNN, 100 rows")
left.set_title("Which network, which layer", loc="left")

right.scatter([pixels.knn], [pixels.outcome], s=60, color="#333333", marker="s")
right.annotate(
    "pixels", (pixels.knn, pixels.outcome), xytext=(-8, -12), textcoords="offset points", ha="right"
)
near = table[table["near_best"]]
right.annotate(
    "near the best by the score:\n" + "\n".join(near["backbone"] + ", " + near["layer"]),
    (near["knn"].mean(), near["outcome"].min()),
    xytext=(0.98, 0.45),
    textcoords="axes fraction",
    ha="right",
    va="top",
    color=COLORS[near["backbone"].iloc[0]],
    arrowprops={"arrowstyle": "-", "color": COLORS[near["backbone"].iloc[0]], "shrinkB": 6},
)
right.set_xlabel("score: leave-one-out accuracy of kNN, 100 rows")
right.set_ylabel("accuracy of a linear head on 1,697 other digits")
right.set_title(f"Promised and kept, rank correlation {correlations['knn']:.2f}", loc="left")
for ax in (left, right):
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
