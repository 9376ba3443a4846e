"""
A table with another label
==========================

A telephone company has looked at a few dozen customers by hand, to learn who would be interested in
a new tariff. About thousands of others it knows something else: what they bought and how they left,
years ago, in another country. The labels differ, so rows cannot be put together. And they may not
leave the country anyway; only something that was learned from them may.

Two things can be sent: a *backbone*, which is a network with what it needs to read a table, or any
*fitted scikit-learn model*. Both are files without a single row of the source. The customers on
this page are made up, by the function below, so that there are enough of them to measure on.
"""

# %%
# Two labels
# ----------
#
# What a customer does depends on a few habits that no column holds, and that are not linear in the
# columns: talks much for the age, is often abroad, watches the bill. In the source it is known how
# customers left or stayed, in five kinds. In the target it is interest in a tariff, which depends
# on the same habits in other ways.

import itertools
import tempfile
import warnings
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import (
    FeatureTransferTransformer,
    NegativeTransferWarning,
    ParameterTransferClassifier,
    load_backbone,
    pretrain_backbone,
)

KINDS = ("stayed", "moved abroad", "went to a discounter", "took a family plan", "only data")
# How much each habit (talks, is abroad, watches the bill, streams) speaks for each kind.
PULL = np.array(
    [
        [1.0, -2.0, -1.0, 0.0],
        [0.0, 4.0, 0.0, 0.0],
        [-1.0, 0.0, 4.0, 0.0],
        [4.0, 0.0, 1.0, 0.0],
        [-3.0, 0.0, 0.0, 4.0],
    ]
)


