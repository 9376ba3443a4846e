"""How long training takes, as ratios: beside hand-written torch, the cache, skorch and the guard.

    python benchmarks/fine_tuning_speed.py --data ../shared/data
    python benchmarks/fine_tuning_speed.py --quick

Four comparisons, each against its target, in about half an hour (--quick: two minutes):

1. a step of full fine-tuning, against a hand-written torch loop that does the same work;
2. ten epochs of the last block behind a cached prefix, against the same without the cache;
3. a grid of 6 candidates in 5 folds over frozen backbones, against skorch's Freezer recipe, and
   against one pass of the network with all heads fitted on its features by hand;
4. strategy="auto", against strategy="fine_tune".

Every comparison is interleaved, A B A B ...; a ratio is the median over the rounds of the ratio
within a round, seconds are medians. With one thread time is that of the process on its CPU, which
other jobs disturb less; with more it is that of the clock. The fits with skorch are extrapolated
from two of them to the 31 of a grid, everything else is run in full. Sets whose data is absent are
left out.
"""

import argparse
import dataclasses
import functools
import math
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from fine_tuning_quality import PROJECT, SETS
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight
from skorch import NeuralNetClassifier
from skorch.callbacks import Freezer
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from sktransfer import Backbone, NegativeTransferWarning, ParameterTransferClassifier
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._batches import PreparedRows
from sktransfer.training._heads import make_head
from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._net import TrainingOptions, TransferNetwork, train_network
from sktransfer.training._objectives import Multiclass
from sktransfer.training._trainable import describe_param_groups

HEAD_LR, BACKBONE_LR, WEIGHT_DECAY = 1e-3, 1e-4, 1e-2
N_FOLDS = 5
GRID = {"class_weight": [None, "balanced"], "random_state": [0, 1, 2]}
N_FITS = N_FOLDS * math.prod(map(len, GRID.values())) + 1
# A block of MobileNetV1 is a pair of layers, one along and one across the channels.
KNOWN = {
    "digits": {
        "head": None,
        "last_block": 1,
        "batch_size": 32,
        "peer_batch": 32,
        "peer_epochs": 10,
        "auto_sizes": (100, 250, 500),
    },
    "cifar": {
        "head": "linear",
        "last_block": 1,
        "batch_size": 32,
        "peer_batch": 32,
        "peer_epochs": 10,
        "auto_sizes": (100,),
    },
    "hymenoptera-v1": {
        "head": "classifier",
        "last_block": 2,
        "batch_size": 16,
        "peer_batch": 4,
        "peer_epochs": 25,
    },
}
COLUMNS = "{:<43}{:>11}{:>11}{:>9}{:>10}  {}"


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    with threadpool_limits(options.threads):
        run(options, Rounds(clock, options.quick))


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=PROJECT.parent / "shared/data", help="folder with the data")
    add("--threads", type=int, default=1)
    add("--quick", action="store_true", help="digits only, in fewer rounds")
    add("--parts", type=int, nargs="+", default=[1, 2, 3, 4], help="of the four comparisons")
    return parser.parse_args()


def run(options, rounds):
    tasks = list(load_tasks(options))
    print(COLUMNS.format("", "sktransfer", "other", "ratio", "target", ""))
    parts = (compare_steps, compare_last_block, compare_grid, compare_auto)
    for part in (parts[i - 1] for i in options.parts):
        print(f"\n{part.__doc__}")
        for task in tasks:
            part(task, rounds)


# Sets


@dataclasses.dataclass
class SpeedTask:
    """A backbone and rows for it.

    ``head`` is the name of its old head, ``last_block`` what ``trainable`` calls its last block.
    ``peer_batch`` and ``peer_epochs`` are those of the recipe with skorch, whose tutorial on
    hymenoptera has 4 and 25; ``auto_sizes`` are the numbers of rows to compare "auto" at.
    """

    title: str
    backbone: Backbone
    X: np.ndarray
    y: np.ndarray
    head: str | None
    last_block: int
    batch_size: int
    peer_batch: int
    peer_epochs: int
    auto_sizes: tuple = ()

    @property
    def n_classes(self):
        return len(np.unique(self.y))

    @property
    def objective(self):
        return Multiclass(self.n_classes)

    def take(self, n_rows):
        """Return the first rows, which are in random order, and their labels."""
        return self.X[:n_rows], self.y[:n_rows]


def load_tasks(options):
    for name in ["digits"] if options.quick else KNOWN:
        try:
            loaded = SETS[name].load(options.data, 1)
        except FileNotFoundError as error:
            print(f"left out: {SETS[name].title}, for want of {error}")
            continue
        chosen = np.random.default_rng(0).permutation(len(loaded.y))[:500]
        X, y = loaded.X[chosen], loaded.y[chosen].astype(np.int64)
        task = SpeedTask(SETS[name].title, loaded.backbone, X, y, **KNOWN[name])
        yield dataclasses.replace(task, auto_sizes=task.auto_sizes[:1]) if options.quick else task


# Measurement


