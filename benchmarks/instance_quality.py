"""What source rows are worth to a target with few labels, by every method, beside the peers'.

    OMP_NUM_THREADS=1 python benchmarks/instance_quality.py --data ../shared/data
    python benchmarks/instance_quality.py --families synthetic --quick

Accuracy on other target rows, as the mean and (the worst) over draws. Five synthetic scenarios with
20 labels of the target and 1,000 rows of the source; heart disease in other hospitals, 20 labels;
income of other groups (adult), 40 labels and 2,000 rows of the source; and objects in pictures of
other origins (Office-Caltech), three labels per class. Real data are read from ``--data`` and left
out where there are none. All methods get the same prepared rows and the same learner.

"source + target" means that labelled target rows are used. In the second block of a table no target
label is known, but all target rows are, to weigh the source by. skada and ADAPT are measured in the
same run where they are installed, with one setting per method, the better one of
``weight_quality.py``. Of a method that fails in a draw, the table says in how many.

Results go to the ``--results`` file, one JSON line a fit: what stands there is not computed again,
so that a run can be stopped, continued and extended. The last lines compare the guard with the
better of target-only and pooled.
"""

import argparse
import importlib.util
import json
import time
import warnings
from pathlib import Path

import numpy as np
from _transfer_tasks import FAMILIES
from _weightings import ADAPT, SKADA, import_adapt
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from sktransfer import SourceDomain, instance
from sktransfer.instance import InstanceTransferClassifier

PROJECT = Path(__file__).resolve().parents[1]
LEARNERS = {
    "logistic": LogisticRegression(max_iter=1000),
    "forest": RandomForestClassifier(100, min_samples_leaf=2, random_state=0),
}
WEIGHTINGS = {
    "DomainClassifierWeighting": {"random_state": 0},
    "KernelMeanMatching": {"random_state": 0},
    "KLIEP": {"random_state": 0},
    "ULSIF": {"random_state": 0},
    "NearestNeighborWeighting": {"random_state": 0},
    "KernelDensityWeighting": {"random_state": 0},
    "BalancedWeighting": {},
    "LabelShiftWeighting": {"random_state": 0},
}
PEERS = {
    "skada": {
        "DomainClassifierWeighting": SKADA["DomainClassifierWeighting"][""],
        "KernelMeanMatching": SKADA["KernelMeanMatching"]["median gamma"],
        "KLIEP": SKADA["KLIEP"]["5 gammas"],
        "NearestNeighborWeighting": SKADA["NearestNeighborWeighting"]["smoothed"],
        "KernelDensityWeighting": SKADA["KernelDensityWeighting"][""],
        "LabelShiftWeighting": SKADA["LabelShiftWeighting"]["MMDTarS"],
    },
    "adapt": {
        "DomainClassifierWeighting": ADAPT["DomainClassifierWeighting"]["IWC"],
        "KernelMeanMatching": ADAPT["KernelMeanMatching"]["median gamma, B=10"],
        "KLIEP": ADAPT["KLIEP"]["5 gammas"],
        "ULSIF": ADAPT["ULSIF"]["5 gammas, 5 lambdas"],
        "NearestNeighborWeighting": ADAPT["NearestNeighborWeighting"][""],
    },
}
BEST_OF = ("target only", "pooled")
GUARD = "guard"
NO_LABELS = "no labels: "


def main():
    options = parse_options()
    warnings.simplefilter("ignore")
    results = Results(options.results)
    methods = {
        name: method
        for name, method in list_methods().items()
        if not options.methods or any(part in name for part in options.methods)
    }
    for learner in options.learner:
        gaps = {}
        for family in options.families:
            try:
                tasks = FAMILIES[family](options.data)
            except FileNotFoundError as error:
                print(f"{family}: left out, {error}")
                continue
            n_draws = 2 if options.quick else options.draws
            run(tasks, methods, learner, n_draws, results)
            print_table(family, tasks, methods, learner, n_draws, results)
            find_gaps(gaps, tasks, methods, learner, n_draws, results)
        print_gaps(gaps, learner)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=PROJECT.parent / "shared/data", help="folder of load.py"
    )
    parser.add_argument(
        "--results", type=Path, default=None, help="file of JSON lines to go on with"
    )
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--learner", nargs="+", default=["logistic"], choices=list(LEARNERS))
    parser.add_argument("--methods", nargs="+", help="parts of the names of methods")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two draws")
    return parser.parse_args()


