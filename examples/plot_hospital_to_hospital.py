"""
From hospital to hospital
=========================

A small hospital wants to predict heart disease and has records of few patients so far. Others have
hundreds. Are their patients of use? Some are, some are not, and one does not know beforehand.

The patients on this page are made up, by the function below: so it is known how the hospitals
differ, and there are enough patients to measure on. The columns are those of the UCI heart disease
data, with categories and missing values. ``benchmarks/instance_quality.py`` measures the same on
the four real hospitals of those data, which are not part of the package.
"""

# %%
# Three hospitals
# ---------------
#
# The small one sees people from the neighbourhood. The *cardiology centre* follows the same
# medicine, but has other patients: older ones, sent there because something was found. That is a
# covariate shift. The *rehabilitation clinic* has patients like the small hospital's, but they
# take beta blockers, which slow the heart, and "disease" is noted where it was treated long ago:
# what the columns say about the label is another matter there. That is a concept shift.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import InstanceTransferClassifier, NegativeTransferWarning, SourceDomain

PAINS = ("none", "other", "atypical", "typical")


def make_patients(n_patients, hospital, seed):
    """Return a table of patients and whether they have heart disease."""
    rng = np.random.default_rng(seed)
    is_centre, is_clinic = hospital == "cardiology centre", hospital == "rehabilitation clinic"

    age = np.clip(rng.normal(62 if is_centre else 48, 9, n_patients), 25, 85)
    sex = rng.choice(["female", "male"], n_patients, p=[0.3, 0.7] if is_centre else [0.5, 0.5])
    pain = rng.choice(
        PAINS, n_patients, p=[0.2, 0.2, 0.3, 0.3] if is_centre else [0.35, 0.3, 0.2, 0.15]
    )
    heart_rate = 208 - 0.9 * age + rng.normal(0, 14, n_patients)
    st_depression = rng.exponential(1.4 if is_centre else 0.7, n_patients)
    blood_pressure = 105 + 0.5 * age + rng.normal(0, 15, n_patients)
    cholesterol = 170 + 1.1 * age + rng.normal(0, 40, n_patients)

    # Where the heart is slow for its age, it is young patients who are ill; an ST depression or
    # chest pain says more in old ones.
    is_old = expit((age - 55) / 4)
    slow = (208 - 0.9 * age - heart_rate) / 14
    log_odds = (
        -1.6
        + 1.2 * (sex == "male")
        + 2.5 * (1 - is_old) * slow
        + 2.0 * is_old * (st_depression - 1)
        + 2.0 * is_old * (pain == "typical")
    )
    if is_clinic:
        heart_rate = heart_rate - 25
        log_odds = -0.3 - 1.5 * slow + 1.2 * (sex == "male") + 1.5 * (pain == "none")
    y = np.where(rng.random(n_patients) < expit(1.5 * log_odds), "ill", "healthy")

    cholesterol[rng.random(n_patients) < (0.1 if is_centre else 0.3)] = np.nan
    table = pd.DataFrame(
        {
            "age": age.round(),
            "sex": pd.Categorical(sex),
            "chest_pain": pd.Categorical(pain, categories=PAINS),
            "max_heart_rate": heart_rate.round(),
            "st_depression": st_depression.round(1),
            "blood_pressure": blood_pressure.round(),
            "cholesterol": cholesterol.round(),
        }
    )
    return table, y


SMALL, CENTRE, CLINIC = "small hospital", "cardiology centre", "rehabilitation clinic"
sources = {name: SourceDomain(*make_patients(500, name, seed=1)) for name in (CENTRE, CLINIC)}
X_test, y_test = make_patients(4000, SMALL, seed=2)
for name, source in sources.items():
    print(f"{name}: {source}")

# %%
# The model is an ordinary pipeline. What both domains need, such as filling in missing values and
# scaling, belongs inside of it: ``InstanceTransferClassifier`` fits all of it to the patients of
# both hospitals.

numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
model = make_pipeline(
    make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    ),
    LogisticRegression(max_iter=1000),
)

