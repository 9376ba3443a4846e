"""
Weights of source rows
======================

A source has many labelled rows, but they are spread differently from the target's. Weights correct
that: each source row counts as much more, or less, as it is likelier in the target than in the
source. That number is the *density ratio*, and there are several ways to estimate it from rows
alone, without any label.

Here both domains are Gaussian clouds in two columns, so the true ratio is known and every estimate
can be held against it. The data are made up and nothing is downloaded.
"""

# %%
# Two domains
# -----------
#
# Source and target share the rule from rows to labels, which is curved. Only the rows are moved:
# a covariate shift.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from sktransfer import SourceDomain
from sktransfer.datasets import make_covariate_shift
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import (
    KLIEP,
    ULSIF,
    DomainClassifierWeighting,
    InstanceTransferClassifier,
    KernelDensityWeighting,
    KernelMeanMatching,
    NearestNeighborWeighting,
)

domains = make_covariate_shift(600, 300, kind="mean", shift=1.5, random_state=1)
true_ratio = np.exp(domains.log_ratio)
true_ratio /= true_ratio.mean()

# %%
# Six estimates of one ratio
# --------------------------
#
# All keep one contract: ``compute_weights(X_source, X_target)`` gives one weight a source row, with
# a mean of 1. The error is the squared difference to the true ratio, divided by what the true ratio
# squared sums to. The effective sample size says how many rows of equal weight would be as good:
# the price of the correction, which more varied weights pay.

WEIGHTINGS = {
    "domain classifier": DomainClassifierWeighting(random_state=0),
    "kernel mean matching": KernelMeanMatching(random_state=0),
    "KLIEP": KLIEP(random_state=0),
    "uLSIF": ULSIF(random_state=0),
    "kernel density": KernelDensityWeighting(),
    "nearest neighbours": NearestNeighborWeighting(),
}


def effective_sample_size(weights):
    return weights.sum() ** 2 / (weights**2).sum()


def error(weights):
    return ((weights - true_ratio) ** 2).sum() / (true_ratio**2).sum()


estimates = {"true ratio": true_ratio, "equal weights": np.ones(len(true_ratio))}
for name, weighting in WEIGHTINGS.items():
    estimates[name] = weighting.compute_weights(domains.X_source, domains.X_target)

print(f"| {'weights':<20} | error | rank correlation | effective sample size | largest |")
print("|:---------------------|------:|-----------------:|----------------------:|--------:|")
for name, weights in estimates.items():
    correlation = 0.0 if np.ptp(weights) == 0 else spearmanr(weights, true_ratio)[0]
    print(
        f"| {name:<20} | {error(weights):5.3f} | {correlation:16.2f} |"
        f" {effective_sample_size(weights):14.0f} of {len(weights)} | {weights.max():7.1f} |"
    )

# %%
# The domain classifier, kernel densities and nearest neighbours come close here. KLIEP ranks the
# rows well, but gives a few of them too much. Kernel mean matching and uLSIF are smooth functions
# that are right in the mean over many rows, with less regard for the single one: the picture below
# shows a band that they leave empty, between rows that they weight. So their ranks are further off
# than their errors.

# %%
# What weights are for
# --------------------
#
# A straight line cannot follow a curved rule everywhere, so it matters where it fits. Without
# weights it fits where the source is; with them, where the target is. ``y=None`` says that no
# label of the target is known.

source = SourceDomain(domains.X_source, domains.y_source)
unweighted = LogisticRegression().fit(domains.X_source, domains.y_source)
weighted = InstanceTransferClassifier(
    LogisticRegression(), source=source, fallback=None, random_state=0
).fit(domains.X_target, None)
on_target = LogisticRegression().fit(domains.X_target, domains.y_target)

LINES = {
    "source, equal weights": unweighted,
    "source, weighted": weighted.estimator_,
    "target with its labels": on_target,
}
test = make_covariate_shift(2, 20_000, kind="mean", shift=1.5, random_state=2)
print("\nAccuracy on 20,000 new target rows")
for name, fitted in LINES.items():
    print(f"{name:<24} {fitted.score(test.X_target, test.y_target):.3f}")

# %%
# Not too much of it
# ------------------
#
# The further apart the domains, the fewer source rows carry all the weight. ``flatten`` is an
# exponent of the ratio: 1 leaves it, 0 makes all weights equal, and between the two some of the
# correction is given up for more effective rows. For three distances, the accuracy on the target
# and the effective sample size, as means over 20 draws of 100 source rows.

SHIFTS = (0.75, 1.5, 2.5)
EXPONENTS = np.linspace(0, 1, 6)
DRAWS = 20


def measure(shift, seed):
    """Return accuracy and effective sample size for each exponent."""
    draw = make_covariate_shift(100, 100, kind="mean", shift=shift, random_state=seed)
    test = make_covariate_shift(2, 2000, kind="mean", shift=shift, random_state=1000 + seed)
    found = []
    for exponent in EXPONENTS:
        weighting = DomainClassifierWeighting(
            LogisticRegression(), flatten=exponent, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowOverlapWarning)
            weights = weighting.compute_weights(draw.X_source, draw.X_target)
        line = LogisticRegression().fit(draw.X_source, draw.y_source, sample_weight=weights)
        accuracy = line.score(test.X_target, test.y_target)
        found.append((accuracy, weighting.effective_sample_size_))
    return found


