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
# ``max_epochs=6`` keeps this page under a minute. By default an estimator takes at least 200
# steps, which here are 20 to 100 passes over the rows; the fine-tuned networks then go further
# than below.

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer import ParameterTransferClassifier
from sktransfer.datasets import load_digit_images

MAX_EPOCHS = 6
LABELS_PER_CLASS = (1, 2, 5, 10)
DRAWS = 3

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
# Each draw takes 10 labels per class, of which smaller training sets use the first ones. All other
# rows are for testing. Two processes share the work.


def split_rows(y, seed):
    """Return training rows, of which the first n x 10 hold n of each class, and the rest."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    n_train = max(LABELS_PER_CLASS)
    train = np.stack([rows[:n_train] for rows in columns], axis=1).ravel()
    test = np.concatenate([rows[n_train:] for rows in columns])
    return train, test


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
    print(f"| {name:<30} |" + "".join(f" {cell:>{width}} |" for cell in cells))


def print_header(width):
    print_row("labels per class", LABELS_PER_CLASS, width)
    print("|:" + 31 * "-" + "|" + len(LABELS_PER_CLASS) * ((width + 1) * "-" + ":|"))


print(f"Accuracy on held-out digits, mean ± standard deviation over {DRAWS} draws\n")
print_header(width=12)
for name, scores in zip(method_names, accuracies, strict=True):
    cells = [f"{s.mean():.3f} ±{s.std():.3f}".replace("±0", "±") for s in scores]
    print_row(name, cells, width=12)

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


def describe_weight(weights, member):
    for name, weight in weights.items():
        known_as, _, point = name.partition("@")
        if known_as == member:
            return f"{weight:.2f} @{point}" if point else f"{weight:.2f}"
    return "-"


first_draw = [found[n, 0][1] for n in LABELS_PER_CLASS]
print('"auto" in the first draw\n')
print_header(width=14)
print_row("strategy_", [fit["strategy_"] for fit in first_draw], width=14)
print_row("alpha_", [f"{fit['alpha_']:.2f}" for fit in first_draw], width=14)
for member in MEMBERS:
    cells = [describe_weight(fit["weights_"], member) for fit in first_draw]
    print_row(f"weights_: {member}"[:30], cells, width=14)
for control in ("no_transfer", "random_backbone"):
    cells = [str(fit["transfer_gain_"].get(control, "-")) for fit in first_draw]
    print_row(f"transfer_gain_: {control}"[:30], cells, width=14)