# Methods: functions of a task and a learner, which return predictions for the test rows


def list_methods():
    """Return all methods that are installed, by the name of their row in the table."""
    methods = {
        "target only": lambda task, learner: (
            clone(learner).fit(task.X_target, task.y_target).predict(task.X_test)
        ),
        "source only": lambda task, learner: (
            clone(learner).fit(task.X_source, task.y_source).predict(task.X_test)
        ),
        "pooled": lambda task, learner: fit_both(task, learner, 1),
        "balanced": lambda task, learner: fit_both(
            task, learner, len(task.y_target) / len(task.y_source)
        ),
    }
    for name in WEIGHTINGS:
        methods[name] = transfer(name, fallback=None)
    methods["TrAdaBoost"] = boost(fallback=None)
    methods[GUARD] = transfer("DomainClassifierWeighting")
    for name in list(WEIGHTINGS)[1:]:
        methods[f"{GUARD}, {name}"] = transfer(name)
    methods[f"{GUARD}, TrAdaBoost"] = boost()
    installed = [library for library in PEERS if importlib.util.find_spec(library)]
    for library in installed:
        for name, weigh in PEERS[library].items():
            methods[f"{library} {name}"] = use_peer(weigh)
    if "adapt" in installed:
        methods["adapt BalancedWeighting"] = use_adapt("BalancedWeighting", gamma=0.5)
        methods["adapt TrAdaBoost"] = use_adapt("TrAdaBoost", n_estimators=10)
        methods["adapt TrAdaBoost, 50"] = use_adapt("TrAdaBoost", n_estimators=50)

    methods[f"{NO_LABELS}source only"] = methods["source only"]
    for name in WEIGHTINGS:
        if name != "BalancedWeighting":
            methods[f"{NO_LABELS}{name}"] = transfer(name, labels=False)
    for library in installed:
        for name, weigh in PEERS[library].items():
            methods[f"{NO_LABELS}{library} {name}"] = use_peer(weigh, labels=False)
    return methods


def fit_both(task, learner, source_weight):
    X = np.concatenate([task.X_target, task.X_source])
    y = np.concatenate([task.y_target, task.y_source])
    weights = np.concatenate(
        [np.ones(len(task.y_target)), np.full(len(task.y_source), source_weight)]
    )
    return clone(learner).fit(X, y, sample_weight=weights).predict(task.X_test)


def transfer(name, *, labels=True, **parameters):
    def predict(task, learner):
        weighting = getattr(instance, name)(**WEIGHTINGS[name])
        source = SourceDomain(task.X_source, task.y_source)
        classifier = InstanceTransferClassifier(
            learner, source=source, weighting=weighting, random_state=0, **parameters
        )
        X, y = (task.X_target, task.y_target) if labels else (all_target_rows(task), None)
        return classifier.fit(X, y).predict(task.X_test)

    return predict


def boost(**parameters):
    def predict(task, learner):
        source = SourceDomain(task.X_source, task.y_source)
        classifier = instance.TrAdaBoostClassifier(
            learner, source=source, random_state=0, **parameters
        )
        return classifier.fit(task.X_target, task.y_target).predict(task.X_test)

    return predict


def use_peer(weigh, *, labels=True):
    """Fit the weighted source alone, which is what skada and ADAPT do with such weights."""

    def predict(task, learner):
        X_target = task.X_target if labels else all_target_rows(task)
        weights = weigh(task.X_source, task.y_source, X_target)
        fitted = clone(learner).fit(task.X_source, task.y_source, sample_weight=weights)
        return fitted.predict(task.X_test)

    return predict


def use_adapt(name, **parameters):
    def predict(task, learner):
        method = getattr(import_adapt(), name)(
            clone(learner),
            Xt=task.X_target,
            yt=task.y_target,
            verbose=0,
            random_state=0,
            **parameters,
        )
        return np.ravel(method.fit(task.X_source, task.y_source).predict(task.X_test))

    return predict


def all_target_rows(task):
    return np.concatenate([task.X_target, task.X_test])[:1000]


# Runs


