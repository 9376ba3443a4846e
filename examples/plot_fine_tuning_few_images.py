"""
Fine-tuning on few images
=========================

A pretrained network and few labelled images: leave the network as it is, or fine-tune it?
``ParameterTransferClassifier`` does either, and with ``strategy="auto"`` held-out rows decide.

The target are scikit-learn's handwritten digits, 8 x 8 pixels, with 1 to 10 labels per class. The
network is ``"glyphs"``, which comes with the package: it was trained on letters and never saw a
digit. Nothing is downloaded.
"""

# %%
# The estimators
# --------------
#
# - No transfer: logistic regression on the pixels.
# - ``"frozen"``: a new head on the features of the network, which stays as it is.
# - ``"fine_tune"``: the weights of the network move as well, ten times more slowly than the head.
# - ``"auto"``: an average of frozen and fine-tuned networks and of a linear model on the pixels.
#   Held-out rows say how much each of them counts.
#
# ``max_epochs=5`` keeps this page under a minute. Without it fine-tuning takes 30 passes and at
# least 200 steps, which here are 30 to 100 passes (half of that for each of the two networks that
# ``"auto"`` fine-tunes). The networks then move further than below.

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer import ParameterTransferClassifier
from sktransfer.datasets import load_digit_images

MAX_EPOCHS = 5
LABELS_PER_CLASS = (1, 2, 5, 10)
DRAWS = 3
TEST_ROWS_PER_CLASS = 60

X, y = load_digit_images()


def scale_and_flatten(images):
    return images.reshape(len(images), -1) / 16


def make_methods(seed):
    """The rows of the table: name -> estimator."""
    shared = {"max_epochs": MAX_EPOCHS, "n_threads": 1, "random_state": seed}
    return {
        "no transfer": make_pipeline(
            FunctionTransformer(scale_and_flatten), LogisticRegression(max_iter=2000)
        ),
        "frozen": ParameterTransferClassifier("glyphs", strategy="frozen", **shared),
        "fine_tune": ParameterTransferClassifier("glyphs", strategy="fine_tune", **shared),
        "auto": ParameterTransferClassifier("glyphs", strategy="auto", **shared),
    }


# %%
# Accuracy against labels
# -----------------------
#
# Each draw takes 10 rows of each class for training, of which smaller training sets use the first
# ones, and 60 others for testing. Two processes share the work.


def split_rows(y, seed):
    """Return training rows, of which the first n x 10 hold n of each class, and test rows."""
    rng = np.random.default_rng(seed)
    n_train = max(LABELS_PER_CLASS)
    columns = [
        rng.permutation(np.flatnonzero(y == label))[: n_train + TEST_ROWS_PER_CLASS]
        for label in np.unique(y)
    ]
    rows = np.stack(columns, axis=1)
    return rows[:n_train].ravel(), rows[n_train:].ravel()


def measure(n_labels, seed):
    """Return the accuracy of each method, and what "auto" says about its fit."""
    train, test = split_rows(y, seed)
    rows = train[: 10 * n_labels]
    methods = make_methods(seed)
    accuracies = [m.fit(X[rows], y[rows]).score(X[test], y[test]) for m in methods.values()]
    auto = methods["auto"]
    names = ("strategy_", "alpha_", "weights_", "transfer_gain_")
    return accuracies, {name: getattr(auto, name) for name in names}


# The fits with most rows take longest, so they come first.
tasks = [(n, seed) for n in reversed(LABELS_PER_CLASS) for seed in range(DRAWS)]
results = joblib.Parallel(n_jobs=2)(joblib.delayed(measure)(*task) for task in tasks)
found = dict(zip(tasks, results, strict=True))

# (methods, numbers of labels, draws)
accuracies = np.transpose(
    [[found[n, seed][0] for seed in range(DRAWS)] for n in LABELS_PER_CLASS], (2, 0, 1)
)
method_names = list(make_methods(0))


def print_row(name, cells, width):
    print(f"| {name:<32} |" + "".join(f" {cell:>{width}} |" for cell in cells))


def print_header(width):
    print_row("labels per class", LABELS_PER_CLASS, width)
    print("|:" + 33 * "-" + "|" + len(LABELS_PER_CLASS) * ((width + 1) * "-" + ":|"))


print(f"Accuracy on held-out digits, mean ± standard deviation over {DRAWS} draws\n")
print_header(width=12)
for name, scores in zip(method_names, accuracies, strict=True):
    cells = [f"{s.mean():.3f} ±{s.std():.3f}".replace("±0", "±") for s in scores]
    print_row(name, cells, width=12)

# %%
# Transfer is worth much more than the choice between frozen and fine-tuned. Letters are close to
# digits, so the features are good as they are, and the three ways to transfer differ by less than
# the draws do.

# %%
# What the guard decided
# ----------------------
#
# ``strategy_`` says what predictions come from, ``alpha_`` how much of them is fine-tuned, and
# ``weights_`` what each member of the average counts. ``@`` is the point between where fine-tuning
# began (0) and where it ended (1). A member whose weight would be below 0.05 is left out.
# ``transfer_gain_`` is by how much the held-out log loss is lower with transfer than without, mean
# ± standard error over rows: against a linear model on the pixels, and against the same network
# with random weights.
#
# With one label per class no row can be held out. So there is no evidence: ``"auto"`` is the frozen
# network, and ``transfer_gain_`` is empty.

MEMBERS = (
    "no_transfer",
    "frozen",
    "frozen:prototypes",
    "fine_tune:linear_probe",
    "fine_tune:random",
)


