"""How far weights of source rows are from the true density ratio.

    OMP_NUM_THREADS=1 python benchmarks/weight_quality.py [--quick] [--seeds 5]

Gaussian domains, whose ratio is known: the target differs in mean, variance or correlation, in 2 to
20 columns, with as many source as target rows and with more of either. The error is

    sum((w - r) ** 2) / sum(r ** 2)

where w are the weights and r the ratios at the source rows, both with a mean of 1: 0 is perfect,
and equal weights get what the first line shows. In brackets is the rank correlation of both. Means
over cases and seeds, by the kind of shift with its size, by the number of columns, by the numbers
of source and target rows, and over all. For class priors that become 70/20/10 percent or the like
from three equal ones, r is the ratio of the priors, and the size is the distance of the classes.
skada and ADAPT are measured in the same run where they are installed, with their defaults and with
the better of usual settings. They get rows standardised over both domains, as their manuals advise;
ours standardise by themselves.
"""

import argparse
import time
import warnings

import numpy as np
from _weightings import list_weightings
from scipy.stats import spearmanr

from sktransfer.datasets import make_covariate_shift

SHIFTS = (("mean", 0.0), ("mean", 1.0), ("mean", 2.0), ("variance", 1.5), ("correlation", 1.0))
SIZES = ((1000, 1000), (1000, 100), (300, 3000))
SHAPES = [(d, SIZES[0]) for d in (2, 5, 10, 20)] + [(5, n_rows) for n_rows in SIZES[1:]]
LABEL_SHIFT = "LabelShiftWeighting"


def main():
    options = parse_options()
    warnings.simplefilter("ignore")
    density = [
        w for w in list_weightings(options.methods, options.libraries) if w[0] not in LABEL_SHIFT
    ]
    density = [w for w in density if w[0] != "BalancedWeighting"]
    if density:
        compare(density, make_density_cases(options.quick), options.seeds)
    labels = [w for w in list_weightings(options.methods, options.libraries) if w[0] == LABEL_SHIFT]
    if labels:
        compare(labels, make_prior_cases(options.quick), options.seeds)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cases, one seed")
    parser.add_argument("--methods", nargs="+", help="names of weightings of sktransfer")
    parser.add_argument("--libraries", nargs="+", choices=["sktransfer", "skada", "adapt"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.seeds = 1
    return options


def make_density_cases(quick):
    """Return the columns of the table: name -> functions of a seed that draw its cases."""

    def draw(kind, shift, n_columns, n_source, n_target):
        def by_seed(seed):
            domains = make_covariate_shift(
                n_source, n_target, n_columns, kind=kind, shift=shift, random_state=seed
            )
            ratio = np.exp(domains.log_ratio)
            return domains.X_source, domains.y_source, domains.X_target, ratio

        return by_seed

    cases = {}
    for kind, shift in SHIFTS[1:4:2] if quick else SHIFTS:
        for n_columns, n_rows in [(5, SIZES[0])] if quick else SHAPES:
            cases[kind, shift, n_columns, n_rows] = draw(kind, shift, n_columns, *n_rows)
    return cases


def make_prior_cases(quick):
    """Return cases of three classes whose shares differ between the domains."""

    def draw(shares, distance, n_source, n_target):
        def by_seed(seed):
            rng = np.random.default_rng(seed)
            means = distance * np.eye(3, 5)
            before, after = np.full(3, 1 / 3), np.array(shares)
            y_source = rng.choice(3, n_source, p=before)
            y_target = rng.choice(3, n_target, p=after)
            X_source, X_target = (
                means[y] + rng.normal(size=(len(y), 5)) for y in (y_source, y_target)
            )
            return X_source, y_source, X_target, (after / before)[y_source]

        return by_seed

    cases = {}
    for shares in (
        [(0.7, 0.2, 0.1)] if quick else [(1 / 3,) * 3, (0.7, 0.2, 0.1), (0.05, 0.05, 0.9)]
    ):
        for distance in (3.0,) if quick else (1.5, 3.0):
            for n_source, n_target in SIZES[:1] if quick else SIZES:
                name = "/".join(f"{100 * share:.0f}" for share in shares)
                cases[name, distance, 5, (n_source, n_target)] = draw(
                    shares, distance, n_source, n_target
                )
    return cases


def compare(weightings, cases, n_seeds):
    """Print the errors of each weighting by the kind of shift, then by columns and by rows."""
    groups = {}
    for case in cases:
        kind, size, n_columns, n_rows = case
        for group in (f"{kind} {size:g}", f"d={n_columns}", "{}:{}".format(*n_rows)):
            groups.setdefault(group, []).append(case)
    groups = dict(sorted(groups.items(), key=lambda group: order_of(group[0])))
    print(f"\n{'error (rank correlation)':<59}", end="")
    print("".join(f"{group:>17}" for group in [*groups, "all"]) + f"{'seconds':>9}", flush=True)
    draws = {name: [draw(seed) for seed in range(n_seeds)] for name, draw in cases.items()}
    equal = ("equal weights", "", "", lambda X_source, y_source, X_target: np.ones(len(X_source)))
    means = {}
    for name, library, setting, weigh in [equal, *weightings]:
        print(f"{name:<26}{library:<12}{setting:<21}", end="", flush=True)
        started = time.process_time()
        errors, correlations = {}, {}
        for case, draws_of_case in draws.items():
            found = np.array([measure(weigh, library, *data) for data in draws_of_case])
            errors[case], correlations[case] = found.T
        seconds = time.process_time() - started
        for cases_of_group in [*groups.values(), list(cases)]:
            error = np.mean([errors[case] for case in cases_of_group])
            correlation = np.nanmean([correlations[case] for case in cases_of_group])
            print(f"{f'{error:.3f} ({correlation:.2f})':>17}", end="")
        print(f"{seconds:>9.1f}", flush=True)
        means[name, library, setting] = np.mean(list(errors.values()), axis=0).mean()
    print_verdicts(means)


def order_of(group):
    """Kinds of shift first, then numbers of columns, then numbers of rows."""
    return (":" in group) + (":" in group or group.startswith("d="))


def measure(weigh, library, X_source, y_source, X_target, ratio):
    if library in ("skada", "adapt"):
        both = np.concatenate([X_source, X_target])
        mean, scale = both.mean(axis=0), both.std(axis=0)
        X_source, X_target = ((X - mean) / scale for X in (X_source, X_target))
    weights = np.asarray(weigh(X_source, y_source, X_target), dtype=float)
    if not np.isfinite(weights).all() or weights.sum() <= 0:
        weights = np.ones(len(weights))  # as a user would go on without weights
    weights, ratio = weights / weights.mean(), ratio / ratio.mean()
    error = ((weights - ratio) ** 2).sum() / (ratio**2).sum()
    varies = np.ptp(weights) > 0 and np.ptp(ratio) > 0
    return error, spearmanr(weights, ratio)[0] if varies else np.nan


def print_verdicts(means):
    """Print our error beside that of the best peer of the same name."""
    print("\nmean error, ours and the best peer's of the same name")
    for (name, library, _), error in means.items():
        if library != "sktransfer":
            continue
        peers = {peer: e for peer, e in means.items() if peer[0] == name and peer[1] != library}
        if peers:
            best = min(peers, key=peers.get)
            word = "better" if error < peers[best] else "WORSE"
            print(f"{name:<26}{error:.3f}  {peers[best]:.3f} {' '.join(best[1:])}: {word}")


if __name__ == "__main__":
    main()