@dataclasses.dataclass
class Rounds:
    """Runs the sides of a comparison in turn, and prints their times beside the target."""

    clock: object
    quick: bool

    def measure(self, n_rounds, **sides):
        """Return a list of seconds for each side."""
        seconds = {name: [] for name in sides}
        for _ in range(min(n_rounds, 2) if self.quick else n_rounds):
            for name, run_side in sides.items():
                clear_row_cache()
                started = self.clock()
                run_side()
                seconds[name].append(self.clock() - started)
        return seconds


def median_ratio(one, other):
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def print_line(title, ours, other, ratio, target, note="", *, at_least=False, unit=1):
    is_met = ratio >= target if at_least else ratio <= target
    sign = ">=" if at_least else "<="
    cells = (f"{statistics.median(seconds) * unit:.3f}" for seconds in (ours, other))
    met = "met" if is_met else "MISSED"
    print(
        COLUMNS.format(title, *cells, f"{ratio:.2f}", f"{sign} {target:g}", f"{met:7}{note}"),
        flush=True,
    )


# 1. Steps


def compare_steps(task, rounds):
    """1. A step of full fine-tuning (ms), against a hand-written torch loop"""
    X, y = task.take(8 * task.batch_size)
    losses = {}

    def train_with_sktransfer():
        losses["ours"] = train_whole_network(task, X, y, n_epochs=2)

    def train_with_torch():
        losses["by hand"] = train_by_hand(task, X, y, n_epochs=2)

    # Convolutions choose their kernels at the first call.
    train_by_hand(task, X[: task.batch_size], y[: task.batch_size], n_epochs=1)
    seconds = rounds.measure(5, ours=train_with_sktransfer, by_hand=train_with_torch)
    ours, by_hand = seconds["ours"], seconds["by_hand"]
    n_steps = len(losses["by hand"])
    apart = np.abs(np.subtract(losses["ours"], losses["by hand"])).max()
    print_line(
        f"{task.title}, batches of {task.batch_size}",
        ours,
        by_hand,
        median_ratio(ours, by_hand),
        1.05,
        f"losses apart by {apart:.1g}",
        unit=1000 / n_steps,
    )


def train_whole_network(task, X, y, n_epochs):
    """Return the loss of each step of sktransfer's own loop, without what comes before it."""
    module = task.backbone.copy_module()
    layer = "output"
    if task.head:
        layer = f"{task.head}:input"
        module.get_submodule(task.head).requires_grad_(False)
    network = TransferNetwork(FeatureExtractor(module, layer), make_start(task))
    groups = describe_param_groups(
        network, head_lr=HEAD_LR, backbone_lr=BACKBONE_LR, weight_decay=WEIGHT_DECAY
    )
    options = TrainingOptions(task.objective, max_epochs=n_epochs, batch_size=task.batch_size)
    targets = task.objective.encode(y)
    rows = PreparedRows(X, targets, np.ones(len(X)), task.backbone.input.prepare)
    net = train_network(network, rows, groups, options)
    return np.ravel(net.history[:, "batches", :, "train_loss"])


def make_start(task):
    """Make a head for features that are taken as they come; the same one for both sides."""
    return make_head(np.zeros(task.backbone.n_features_out), 1.0, (), task.n_classes)


def train_by_hand(task, X, y, n_epochs):
    """Do in plain torch what sktransfer does, and return the loss of each step."""
    network = task.backbone.copy_module()
    head = make_start(task)
    if task.head:
        setattr(network, task.head, head)
    else:
        network = nn.Sequential(network, head)
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    own = set(head.parameters())
    groups = [
        {
            "params": [
                p for p in network.parameters() if (p in own) == is_head and (p.ndim > 1) == decays
            ],
            "lr": rate,
            "weight_decay": WEIGHT_DECAY if decays else 0.0,
        }
        for is_head, rate in ((False, BACKBONE_LR), (True, HEAD_LR))
        for decays in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, fused=True)
    parameters = list(network.parameters())
    labels = torch.from_numpy(y)
    n_batches = math.ceil(len(X) / task.batch_size)
    n_steps = n_epochs * n_batches
    n_warmup = max(1, round(0.1 * n_steps))
    losses = []
    for epoch in range(n_epochs):
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(task.batch_size):
            step = len(losses)
            if step < n_warmup:
                factor = (step + 1) / n_warmup
            else:
                factor = 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            images = normalise_by_hand(X[batch.numpy()], task.backbone.input)
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
    network.eval()
    return losses


def normalise_by_hand(images, network_input):
    images = torch.from_numpy(images)
    if images.ndim == 3:
        return images[:, None]
    images = images.permute(0, 3, 1, 2).contiguous().float() / 255
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (network_input.mean, network_input.std))
    return (images - mean) / std


# 2. Last block