def find_weight(weights, member):
    """Return the weight of a member and what stands behind its "@"."""
    for name, weight in weights.items():
        known_as, _, point = name.partition("@")
        if known_as == member:
            return weight, point
    return 0.0, ""


def describe_weight(weights, member):
    weight, point = find_weight(weights, member)
    if not weight:
        return "-"
    return f"{weight:.2f} @{point}" if point else f"{weight:.2f}"


first_draw = [found[n, 0][1] for n in LABELS_PER_CLASS]
print('\n"auto" in the first draw\n')
print_header(width=14)
print_row("strategy_", [fit["strategy_"] for fit in first_draw], width=14)
print_row("alpha_", [f"{fit['alpha_']:.2f}" for fit in first_draw], width=14)
for member in MEMBERS:
    cells = [describe_weight(fit["weights_"], member) for fit in first_draw]
    print_row(f"weights_: {member}", cells, width=14)
for control in ("no_transfer", "random_backbone"):
    cells = [str(fit["transfer_gain_"].get(control, "-")) for fit in first_draw]
    print_row(f"transfer_gain_: {control}", cells, width=14)

# %%
# The picture
# -----------
#
# One colour per family: grey without transfer, orange frozen, red fine-tuned, blue the average of
# all. Points are means, bars one standard deviation, moved apart a little so that they can be told
# from each other. The right panel is the mean of ``weights_`` over the draws; a member without
# weight has no bar.

COLORS = {"no transfer": "#777777", "frozen": "#fd8d3c", "fine_tune": "#d6301d", "auto": "#1f77b4"}
MEMBER_COLORS = {
    "no_transfer": "#777777",
    "frozen": "#fd8d3c",
    "frozen:prototypes": "#fdc38d",
    "fine_tune:linear_probe": "#d6301d",
    "fine_tune:random": "#f0958a",
}


def draw_accuracies(ax):
    ax.set_xscale("log")
    # A logit scale shows halved errors as equal steps, at .8 as at .98.
    ax.set_yscale("logit")
    moves = np.geomspace(0.94, 1.06, len(method_names))
    for name, scores, move in zip(method_names, accuracies, moves, strict=True):
        ax.errorbar(
            np.multiply(LABELS_PER_CLASS, move),
            scores.mean(axis=1),
            yerr=scores.std(axis=1),
            color=COLORS[name],
            label=name,
            lw=1.6,
            marker="o",
            ms=4.5,
            capsize=3,
        )
    ax.set_xticks(LABELS_PER_CLASS, [str(n) for n in LABELS_PER_CLASS])
    ticks = [0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]
    ax.set_yticks(ticks, [f"{tick:.2f}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("labels per class (log scale)")
    ax.set_ylabel("accuracy on held-out digits (logit scale)")
    ax.set_title("Accuracy against labels", loc="left")
    ax.grid(axis="y", alpha=0.25)
    ax.legend(loc="lower right", frameon=False)


def average_weight(member, n_labels):
    fits = [found[n_labels, seed][1] for seed in range(DRAWS)]
    return sum(find_weight(fit["weights_"], member)[0] for fit in fits) / DRAWS


def draw_weights(ax):
    places = np.arange(len(LABELS_PER_CLASS))
    bottom = np.zeros(len(LABELS_PER_CLASS))
    for member in MEMBERS:
        heights = np.array([average_weight(member, n) for n in LABELS_PER_CLASS])
        ax.bar(places, heights, 0.7, bottom, color=MEMBER_COLORS[member], label=member)
        bottom += heights
    ax.set_xticks(places, [str(n) for n in LABELS_PER_CLASS])
    ax.set_ylim(0, 1)
    ax.set_xlabel("labels per class")
    ax.set_ylabel("weight in the average")
    ax.set_title("What “auto” averages", loc="left")
    handles, labels = ax.get_legend_handles_labels()
    # In the order of the bars, from the top.
    ax.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
    )


figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(3, 2), layout="constrained")
draw_accuracies(axes[0])
draw_weights(axes[1])
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What moves
# ----------
#
# ``param_groups_`` says what was trained and how fast. With ``trainable="all"`` every block of the
# network has the rate ``backbone_lr``, unless ``layer_decay`` lowers it by a factor per block,
# away from the head. With ``trainable=1`` only the last block moves. The blocks before it are
# frozen: there is nothing left that ``layer_decay`` could slow down.


def print_param_groups(**parameters):
    clf = ParameterTransferClassifier(
        "glyphs", strategy="fine_tune", max_epochs=1, n_threads=1, random_state=0, **parameters
    )
    clf.fit(X[:50], y[:50])
    print("\n" + ", ".join(f"{name}={value!r}" for name, value in parameters.items()))
    print("| part              | learning rate | parameters | that move |")
    print("|:------------------|--------------:|-----------:|----------:|")
    # Weights and biases of one part have a record each, since biases have no weight decay.
    for name in dict.fromkeys(group["name"] for group in clf.param_groups_):
        groups = [group for group in clf.param_groups_ if group["name"] == name]
        size, moving = (sum(g[key] for g in groups) for key in ("n_parameters", "n_trainable"))
        print(f"| {name:<17} | {groups[0]['lr']:13.1e} | {size:10,} | {moving:9,} |")


print_param_groups(trainable="all")
print_param_groups(trainable="all", layer_decay=0.5)
print_param_groups(trainable=1, layer_decay=0.5)
