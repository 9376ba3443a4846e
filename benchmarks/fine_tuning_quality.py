"""ParameterTransferClassifier beside the recipes of other libraries, at few labels on real data.

    python benchmarks/fine_tuning_quality.py --data ../shared/data
    python benchmarks/fine_tuning_quality.py --sets cifar digits --shots 2 5 --draws 0:3
    python benchmarks/fine_tuning_quality.py --recipes "linear probe" auto --draws 0:10
    python benchmarks/fine_tuning_quality.py --report

Every cell (set, recipe, labels per class, draw) is one line of the file --results. Cells that are
there are not computed again, so a run can be stopped and gone on with, and processes with other
options may write to the same file. After a change to a recipe, or to sktransfer, start a new file.
All cells take hours; --report prints what there is and computes nothing.

Rows are drawn per class with the number of the draw as seed; the rows of fewer labels are among
those of more. Test rows are those of the test split, or all that were not drawn. Sets whose data is
absent are left out. In the report "–" stands for a cell with missing draws.

The recipes are described in _peer_recipes.py; "frozen", "fine_tune" and "auto" are the strategies
of ParameterTransferClassifier. Features of the frozen backbone are computed once per process, so
the seconds of "linear probe", "SVC", "frozen" and "auto" depend on what ran before.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import _peer_recipes as peers
import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from sktransfer import (
    Backbone,
    NegativeTransferWarning,
    ParameterTransferClassifier,
    load_backbone,
)
from sktransfer.backbones import NetworkInput

PROJECT = Path(__file__).resolve().parents[1]
SHOTS = (2, 5, 10, 25)
SMALLEST_PROBABILITY = 1e-7
IMAGENET_TF = NetworkInput(channels=3, mean=(0.5,), std=(0.5,))
CIFAR = NetworkInput(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def main():
    options = parse_options()
    if options.report:
        report(options)
        return
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        run(options)


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=PROJECT.parent / "shared/data", help="folder with the data")
    default = Path(tempfile.gettempdir()) / "fine_tuning_quality.jsonl"
    add("--results", type=Path, default=default, help=f"default: {default}")
    add("--report", action="store_true", help="print tables from the results, run nothing")
    add("--sets", nargs="+", choices=SETS, help="default: all")
    add("--shots", nargs="+", type=int, default=SHOTS, help="labels per class")
    add("--draws", type=parse_range, default=range(5), metavar="START:STOP", help="default: 0:5")
    add("--recipes", nargs="+", choices=RECIPES, help=f"default: all but {', '.join(SLOW)}")
    add("--all", action="store_true", help=f"with {', '.join(SLOW)}")
    add("--small-v2", action="store_true", help="MobileNetV2 at 128 instead of 224 pixels")
    add("--test-rows", type=int, default=1000, help="at most so many, but all of USPS")
    add("--threads", type=int, default=1)
    options = parser.parse_args()
    options.recipes = options.recipes or [r for r in RECIPES if options.all or r not in SLOW]
    left_out = "hymenoptera-v2" if options.small_v2 else "hymenoptera-v2-128"
    options.sets = options.sets or [name for name in SETS if name != left_out]
    if options.small_v2:
        small = {"hymenoptera-v2": "hymenoptera-v2-128"}
        options.sets = [small.get(name, name) for name in options.sets]
    return options


def parse_range(text):
    start, _, stop = text.partition(":")
    return range(int(start), int(stop))


# Sets


@dataclasses.dataclass
class TransferTask:
    """A backbone, the rows that labels are drawn from, and the test rows if these are others."""

    backbone: Backbone
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None

    def draw(self, n_per_class, seed, n_test):
        """Return training rows, their labels, test rows and their labels."""
        rng = np.random.default_rng(seed)
        classes = [rng.permutation(np.flatnonzero(self.y == label)) for label in np.unique(self.y)]
        chosen = np.concatenate([rows[:n_per_class] for rows in classes])
        if self.X_test is not None:
            return self.X[chosen], self.y[chosen], self.X_test, self.y_test
        rest = np.random.default_rng(0).permutation(len(self.y))
        rest = rest[~np.isin(rest, chosen)][:n_test]
        return self.X[chosen], self.y[chosen], self.X[rest], self.y[rest]


def load_hymenoptera(data, n_test, *, network, size):
    load = import_loader(data)
    backbone = Backbone(load.network(network), input=IMAGENET_TF)
    parts = [load.hymenoptera(split, size)[:2] for split in ("train", "val")]
    X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return TransferTask(backbone, X, y)


def load_cifar(data, n_test):
    load = import_loader(data)
    backbone = Backbone(load.network("resnet20_cifar10"), input=CIFAR)
    return TransferTask(backbone, *load.cifar10("train"), *load.cifar10("test", n_test))


def load_usps(data, n_test):
    load = import_loader(data)
    (X, y), (X_test, y_test) = load.usps("train"), load.usps("test")
    X, X_test = (images.astype(np.float32) / 255 for images in (X, X_test))
    return TransferTask(load_backbone("glyphs"), X, y, X_test, y_test)


def load_sklearn_digits(data, n_test):
    digits = load_digits()
    X = digits.images.astype(np.float32) / 16
    return TransferTask(load_backbone("glyphs"), X, digits.target)


def import_loader(data):
    path = data / "load.py"
    if not path.exists():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location("load", path)
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    return load


@dataclasses.dataclass(frozen=True)
class DataSet:
    title: str
    load: Callable


def mobilenet_on_hymenoptera(network, size):
    return functools.partial(load_hymenoptera, network=network, size=size)


SETS = {
    "hymenoptera-v1": DataSet(
        "hymenoptera, MobileNetV1-0.5", mobilenet_on_hymenoptera("mobilenetv1_050_160", 160)
    ),
    "hymenoptera-v2": DataSet(
        "hymenoptera, MobileNetV2", mobilenet_on_hymenoptera("mobilenetv2_100_ptq", 224)
    ),
    "hymenoptera-v2-128": DataSet(
        "hymenoptera, MobileNetV2 at 128 pixels",
        mobilenet_on_hymenoptera("mobilenetv2_100_ptq", 128),
    ),
    "cifar": DataSet("CIFAR-10 as JPEG, ResNet-20", load_cifar),
    "usps": DataSet("USPS, glyphs", load_usps),
    "digits": DataSet("digits, glyphs", load_sklearn_digits),
}


# Recipes


def sktransfer_classifier(backbone, X, y, X_test, seed, *, strategy):
    classifier = ParameterTransferClassifier(
        backbone, strategy=strategy, device="cpu", random_state=seed
    )
    with warnings.catch_warnings():
        # Where transfer loses is what the table shows.
        warnings.simplefilter("ignore", NegativeTransferWarning)
        return classifier.fit(X, y).predict_proba(X_test)


RECIPES = {
    "pixels": peers.pixels,
    "linear probe": peers.linear_probe,
    "SVC": peers.svc,
    "skorch": peers.skorch_notebook,
    "two rates": peers.two_rates,
    "fastai": peers.fastai_fine_tune,
    "Keras": peers.keras_guide,
    "BiT": peers.bit_hyper_rule,
    "frozen": functools.partial(sktransfer_classifier, strategy="frozen"),
    "fine_tune": functools.partial(sktransfer_classifier, strategy="fine_tune"),
    "auto": functools.partial(sktransfer_classifier, strategy="auto"),
}
SLOW = ("BiT",)


# Running


def run(options):
    tasks = load_tasks(options)
    for draw in options.draws:
        for name, task in tasks.items():
            for n in options.shots:
                for recipe in options.recipes:
                    run_cell(options, task, {"set": name, "recipe": recipe, "n": n, "draw": draw})


def load_tasks(options):
    tasks = {}
    for name in options.sets:
        try:
            tasks[name] = SETS[name].load(options.data, options.test_rows)
        except FileNotFoundError as error:
            print(f"without {name}: there is no {error.filename or error}")
    return tasks


def run_cell(options, task, cell):
    """Compute one line of the results, unless this or another process has written it already."""
    X, y, X_test, y_test = task.draw(cell["n"], cell["draw"], options.test_rows)
    for record in read_results(options.results):
        if cell.items() <= record.items():
            if record["test_rows"] != len(y_test):
                raise SystemExit(
                    f"{options.results} holds results on {record['test_rows']} test rows, this "
                    f"run has {len(y_test)}: name another file with --results."
                )
            return
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        proba = RECIPES[cell["recipe"]](task.backbone, X, y, X_test, cell["draw"])
    record = {
        **cell,
        "accuracy": float(np.mean(proba.argmax(axis=1) == y_test)),
        "log_loss": log_loss(proba, y_test),
        "seconds": round(time.perf_counter() - started, 2),
        "test_rows": len(y_test),
    }
    # One write of one line, so that processes may share the file.
    with open(options.results, "ab", buffering=0) as file:
        file.write(json.dumps(record).encode() + b"\n")
    print(
        "{set:20}{recipe:14}n={n:<4}draw={draw:<4}accuracy {accuracy:.4f}  log loss "
        "{log_loss:7.4f}  {seconds:8.2f} s".format(**record),
        flush=True,
    )


def log_loss(proba, y):
    true = proba[np.arange(len(y)), y]
    return float(-np.log(np.maximum(true, SMALLEST_PROBABILITY)).mean())


def read_results(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# Report


@dataclasses.dataclass(frozen=True)
class Cell:
    """The draws of one recipe on one set at one number of labels."""

    accuracy: np.ndarray
    log_loss: np.ndarray
    seconds: np.ndarray


def report(options):
    cells = collect_cells(options)
    print(
        f"{options.results}, draws {options.draws.start} to {options.draws.stop - 1}: mean "
        f"accuracy (worst draw) / mean log loss, probabilities clipped at {SMALLEST_PROBABILITY}"
    )
    sets = [s for s in options.sets if any(key[0] == s for key in cells)]
    recipes = [r for r in options.recipes if any(key[2] == r for key in cells)]
    for name in sets:
        print_accuracies(name, options.shots, recipes, cells)
    print_ranks(sets, options.shots, recipes, cells)
    print_gain("auto", "linear probe", sets, options.shots, cells)


def collect_cells(options):
    """Return a `Cell` by (set, labels per class, recipe), for those whose draws are all there."""
    draws = defaultdict(dict)
    for record in read_results(options.results):
        if record["draw"] in options.draws:
            draws[record["set"], record["n"], record["recipe"]][record["draw"]] = record
    return {
        key: Cell(
            *(
                np.array([record[name] for record in records.values()])
                for name in ("accuracy", "log_loss", "seconds")
            )
        )
        for key, records in draws.items()
        if len(records) == len(options.draws)
    }


def print_accuracies(name, shots, recipes, cells):
    print(f"\n{SETS[name].title}\n{'labels per class':18}" + "".join(f"{n:>22}" for n in shots))
    for recipe in recipes:
        shown = (format_cell(cells.get((name, n, recipe))) for n in shots)
        print(f"{recipe:18}" + "".join(f"{cell:>22}" for cell in shown))


def format_cell(cell):
    if cell is None:
        return "–"
    mean, worst = cell.accuracy.mean(), cell.accuracy.min()
    return f"{mean:.3f} ({worst:.3f}) / {cell.log_loss.mean():.3f}"


def print_ranks(sets, shots, recipes, cells):
    """Print mean ranks, over the columns of the tables in which no recipe shown is missing."""
    columns = [(s, n) for s in sets for n in shots if all((s, n, r) in cells for r in recipes)]
    print(
        f"\nMean rank, 1 is best, over the columns without a missing cell: {len(columns)} of "
        f"{len(sets) * len(shots)}"
    )
    if not columns:
        return
    print(f"{'':18}{'accuracy':>10}{'log loss':>10}{'seconds':>10}")
    accuracies, losses, seconds = (
        np.array([[getattr(cells[s, n, r], of).mean() for r in recipes] for s, n in columns])
        for of in ("accuracy", "log_loss", "seconds")
    )
    by_accuracy = rankdata(-accuracies, axis=1).mean(axis=0)
    by_loss = rankdata(losses, axis=1).mean(axis=0)
    for recipe, *numbers in zip(recipes, by_accuracy, by_loss, seconds.mean(axis=0), strict=True):
        print(f"{recipe:18}" + "".join(f"{number:>10.2f}" for number in numbers))


def print_gain(recipe, rival, sets, shots, cells):
    """Print the difference of mean accuracies and log losses, the worst of each marked."""
    gains = {
        (name, n): (
            (cells[name, n, recipe].accuracy - cells[name, n, rival].accuracy).mean(),
            (cells[name, n, recipe].log_loss - cells[name, n, rival].log_loss).mean(),
        )
        for name in sets
        for n in shots
        if (name, n, recipe) in cells and (name, n, rival) in cells
    }
    if not gains:
        return
    print(f"\n{recipe} − {rival}\n{'':40}{'labels':>8}{'accuracy':>10}{'log loss':>12}")
    smallest = min(accuracy for accuracy, _ in gains.values())
    largest = max(loss for _, loss in gains.values())
    for (name, n), (accuracy, loss) in gains.items():
        marks = "*" if accuracy == smallest else " ", "*" if loss == largest else " "
        line = f"{SETS[name].title:40}{n:>8}{accuracy:>+9.3f}{marks[0]}{loss:>+11.3f}{marks[1]}"
        print(line.rstrip())
    print("*: the smallest gain in accuracy, the largest loss in log loss")


if __name__ == "__main__":
    main()