# %%
# One fit
# -------
#
# 40 patients of the small hospital, and both others offered at once. The guard, which is on unless
# ``fallback=None``, holds some of the 40 out, again and again, and looks at what helps to predict
# them: each source by itself, then transfer against none.

X, y = make_patients(40, SMALL, seed=0)
transfer = InstanceTransferClassifier(model, source=list(sources.values()), random_state=0)
transfer.fit(X, y)

print("held-out log loss")
for name, loss in transfer.oof_loss_.items():
    print(f"    {name:<14} {loss:.3f}")
gain, error = transfer.transfer_gain_["target_only"]
print(f"gain over the target alone: {gain:.3f} (standard error {error:.3f})")
print("predictions come from", {name: round(w, 2) for name, w in transfer.weights_.items()})
for name, selected, size in zip(
    sources, transfer.source_selected_, transfer.effective_sample_size_, strict=True
):
    print(f"{name}: {'used' if selected else 'left out'}, {size:.0f} of 500 rows after weighting")

# %%
# It is a scikit-learn classifier, and ``X, y`` are the target. So plain cross-validation splits and
# scores patients of the small hospital only, and each fold learns with all of the source.

scores = cross_val_score(
    InstanceTransferClassifier(model, source=sources[CENTRE], random_state=0),
    X,
    y,
    scoring="roc_auc",
    cv=3,
)
print("ROC AUC in three folds:", scores.round(2))

# %%
# Was it worth it?
# ----------------
#
# ROC AUC on 4,000 new patients of the small hospital, with 20 and 80 known ones, as the mean over
# draws of these. "Weighted" is transfer whatever comes of it; "guarded" is the default.

N_PATIENTS = (20, 80)
DRAWS = 2
OFFERS = {CENTRE: [CENTRE], CLINIC: [CLINIC], "both": [CENTRE, CLINIC]}
METHODS = ("target only", "pooled", "weighted", "guarded")


def measure(offer, n_patients, seed):
    """Return the AUC of each method, and of what the guarded one's predictions come from."""
    X, y = make_patients(n_patients, SMALL, seed=100 + seed)
    offered = [sources[name] for name in OFFERS[offer]]
    pooled_X = pd.concat([X, *(source.X for source in offered)], ignore_index=True)
    pooled_y = np.concatenate([y, *(source.y for source in offered)])
    options = {"source": offered, "random_state": 0}
    guarded = InstanceTransferClassifier(model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)
        fitted = [
            clone(model).fit(X, y),
            clone(model).fit(pooled_X, pooled_y),
            InstanceTransferClassifier(model, **options, fallback=None).fit(X, y),
            guarded.fit(X, y),
        ]
    aucs = [roc_auc_score(y_test, classifier.predict_proba(X_test)[:, 1]) for classifier in fitted]
    return aucs, guarded.weights_


done = {
    (offer, n): [measure(offer, n, seed) for seed in range(DRAWS)]
    for offer in OFFERS
    for n in N_PATIENTS
}
# (draws, methods)
aucs = {key: np.array([auc for auc, _ in draws]) for key, draws in done.items()}

print(f"\nROC AUC, mean ± standard deviation over {DRAWS} draws\n")
print("| source offered        | method      |" + "".join(f" {n:>11} |" for n in N_PATIENTS))
print("|:----------------------|:------------|" + len(N_PATIENTS) * "------------:|")
for offer in OFFERS:
    for i, method in enumerate(METHODS):
        of_method = [aucs[offer, n][:, i] for n in N_PATIENTS]
        cells = "".join(f" {a.mean():.3f} ±{f'{a.std():.3f}'[1:]} |" for a in of_method)
        print(f"| {offer:<21} | {method:<11} |" + cells)

# %%
# The patients of the centre help most when weighted, and while few others are known. Pooled,
# they help at 20 known patients and are in the way at 80. The clinic's never help: pooled, they
# predict the opposite. The guard leaves them out, and with both on offer it need not be told which
# is which. Its price is that it trusts the centre in part only where blind trust would have been
# right.

