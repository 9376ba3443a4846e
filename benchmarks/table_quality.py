"""Transfer between tables beside what people do without it, at few labels on real data.

    OMP_NUM_THREADS=1 python benchmarks/table_quality.py --data ../shared/data
    python benchmarks/table_quality.py --sets wine "heart > va" --labels 10 30 --draws 0:3
    python benchmarks/table_quality.py --report

Every cell (set, method, number of labels, draw) is one line of the file --results. Cells that are
there are not computed again, so a run can be stopped and gone on with. After a change to a method,
or to sktransfer, start a new file, or take the lines of that method out. --report prints what there
is and computes nothing.

The sets are described in _table_tasks.py, the methods in _table_rivals.py. Rows are drawn with the
number of the draw as seed; the rows of fewer labels are among those of more, and the test rows of a
draw are the same for all numbers of labels. Source models and backbones are made once per set and
seed; draws take turns with the seeds. Methods that need source rows with the labels of the target
are left out where the labels differ. Sets whose data is absent are left out.

The last tables compare each transfer with the best, for each set and number of labels, of the
target alone and of pooling: which one that is, nobody knows beforehand.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import _table_rivals as rivals
import numpy as np
import torch
from _table_tasks import SETS
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

PROJECT = Path(__file__).resolve().parents[1]
LABELS = (10, 30, 100, 300)
SMALLEST_PROBABILITY = 1e-7
METHODS = {
    **rivals.WITHOUT_TRANSFER,
    **rivals.WITH_SOURCE_ROWS,
    **rivals.WITH_SOURCE_MODEL,
}
TARGET_ONLY = ("target LR", "target RF", "target HGB")
POOLED = ("pooled LR", "pooled HGB", "pooled HGB, balanced")


def main():
    options = parse_options()
    if options.report:
        report(options)
        return
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run(options)


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=PROJECT.parent / "shared/data", help="folder with the data")
    default = Path(tempfile.gettempdir()) / "table_quality.jsonl"
    add("--results", type=Path, default=default, help=f"default: {default}")
    add("--report", action="store_true", help="print tables from the results, run nothing")
    add("--sets", nargs="+", choices=SETS, default=list(SETS))
    add("--labels", nargs="+", type=int, default=LABELS, choices=LABELS)
    add("--draws", type=parse_range, default=range(10), metavar="START:STOP", help="default: 0:10")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--source-seeds", type=int, default=2, help="seeds of what is learned from the source")
    return parser.parse_args()


def parse_range(text):
    start, _, stop = text.partition(":")
    return range(int(start), int(stop))


# Running


def run(options):
    known = {key_of(record) for record in read_results(options.results)}
    sources = {}
    for draw in options.draws:
        for name in options.sets:
            seed = draw % options.source_seeds
            try:
                if (name, seed) not in sources:
                    task = SETS[name](options.data, seed)
                    sources[name, seed] = task, rivals.Source(task, seed)
            except FileNotFoundError as error:
                print(f"without {name}: {error}")
                continue
            run_draw(options, name, *sources[name, seed], draw, known)


def run_draw(options, name, task, source, draw, known):
    for n in filter(task.can_draw, options.labels):
        X, y, X_test, y_test = task.draw(n, draw)
        for method in options.methods:
            key = name, method, n, draw
            needs_labels = method in rivals.WITH_SOURCE_ROWS
            if key not in known and (task.has_same_label or not needs_labels):
                measured = measure(METHODS[method], source, X, y, X_test, y_test, draw)
                write(options.results, key, measured)


def measure(method, source, X, y, X_test, y_test, seed):
    started = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[]):
            proba = method(source, X, y, X_test, seed)
    # The others go on, and the table shows that it failed.
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"[:400]}
    return {
        "auc": compute_auc(y_test, proba),
        "log_loss": compute_log_loss(y_test, proba),
        "seconds": round(time.perf_counter() - started, 2),
    }


def compute_auc(y, proba):
    """Return the area under the ROC curve, of several classes the mean of one against the rest."""
    if proba.shape[1] == 2:
        return float(roc_auc_score(y, proba[:, 1]))
    columns = zip(np.unique(y), proba.T, strict=True)
    return float(np.mean([roc_auc_score(y == label, p) for label, p in columns]))


def compute_log_loss(y, proba):
    true = proba[np.arange(len(y)), np.searchsorted(np.unique(y), y)]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def write(path, key, measured):
    record = dict(zip(("set", "method", "n", "draw"), key, strict=True)) | measured
    # One write of one line, so that processes may share the file.
    with open(path, "ab", buffering=0) as file:
        file.write(json.dumps(record).encode() + b"\n")
    values = "  ".join(f"{name} {value}" for name, value in measured.items())
    print("{set:28}{method:26}n={n:<5}draw={draw:<4}".format(**record), values, flush=True)


def read_results(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def key_of(record):
    return record["set"], record["method"], record["n"], record["draw"]


# Report


class Cells:
    """Values of all draws by set, method and number of labels, where no draw is missing."""

    def __init__(self, options):
        self.options = options
        draws = defaultdict(dict)
        for record in read_results(options.results):
            if record["draw"] in options.draws and "auc" in record:
                draws[record["set"], record["method"], record["n"]][record["draw"]] = record
        self.values = {
            key: {
                measure: np.array([of_draw[draw][measure] for draw in sorted(of_draw)])
                for measure in ("auc", "log_loss", "seconds")
            }
            for key, of_draw in draws.items()
            if len(of_draw) == len(options.draws)
        }

    def get(self, name, method, n, measure):
        cell = self.values.get((name, method, n))
        return None if cell is None else cell[measure]

    def mean(self, name, method, n, measure="auc"):
        values = self.get(name, method, n, measure)
        return np.nan if values is None else float(values.mean())

    def list_labels(self, name):
        return [n for n in self.options.labels if any((name, m, n) in self.values for m in METHODS)]

    def best(self, name, methods, n, measure="auc"):
        """Return the best mean of these methods; NaN if there is none."""
        means = [self.mean(name, method, n, measure) for method in methods]
        means = [mean for mean in means if not np.isnan(mean)]
        return (max if measure == "auc" else min)(means, default=np.nan)


def report(options):
    cells = Cells(options)
    first, last = options.draws.start, options.draws.stop - 1
    print(
        f"{options.results}, draws {first} to {last}: mean AUC (worst draw) / mean log loss, "
        f"probabilities clipped at {SMALLEST_PROBABILITY}"
    )
    sets = [name for name in options.sets if cells.list_labels(name)]
    for name in sets:
        print_set(name, options, cells)
    print_ranks(sets, options, cells)
    for measure in ("auc", "log_loss"):
        print_gaps(sets, options, cells, measure)


def print_set(name, options, cells):
    labels = cells.list_labels(name)
    print(f"\n{name}\n{'labels':26}" + "".join(f"{n:>22}" for n in labels))
    for method in options.methods:
        shown = [format_cell(cells, name, method, n) for n in labels]
        if any(cell != "–" for cell in shown):
            print(f"{method:26}" + "".join(f"{cell:>22}" for cell in shown))


def format_cell(cells, name, method, n):
    auc = cells.get(name, method, n, "auc")
    if auc is None:
        return "–"
    loss = cells.mean(name, method, n, "log_loss")
    return f"{auc.mean():.3f} ({auc.min():.3f}) / {loss:.3f}"


def print_ranks(sets, options, cells):
    """Print mean ranks among the methods that every set has, and medians of their seconds."""
    columns = [(name, n) for name in sets for n in cells.list_labels(name)]
    methods = [
        method
        for method in options.methods
        if columns and all((name, method, n) in cells.values for name, n in columns)
    ]
    if not methods:
        return
    print(f"\nMean rank, 1 is best, over {len(columns)} columns\n{'':26}", end="")
    print(f"{'AUC':>10}{'log loss':>10}{'seconds':>10}")
    aucs, losses, seconds = (
        np.array([[cells.mean(name, m, n, measure) for m in methods] for name, n in columns])
        for measure in ("auc", "log_loss", "seconds")
    )
    ranks = rankdata(-aucs, axis=1).mean(axis=0), rankdata(losses, axis=1).mean(axis=0)
    for method, *numbers in zip(methods, *ranks, np.median(seconds, axis=0), strict=True):
        print(f"{method:26}" + "".join(f"{number:>10.2f}" for number in numbers))


def print_gaps(sets, options, cells, measure):
    """Print by set the mean over labels of the difference to the best without transfer."""
    sign, word = (1, "AUC") if measure == "auc" else (-1, "log loss")
    baselines = [*TARGET_ONLY, *POOLED]
    print(
        f"\n{word}: by how much better than the best of {', '.join(baselines)} for each number of "
        "labels,\nas the mean over these numbers (and the worst of them)"
    )
    gaps = {
        (name, method): [
            sign * (cells.mean(name, method, n, measure) - cells.best(name, baselines, n, measure))
            for n in cells.list_labels(name)
        ]
        for name in sets
        for method in options.methods
    }
    for part in (sets[i : i + 4] for i in range(0, len(sets), 4)):
        print(f"{'':26}" + "".join(f"{name:>25}" for name in part))
        for method in options.methods:
            shown = [format_gaps(gaps[name, method]) for name in part]
            if any(cell != "–" for cell in shown):
                print(f"{method:26}" + "".join(f"{cell:>25}" for cell in shown))
    print("\nmean of the sets that the method has, number of these, sets below -.01")
    for method in options.methods:
        means = np.array([np.mean(gaps[name, method]) for name in sets])
        means = means[~np.isnan(means)]
        if len(means):
            print(f"{method:26}{means.mean():>+9.3f}{len(means):>5}{(means < -0.01).sum():>5}")


def format_gaps(gaps):
    return "–" if np.isnan(gaps).any() else f"{np.mean(gaps):+.3f} ({min(gaps):+.3f})"


if __name__ == "__main__":
    main()
