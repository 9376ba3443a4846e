"""
A table from another hospital
=============================

A small hospital wants to know which patients will need intensive care, and has labelled a few dozen
so far. A large one has labelled thousands: the same columns, the same label, other patients. Here
the large table is learned once, as a *backbone*, and the small hospital needs the backbone only.

The patients on this page are made up, by the function below, so there are enough of them to measure
on. As in real tables there are categories, missing values, a ward that the large hospital does not
have, and columns in another order. ``benchmarks/table_quality.py`` measures the same on real ones.
"""

# %%
# Two hospitals
# -------------
#
# What is dangerous is the same in both: a pulse that is high for the blood pressure, lactate, and
# failing kidneys in the old. That is not a linear rule. The small hospital has older patients, of
# whom many take beta blockers, which slow the pulse; measures lactate in fewer of them; and has a
# day clinic in the place of a surgery.

import itertools
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import NegativeTransferWarning, ParameterTransferClassifier, pretrain_backbone

EFFECT_OF_WARD = {"medicine": 0.0, "surgery": 0.3, "emergency": 0.6, "day clinic": -0.8}


def make_patients(n_patients, hospital, seed):
    """Return a table of patients and whether they came to need intensive care."""
    rng = np.random.default_rng(seed)
    is_small = hospital == "small"

    age = np.clip(rng.normal(70 if is_small else 60, 13, n_patients), 18, 98)
    other_ward = "day clinic" if is_small else "surgery"
    ward = rng.choice(["medicine", "emergency", other_ward], n_patients, p=[0.5, 0.3, 0.2])
    pressure = rng.normal(125, 22, n_patients)
    pulse = rng.normal(86, 17, n_patients)
    lactate = np.exp(rng.normal(0.5, 0.55, n_patients))
    creatinine = np.exp(rng.normal(0.1, 0.45, n_patients))
    albumin = rng.normal(3.7, 0.6, n_patients)
    temperature = rng.normal(37.2, 0.8, n_patients)

    log_odds = (
        -4.2
        + 4.0 * expit(10 * (pulse / pressure - 0.8))
        + 2.5 * expit(2.5 * (lactate - 2.5))
        + 3.0 * expit(4 * (creatinine - 1.4)) * expit((age - 65) / 4)
        + 0.8 * np.abs(temperature - 37)
        - 0.8 * (albumin - 3.7)
        + np.array([EFFECT_OF_WARD[name] for name in ward])
    )
    y = np.where(rng.random(n_patients) < expit(1.3 * log_odds), "intensive care", "ward")

    takes_beta_blockers = rng.random(n_patients) < (0.5 if is_small else 0.1)
    lactate[rng.random(n_patients) < (0.5 if is_small else 0.2)] = np.nan
    albumin[rng.random(n_patients) < 0.2] = np.nan
    table = pd.DataFrame(
        {
            "age": age.round(),
            "ward": pd.Categorical(ward),
            "pulse": (pulse - 14 * takes_beta_blockers).round(),
            "blood_pressure": pressure.round(),
            "lactate": lactate.round(1),
            "creatinine": creatinine.round(2),
            "albumin": albumin.round(1),
            "temperature": temperature.round(1),
            "beta_blockers": takes_beta_blockers,
        }
    )
    return (table[sorted(table)] if is_small else table), y


X_source, y_source = make_patients(2000, "large", seed=0)
X_test, y_test = make_patients(4000, "small", seed=1)
print(X_source.head(3).to_string())

# %%
# Learn the large table
# ---------------------
#
# One line. How columns are scaled, which categories there are and what a missing value looks like
# is learned here, from the source, and stays with the backbone.

started = time.perf_counter()
backbone = pretrain_backbone(X_source, y_source, random_state=0)
print(f"{backbone}, learned in {time.perf_counter() - started:.0f} seconds")
print(backbone.report_)

# %%
# Use it
# ------
#
# 30 labelled patients of the small hospital. Columns are found by their names; "day clinic" is a
# ward that the backbone does not know, and counts as one. Since the labels are those of the source,
# the head of the source is among the candidates.

X, y = make_patients(30, "small", seed=2)
classifier = ParameterTransferClassifier(backbone, random_state=0).fit(X, y)
print("predictions come from", {name: round(w, 2) for name, w in classifier.weights_.items()})
auc = roc_auc_score(y_test == "intensive care", classifier.predict_proba(X_test)[:, 0])
print(f"AUC on {len(y_test)} other patients: {auc:.3f}")