# %%
# The picture
# -----------
#
# Above: the table. Below left: the ages at the cardiology centre, before and after weighting, and
# those at the small hospital, which the weights were made for. Below right: how much of the guarded
# prediction comes from the target alone, from pooling and from weighted rows.

COLORS = dict(zip(METHODS, ("#777777", "#9ecae1", "#1f77b4", "#e6550d"), strict=True))
LOWEST = 0.69  # of the axis, so that what is above can be told apart


def draw_aucs(ax, offer):
    for i, method in enumerate(METHODS):
        means = [aucs[offer, n][:, i].mean() for n in N_PATIENTS]
        guarded = method == "guarded"
        ax.plot(
            N_PATIENTS,
            means,
            color=COLORS[method],
            marker="o",
            ms=7 if guarded else 5,
            lw=2.6 if guarded else 1.6,
            zorder=3 if guarded else 2,
            label=method,
        )
        below = [f"{mean:.2f}" for mean in means if mean < LOWEST]
        if below:
            note = f"below: {method} ({', '.join(below)})"
            ax.text(0.03, 0.03, note, color="#4a90b8", transform=ax.transAxes, fontsize=9)
    ax.set_ylim(LOWEST, 0.9)
    ax.set_xscale("log")
    ax.set_xticks(N_PATIENTS, [str(n) for n in N_PATIENTS])
    ax.minorticks_off()
    ax.set_title(f"source: {offer}", loc="left", fontsize=10, weight="bold")
    ax.set_xlabel("known patients of the small hospital")
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def draw_ages(ax):
    X, y = make_patients(80, SMALL, seed=100)
    weighted = InstanceTransferClassifier(
        model, source=sources[CENTRE], fallback=None, random_state=0
    ).fit(X, y)
    bins = np.arange(25, 90, 5)
    ages = sources[CENTRE].X["age"]
    ax.hist(ages, bins, density=True, color="#cccccc", label="centre")
    styles = {"density": True, "histtype": "step", "lw": 2}
    ax.hist(
        ages,
        bins,
        weights=weighted.source_weights_,
        color=COLORS["weighted"],
        label="centre, weighted",
        **styles,
    )
    ax.hist(X_test["age"], bins, color="black", ls=":", label="small hospital", **styles)
    ax.set(xlabel="age", yticks=[])
    ax.set_title("Ages at the cardiology centre", loc="left", fontsize=10, weight="bold")
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.spines[["top", "left", "right"]].set_visible(False)


def draw_shares(ax):
    parts = {
        "target only": ["target_only"],
        "pooled": ["pooled"],
        "weighted": ["weighted", "weighted_pool"],
    }
    rows = [(offer, n) for offer in OFFERS for n in N_PATIENTS]
    places = np.array([i + 0.6 * (i // len(N_PATIENTS)) for i in range(len(rows))])
    start = np.zeros(len(rows))
    for part, names in parts.items():
        shares = [
            np.mean([sum(weights.get(name, 0) for name in names) for _, weights in done[row]])
            for row in rows
        ]
        ax.barh(places, shares, left=start, color=COLORS[part], label=part, height=0.85)
        start += shares
    ax.set_yticks(places, [f"{offer}, {n}" for offer, n in rows])
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the guarded prediction")
    ax.set_title("What the guard relied on", loc="left", fontsize=10, weight="bold")
    for word, place, color in (("target only", 0.02, "white"), ("weighted rows", 0.98, "white")):
        ax.text(place, 0, word, color=color, va="center", ha="left" if place < 0.5 else "right")
    ax.spines[["top", "right"]].set_visible(False)


figure = plt.figure(figsize=(10, 8), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
axes = above.subplots(1, len(OFFERS), sharey=True)
for ax, offer in zip(axes, OFFERS, strict=True):
    draw_aucs(ax, offer)
axes[0].set_ylabel("ROC AUC on new patients")
axes[0].legend(loc="lower right", frameon=False)
left, right = below.subplots(1, 2, width_ratios=(1, 1.1))
draw_ages(left)
draw_shares(right)
plt.show()