class Results:
    """Accuracies by task, draw, method and learner, kept in a file of JSON lines."""

    KEY = ("task", "draw", "method", "learner")

    def __init__(self, path):
        self.path, self.found = path, {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self.found[tuple(entry[part] for part in self.KEY)] = entry

    def __contains__(self, key):
        return key in self.found

    def add(self, key, **values):
        self.found[key] = {**dict(zip(self.KEY, key, strict=True)), **values}
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(self.found[key]) + "\n")

    def accuracies(self, task, method, learner, n_draws):
        """Return the accuracy of each draw, NaN where there is none."""
        keys = [(task, draw, method, learner) for draw in range(n_draws)]
        found = [self.found[key]["accuracy"] if key in self.found else None for key in keys]
        return np.array(found, dtype=float)


def run(tasks, methods, learner, n_draws, results):
    for task_name, draw_task in tasks.items():
        for draw in range(n_draws):
            task = None
            for name, method in methods.items():
                key = (task_name, draw, name, learner)
                if key in results:
                    continue
                task = task or draw_task(draw)
                results.add(key, **measure(method, task, LEARNERS[learner]))


def measure(method, task, learner):
    started = time.process_time()
    try:
        accuracy = float(np.mean(method(task, learner) == task.y_test))
        failure = {}
    # A peer may fail in any way; the others go on, and the table shows it.
    except Exception as error:
        accuracy, failure = None, {"failure": f"{type(error).__name__}: {error}"[:300]}
    return {"accuracy": accuracy, "seconds": time.process_time() - started, **failure}


# Tables


def print_table(family, tasks, methods, learner, n_draws, results):
    short = [task.removeprefix(f"{family.upper()} ").removeprefix(f"{family} ") for task in tasks]
    width = max(13, *(len(name) + 2 for name in short))
    print(f"\n{family}, {learner}: accuracy in percent, mean (worst) of {n_draws} draws")
    header = "".join(f"{name:>{width}}" for name in [*short, "mean"])
    print(f"{'':44}{header}{'seconds':>9}")
    for name in methods:
        accuracies = np.array(
            [100 * results.accuracies(task, name, learner, n_draws) for task in tasks]
        )
        failed = np.isnan(accuracies).sum(axis=1)
        cells = [
            f"failed {n}x" if n == n_draws else f"{np.nanmean(a):.1f} ({np.nanmin(a):.0f})"
            for a, n in zip(accuracies, failed, strict=True)
        ]
        marks = ["*" if 0 < n < n_draws else "" for n in failed]
        row = "".join(f"{c + m:>{width}}" for c, m in zip(cells, marks, strict=True))
        mean = np.mean(np.nanmean(accuracies, axis=1)) if not failed.any() else np.nan
        seconds = [
            entry["seconds"]
            for (task, _, method, by), entry in results.found.items()
            if task in tasks and method == name and by == learner
        ]
        print(f"{name:44}{row}{mean:>{width}.1f}{np.median(seconds):>9.2f}", flush=True)


def find_gaps(gaps, tasks, methods, learner, n_draws, results):
    """Collect, by guarded method and task, the mean difference to the better of the baselines."""
    for task in tasks:
        baselines = [results.accuracies(task, name, learner, n_draws) for name in BEST_OF]
        best = max(baselines, key=lambda accuracies: accuracies.mean())
        for name in methods:
            if not name.startswith(NO_LABELS):
                difference = results.accuracies(task, name, learner, n_draws) - best
                gaps.setdefault(name, {})[task] = difference


def print_gaps(gaps, learner):
    """Print each method's worst and mean difference to the better of target-only and pooled."""
    if not gaps:
        return
    print(f"\n{learner}: mean difference to the better of {' and '.join(BEST_OF)}, in points")
    print(f"{'':44}{'all tasks':>12}{'tasks < -1':>12}{'worst':>9}")
    for name, by_task in gaps.items():
        means = {task: 100 * np.nanmean(difference) for task, difference in by_task.items()}
        worst = min(means, key=means.get)
        error = 100 * np.nanstd(by_task[worst], ddof=1) / np.sqrt(len(by_task[worst]))
        n_below = sum(mean < -1 for mean in means.values())
        print(
            f"{name:44}{np.mean(list(means.values())):>+12.1f}{n_below:>12}{means[worst]:>+9.1f}"
            f" (±{error:.1f}) {worst}"
        )


if __name__ == "__main__":
    main()