def compare_last_block(task, rounds):
    """2. Ten epochs of the last block (s), against the same with cache=False"""
    X, y = task.take(250)

    def fit(**parameters):
        ParameterTransferClassifier(task.backbone, device="cpu", random_state=0, **parameters).fit(
            X, y
        )

    ten_epochs = {"strategy": "fine_tune", "trainable": task.last_block, "max_epochs": 10}
    seconds = rounds.measure(
        3,
        cached=functools.partial(fit, **ten_epochs, cache=True),
        uncached=functools.partial(fit, **ten_epochs, cache=False),
        frozen=functools.partial(fit, strategy="frozen", cache=False),
    )
    cached, uncached, frozen = seconds.values()
    title = f"{task.title}, n = {len(X)}"
    print_line(title, cached, uncached, median_ratio(cached, uncached), 0.35, "whole fit")
    # What both begin with is the head of the frozen backbone.
    cached, uncached = (np.subtract(s, frozen) for s in (cached, uncached))
    note = "the pass of the prefix and the epochs alone"
    print_line("  less a frozen fit", cached, uncached, median_ratio(cached, uncached), 0.35, note)


# 3. Grid


def compare_grid(task, rounds):
    """3. A grid of 6 candidates in 5 folds (s), against skorch's Freezer and heads by hand"""
    X, y = task.take(250)
    seconds = rounds.measure(
        2,
        grid=functools.partial(search, task, X, y),
        by_hand=functools.partial(fit_heads_by_hand, task, X, y),
        skorch=functools.partial(fit_with_skorch, task, X, y),
    )
    grid, by_hand = seconds["grid"], seconds["by_hand"]
    skorch = [N_FITS * s for s in seconds["skorch"]]
    title = f"{task.title}, n = {len(X)}"
    note = f"times faster; skorch extrapolated from {len(skorch)} to {N_FITS} fits"
    print_line(
        f"{title}, skorch", grid, skorch, median_ratio(skorch, grid), 50, note, at_least=True
    )
    print_line(f"{title}, by hand", grid, by_hand, median_ratio(grid, by_hand), 1.25)


def search(task, X, y):
    classifier = ParameterTransferClassifier(task.backbone, strategy="frozen", device="cpu")
    GridSearchCV(classifier, GRID, cv=StratifiedKFold(N_FOLDS)).fit(X, y)


def fit_heads_by_hand(task, X, y):
    """Send all rows through the network once, then fit and score the head of each candidate."""
    (features,) = compute_activations(task.backbone, X, cache=False)
    targets = task.objective.encode(y)

    def fit_head(rows, class_weight, random_state):
        weight = np.ones(len(rows))
        if class_weight:
            weight = compute_sample_weight(class_weight, y[rows])
        seed = np.random.RandomState(random_state).randint(2**31 - 1)
        return fit_linear_probe(
            features[rows],
            targets[rows],
            task.objective,
            sample_weight=weight / weight.mean(),
            seed=seed,
        )

    folds = list(StratifiedKFold(N_FOLDS).split(X, y))
    scores = {}
    for class_weight in GRID["class_weight"]:
        for random_state in GRID["random_state"]:
            accuracies = []
            for train, test in folds:
                outputs = fit_head(train, class_weight, random_state).compute_outputs(
                    features[test]
                )
                accuracies.append((outputs.argmax(1) == y[test]).mean())
            scores[class_weight, random_state] = np.mean(accuracies)
    fit_head(np.arange(len(y)), *max(scores, key=scores.get))


def fit_with_skorch(task, X, y):
    """Fit and score one candidate on one fold: a random head by SGD on a frozen backbone."""
    train, test = next(StratifiedKFold(N_FOLDS).split(X, y))
    images = task.backbone.input.prepare(X)
    net = NeuralNetClassifier(
        HeadOnBackbone(task),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=1e-3,
        batch_size=task.peer_batch,
        max_epochs=task.peer_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[Freezer("backbone.*")],
        verbose=0,
    )
    net.fit(images[train], y[train]).score(images[test], y[test])


class HeadOnBackbone(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.backbone = task.backbone.copy_module()
        if task.head:
            setattr(self.backbone, task.head, nn.Identity())
        self.head = nn.Linear(task.backbone.n_features_out, task.n_classes)

    def forward(self, images):
        return self.head(self.backbone(images))


# 4. Guard


def compare_auto(task, rounds):
    """4. strategy="auto" (s), against strategy="fine_tune" """

    def fit(X, y, strategy):
        with warnings.catch_warnings():
            # Whether transfer loses is not the question here.
            warnings.simplefilter("ignore", NegativeTransferWarning)
            ParameterTransferClassifier(
                task.backbone, strategy=strategy, device="cpu", random_state=0
            ).fit(X, y)

    for n_rows in task.auto_sizes:
        X, y = task.take(n_rows)
        seconds = rounds.measure(
            1,
            auto=functools.partial(fit, X, y, "auto"),
            fine_tune=functools.partial(fit, X, y, "fine_tune"),
        )
        auto, fine_tune = seconds["auto"], seconds["fine_tune"]
        print_line(f"{task.title}, n = {n_rows}", auto, fine_tune, median_ratio(auto, fine_tune), 4)


if __name__ == "__main__":
    main()