def make_customers(n_customers, seed):
    """Return a table of customers, and their habits, which nobody observes."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 85, n_customers)
    minutes = rng.gamma(3, 120, n_customers)
    roaming = rng.exponential(30, n_customers)
    gigabytes = rng.gamma(1.5, 6, n_customers)
    bill = 8 + 0.03 * minutes + 0.15 * roaming + gigabytes + rng.normal(0, 6, n_customers)
    calls_to_service = rng.poisson(1.5, n_customers)
    payment = rng.choice(["debit", "transfer", "card"], n_customers, p=[0.5, 0.3, 0.2])

    talks = expit((minutes - 600 + 7 * (age - 18)) / 60)
    is_abroad = expit((roaming - 40) / 8) * expit((70 - age) / 5)
    watches = expit((bill - 35) / 5) * expit(1.5 * calls_to_service - 2) + 0.3 * (
        payment != "debit"
    )
    streams = expit((gigabytes - 10) / 2) * expit((45 - age) / 4)
    habits = np.column_stack([talks, is_abroad, watches, streams])

    bill[rng.random(n_customers) < 0.1] = np.nan
    table = pd.DataFrame(
        {
            "age": age.round(),
            "minutes": minutes.round(),
            "roaming_minutes": roaming.round(),
            "gigabytes": gigabytes.round(1),
            "bill": bill.round(2),
            "calls_to_service": calls_to_service,
            "payment": pd.Categorical(payment),
        }
    )
    return table, habits


def make_source(n_customers, seed):
    X, habits = make_customers(n_customers, seed)
    rng = np.random.default_rng(1000 + seed)
    scores = habits @ PULL.T + rng.gumbel(scale=0.7, size=(n_customers, len(KINDS)))
    return X, np.array(KINDS)[scores.argmax(axis=1)]


def make_target(n_customers, seed):
    X, habits = make_customers(n_customers, seed)
    rng = np.random.default_rng(2000 + seed)
    log_odds = 3.5 * (habits @ [0.6, -1.0, -1.5, 1.5] + 0.1) + rng.logistic(scale=0.4, size=len(X))
    return X, np.where(log_odds > 0, "interested", "not interested")


X_source, y_source = make_source(3000, seed=0)
X_test, y_test = make_target(4000, seed=1)
print(pd.Series(y_source).value_counts().to_string())

# %%
# What leaves the country
# -----------------------
#
# There, a backbone is learned and saved. The file holds weights, names of columns, scales and
# categories, and no row. Beside it, boosted trees are fitted to the same label; these are any
# scikit-learn model, and go the way such models go, here by joblib.

with tempfile.TemporaryDirectory() as folder:
    backbone_file, model_file = Path(folder) / "habits.safetensors", Path(folder) / "kinds.joblib"
    pretrain_backbone(X_source, y_source, random_state=0).save(backbone_file)
    joblib.dump(HistGradientBoostingClassifier(random_state=0).fit(X_source, y_source), model_file)
    for file in (backbone_file, model_file):
        print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")

    # Here, they are all there is.
    backbone, trees = load_backbone(backbone_file), joblib.load(model_file)

del X_source, y_source

# %%
# What is done with it
# --------------------
#
# The backbone goes into ``ParameterTransferClassifier``. What the trees say of a row is put behind
# its columns: ``FeatureTransferTransformer`` does that, and a logistic regression on both can
# repeat the source, correct it, or ignore it.


def make_logistic():
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encoder = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    )
    return make_pipeline(encoder, LogisticRegression(C=0.3, max_iter=1000))


def make_trees(n_rows):
    return HistGradientBoostingClassifier(min_samples_leaf=min(20, max(1, n_rows // 10)))


def make_ways(n_rows, seed):
    """Return an unfitted classifier for each way to learn."""
    logits = FeatureTransferTransformer(FrozenEstimator(trees), output="logits", mode="concat")
    return {
        "target only, logistic regression": make_logistic(),
        "target only, boosted trees": make_trees(n_rows),
        "fitted model: columns + its logits": make_pipeline(logits, make_logistic()),
        "backbone": ParameterTransferClassifier(backbone, random_state=seed),
    }


X, y = make_target(40, seed=2)
for way, classifier in make_ways(40, seed=0).items():
    print(f"{way:<36} {classifier.fit(X, y).score(X_test, y_test):.3f} of the others are right")

# %%
# Was it worth it?
# ----------------

LABELS = (10, 20, 50, 100)
DRAWS = 3


def measure(n_labels, seed):
    X, y = make_target(n_labels, seed=100 + seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)
        return {
            way: roc_auc_score(
                y_test == "interested", classifier.fit(X, y).predict_proba(X_test)[:, 0]
            )
            for way, classifier in make_ways(n_labels, seed).items()
        }


results = {n: [measure(n, seed) for seed in range(DRAWS)] for n in LABELS}
WAYS = list(results[LABELS[0]][0])
# (ways, numbers of labels, draws)
aucs = np.array([[[draw[way] for draw in results[n]] for n in LABELS] for way in WAYS])

print(f"\nAUC on other customers, mean ± standard deviation of {DRAWS} draws\n")
print("| way to learn                       |" + "".join(f" {n:>10} |" for n in LABELS))
print("|:-----------------------------------|" + len(LABELS) * "-----------:|")
for way, of_way in zip(WAYS, aucs, strict=True):
    cells = "".join(f" {a.mean():.2f} ±{f'{a.std():.3f}'[1:]} |" for a in of_way)
    print(f"| {way:<34} |" + cells)

# %%
# With ten labels both do about as well, and the fitted model is the simpler one: all it takes is
# ``predict_proba``. With more, the layers of the backbone, which know the habits behind the label,
# have more to offer than what the model makes of them. Trees on the customers alone are no better
# than a logistic regression here until there are a hundred.
#
# The picture
# -----------

COLORS = ["#777777", "#777777", "#0072b2", "#d55e00"]
STYLES = ["-", "--", "-", "-"]

figure, ax = plt.subplots(figsize=(8.5, 5), layout="constrained")
for way, of_way, color, style in zip(WAYS, aucs, COLORS, STYLES, strict=True):
    means, is_ours = of_way.mean(axis=1), not way.startswith("target")
    ax.plot(LABELS, means, style, color=color, marker="o", ms=5, lw=2.8 if is_ours else 1.8)


def place_apart(values, gap):
    """Return places near the values, in their order, that are at least a gap apart."""
    order = np.argsort(values)
    places = np.array(values, dtype=float)
    for lower, upper in itertools.pairwise(order):
        places[upper] = max(places[upper], places[lower] + gap)
    return places - (places - values).mean()


ends = aucs[:, -1].mean(axis=1)
for way, place, color in zip(
    WAYS, place_apart(ends, 0.05 * np.ptp(aucs.mean(axis=2))), COLORS, strict=True
):
    ax.annotate(
        way,
        (LABELS[-1], place),
        xytext=(10, 0),
        textcoords="offset points",
        va="center",
        color=color,
        weight="normal" if way.startswith("target") else "bold",
    )
ax.set_xscale("log")
ax.set_xticks(LABELS, [str(n) for n in LABELS])
ax.minorticks_off()
ax.set_xlabel("customers with a label")
ax.set_ylabel("AUC on other customers")
ax.set_title("Another label, and no row of the source", loc="left", weight="bold")
ax.grid(axis="y", alpha=0.25)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