# (shifts, draws, exponents, accuracy and size)
flattened = np.array([[measure(shift, seed) for seed in range(DRAWS)] for shift in SHIFTS])

print("\nAccuracy on the target (effective sample size of 100), by flatten")
print(f"{'distance':<10}" + "".join(f"{exponent:>12.1f}" for exponent in EXPONENTS))
for shift, draws in zip(SHIFTS, flattened, strict=True):
    cells = (f"{accuracy:.3f} ({size:.0f})" for accuracy, size in draws.mean(axis=0))
    print(f"{shift:<10}" + "".join(f"{cell:>12}" for cell in cells))

# %%
# Where the domains are close, the full correction is best and costs little. Where they are far
# apart, half the exponent is as accurate as all of it, with several times as many effective rows.

# %%
# The picture
# -----------
#
# Above: every dot is a source row and its area its weight; the rings hold half and nine tenths of
# the target. Below left: the lines that were fitted; below right: what ``flatten`` does.

BLUE, ORANGE, GREY, GREEN = "#1f77b4", "#e6550d", "#999999", "#2ca02c"


def draw_rings(ax):
    """Draw where half and nine tenths of the target rows are expected."""
    angle = np.linspace(0, 2 * np.pi, 200)
    middle = np.full(2, 1.5 / np.sqrt(2))
    for share in (0.5, 0.9):
        radius = np.sqrt(-2 * np.log(1 - share))
        ax.plot(*(middle + radius * np.c_[np.cos(angle), np.sin(angle)]).T, color=ORANGE, lw=1.2)


def draw_weights(ax, name, weights):
    ax.scatter(*domains.X_source.T, s=9 * weights, color=BLUE, alpha=0.55, lw=0)
    draw_rings(ax)
    size = effective_sample_size(weights)
    note = (
        f"size {size:.0f}"
        if name == "true ratio"
        else f"error {error(weights):.2f}, size {size:.0f}"
    )
    ax.set_title(f"{name}\n", loc="left", fontsize=10, weight="bold")
    ax.text(0, 1.02, note, transform=ax.transAxes, fontsize=9, color="#444444")
    ax.set(xticks=[], yticks=[], xlim=(-3.2, 4.2), ylim=(-3.2, 4.2), aspect="equal")
    ax.spines[:].set_color("#cccccc")


def draw_lines(ax):
    colors = dict(zip(LINES, (GREY, BLUE, ORANGE), strict=True))
    for label, marker in ((0, "o"), (1, "+")):
        rows = domains.X_target[domains.y_target == label]
        size, width = (12, 0) if marker == "o" else (30, 1)
        ax.scatter(*rows.T, s=size, marker=marker, color=ORANGE, alpha=0.45, lw=width)
    across = np.array([-4.0, 6.0])
    for name, fitted in LINES.items():
        (first, second), intercept = fitted.coef_[0], fitted.intercept_[0]
        # Along the axis in which the line is the less steep one.
        points = np.c_[across, -(intercept + first * across) / second]
        if abs(second) < abs(first):
            points = np.c_[-(intercept + second * across) / first, across]
        score = fitted.score(test.X_target, test.y_target)
        ax.plot(*points.T, color=colors[name], lw=2.2, label=f"{name}: {score:.3f}")
    ax.set(xlim=(-2, 4.2), ylim=(-2, 4.2), xticks=[], yticks=[])
    ax.legend(loc="upper right", fontsize=8.5, title="accuracy on the target", title_fontsize=8.5)
    ax.set_title("Lines for target rows (o, +)", loc="left", fontsize=10, weight="bold")
    ax.spines[:].set_color("#cccccc")


def draw_flattening(ax):
    for shift, draws, color in zip(SHIFTS, flattened, (GREEN, BLUE, ORANGE), strict=True):
        mean, spread = draws[..., 0].mean(axis=0), draws[..., 0].std(axis=0, ddof=1)
        bars = spread / np.sqrt(DRAWS)
        sizes = draws[..., 1].mean(axis=0)
        ax.errorbar(EXPONENTS, mean, bars, color=color, marker="o", ms=5, capsize=3)
        ax.annotate(
            f"distance {shift}\nsize {sizes[0]:.0f} → {sizes[-1]:.0f}",
            (EXPONENTS[-1], mean[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=9,
        )
    ax.set_xlim(-0.05, 1.42)
    ax.set_xticks(EXPONENTS)
    ax.set_xlabel("flatten")
    ax.set_ylabel("accuracy on the target")
    ax.set_title(
        f"Flattened weights, {DRAWS} draws of 100 source rows",
        loc="left",
        fontsize=10,
        weight="bold",
    )
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


figure = plt.figure(figsize=(10, 10), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.45, 1))
for ax, (name, weights) in zip(above.subplots(2, 4).flat, estimates.items(), strict=True):
    draw_weights(ax, name, weights)
left, right = below.subplots(1, 2, width_ratios=(1, 1.35))
draw_lines(left)
draw_flattening(right)
plt.show()