# %%
# Was it worth it?
# ----------------
#
# Beside it stand what one would do otherwise: learn from the few patients alone (the better one of
# a logistic regression and of boosted trees with leaves small enough for so few), or put the rows
# of both hospitals together, if one may.

LABELS = (10, 20, 50, 100)
DRAWS = 3


def make_logistic():
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    encoder = make_column_transformer(
        (numbers, make_column_selector(dtype_include=["number", "bool"])),
        (words, make_column_selector(dtype_include="category")),
    )
    return make_pipeline(encoder, LogisticRegression(C=0.3, max_iter=1000))


def make_trees(n_rows):
    return HistGradientBoostingClassifier(min_samples_leaf=min(20, max(1, n_rows // 10)))


def fit_all(X, y, seed):
    """Return a fitted classifier for each way to learn."""
    rows = pd.concat([X.astype({"ward": str}), X_source.astype({"ward": str})])
    pooled = rows.astype({"ward": "category"}), np.concatenate([y, y_source])
    return {
        "target only, logistic regression": make_logistic().fit(X, y),
        "target only, boosted trees": make_trees(len(y)).fit(X, y),
        "pooled, logistic regression": make_logistic().fit(*pooled),
        "pooled, boosted trees": make_trees(2000).fit(*pooled),
        "transfer": ParameterTransferClassifier(backbone, random_state=seed).fit(X, y),
    }


def measure(n_labels, seed):
    X, y = make_patients(n_labels, "small", seed=100 + seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)
        fitted = fit_all(X, y, seed)
    is_ill = y_test == "intensive care"
    return {
        name: roc_auc_score(is_ill, classifier.predict_proba(X_test)[:, 0])
        for name, classifier in fitted.items()
    }


results = {n: [measure(n, seed) for seed in range(DRAWS)] for n in LABELS}
WAYS = list(results[LABELS[0]][0])
# (ways, numbers of labels, draws)
aucs = np.array([[[draw[way] for draw in results[n]] for n in LABELS] for way in WAYS])

print(
    f"\nAUC on other patients of the small hospital, mean ± standard deviation of {DRAWS} draws\n"
)
print("| way to learn                     |" + "".join(f" {n:>10} |" for n in LABELS))
print("|:---------------------------------|" + len(LABELS) * "-----------:|")
for way, of_way in zip(WAYS, aucs, strict=True):
    cells = "".join(f" {a.mean():.2f} ±{f'{a.std():.3f}'[1:]} |" for a in of_way)
    print(f"| {way:<32} |" + cells)

# %%
# The few patients alone tell little: a hundred labels are not worth what the other hospital knows
# with none. Pooling is nearly as good as the backbone, here as in most tables with the same label.
# So if you may have the rows, pool them, and take the backbone where you may not, where the source
# is too large to be learned again for each target, or as a third opinion.
#
# The picture
# -----------

COLORS = ["#999999", "#999999", "#56b4e9", "#0072b2", "#d55e00"]
STYLES = ["-", "--", "--", "-", "-"]

figure, ax = plt.subplots(figsize=(8.5, 5), layout="constrained")
for way, of_way, color, style in zip(WAYS, aucs, COLORS, STYLES, strict=True):
    means, is_ours = of_way.mean(axis=1), way == "transfer"
    ax.plot(LABELS, means, style, color=color, marker="o", ms=5, lw=3 if is_ours else 1.8)


def place_apart(values, gap):
    """Return places near the values, in their order, that are at least a gap apart."""
    order = np.argsort(values)
    places = np.array(values, dtype=float)
    for lower, upper in itertools.pairwise(order):
        places[upper] = max(places[upper], places[lower] + gap)
    return places - (places - values).mean()


ends = aucs[:, -1].mean(axis=1)
gap = 0.045 * np.ptp(aucs.mean(axis=2))
for way, place, color in zip(WAYS, place_apart(ends, gap), COLORS, strict=True):
    ax.annotate(
        way,
        (LABELS[-1], place),
        xytext=(10, 0),
        textcoords="offset points",
        va="center",
        color="#555555" if color == "#999999" else color,
        weight="bold" if way == "transfer" else "normal",
    )
ax.set_xscale("log")
ax.set_xticks(LABELS, [str(n) for n in LABELS])
ax.minorticks_off()
ax.set_xlabel("labelled patients of the small hospital")
ax.set_ylabel("AUC on its other patients")
ax.set_title("Same label, another hospital", loc="left", weight="bold")
ax.grid(axis="y", alpha=0.25)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
