"""Do scores of transferability say which network, and which layer, is best after fine-tuning?

    OMP_NUM_THREADS=1 python benchmarks/transferability.py --data ../shared/data
    OMP_NUM_THREADS=1 python benchmarks/transferability.py --only speed

First the seconds that each score takes at 10,000 rows and 2,048 features.

Then four targets with ten labels per class, and for each several candidates: a network up to one of
its layers, pretrained, partially trained or random. Each score sees the features of the labelled
rows alone. The outcome is the accuracy on other rows of the candidate fine-tuned on the labelled
ones, about fifty steps from the linear probe, in the mean over the draws. What counts is the
rank correlation (Spearman) of scores and outcomes, within each target, since most scores cannot be
compared between targets.

- knn, ridge, logme, hscore, leep, nce: as `transferability_score` has them by default;
- knn0: cosines without centring the features first;
- logme0: the model of the paper, without an intercept;
- authors: the computation that the authors of LogME publish, written anew: no intercept, eleven
  iterations from one with 1e-5 added, and, where rows are fewer than columns, without the singular
  values that are zero; "a. x 100" is the same with features a hundred times as large;
- hscore0: not shrunken; leep1, nce1: with each row left out of its own counts;
- size: the number of parameters, which has no look at the data.

A target whose data is absent is left out. Takes about ten minutes on one core.
"""

import argparse
import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
    load_backbone,
    transferability_score,
)
from sktransfer.backbones import NetworkInput
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.evaluation import LEEP, NCE, HScore, KNNProbe, LogME
from sktransfer.exceptions import ChannelConversionWarning, RowCacheWarning

PROJECT = Path(__file__).resolve().parents[1]
N_LABELS, N_STEPS, N_TEST = 10, 50, 400
IMAGENET_TF = NetworkInput(channels=3, mean=(0.5,), std=(0.5,))
CIFAR = NetworkInput(
    channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=32, crop=32
)


def main():
    options = parse_options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ChannelConversionWarning)
    # Truncated networks end in an exception, which some trials of the cache do not like.
    warnings.simplefilter("ignore", RowCacheWarning)
    with threadpool_limits(1):
        if options.only in (None, "speed"):
            print_speed()
        if options.only in (None, "ranks"):
            print_ranks(options)


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=PROJECT.parent / "shared/data", help="folder with the data")
    add("--only", choices=["speed", "ranks"], help="default: both")
    add("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    add("--draws", type=int, default=2)
    return parser.parse_args()


# Speed


def print_speed(n=10_000, d=2048, n_classes=10):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n)
    # As the features of networks do, the columns differ in scale and are correlated.
    mixing = rng.normal(size=(d, d)) * np.geomspace(1, 1e-3, d)[:, None]
    F = rng.normal(size=(n, d)) @ mixing + rng.normal(size=(n_classes, d))[y]
    print(f"Seconds at {n:,} rows, {d:,} features, {n_classes} classes; best of two, one thread")
    print(f"{'':24}{'wall':>8}{'CPU':>8}")
    for name, score in {
        **{m: lambda F, y, m=m: transferability_score(F, y, method=m) for m in OF_FEATURES},
        "logme, authors' code": lambda F, y: score_like_the_authors(F, y),
    }.items():
        runs = []
        for _ in range(2):
            wall, cpu = time.perf_counter(), time.process_time()
            score(F, y)
            runs.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = np.min(runs, axis=0)
        print(f"{name:24}{wall:8.2f}{cpu:8.2f}", flush=True)


OF_FEATURES = ("hscore", "logme", "ridge", "knn")


# The authors' LogME


def score_like_the_authors(F, y):
    """Return LogME as the published code computes it, for classes."""
    F = np.asarray(F, dtype=np.float64)
    n, d = F.shape
    if n > d:
        _, squares, right = np.linalg.svd(F.T @ F)
        singular = np.sqrt(squares)
        kept = singular > 1e-10 * singular[0]
        singular, left = singular[kept], F @ right[kept].T / singular[kept]
    else:
        left, singular, _ = np.linalg.svd(F, full_matrices=False)
    squares = singular**2
    evidences = []
    for label in np.unique(y):
        column = (y == label).astype(np.float64)
        explained = (left.T @ column) ** 2
        rest = (column**2).sum() - explained.sum()
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (squares / (squares + t)).sum()
            length = (squares * explained / (t + squares) ** 2).sum()
            error = (explained / (1 + squares / t) ** 2).sum() + rest
            alpha, beta = gamma / (length + 1e-5), (n - gamma) / (error + 1e-5)
            # d log(alpha), but only as many singular values as are not zero.
            evidence = (
                d / 2 * np.log(alpha)
                + n / 2 * np.log(beta)
                - 0.5 * np.log(alpha + beta * squares).sum()
                - beta / 2 * error
                - alpha / 2 * length
                - n / 2 * np.log(2 * np.pi)
            )
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        evidences.append(evidence / n)
    return float(np.mean(evidences))


# Scores that are compared: of features, or of the probabilities of a head


SCORES = {
    "knn": lambda F, y: transferability_score(F, y, method="knn"),
    "knn0": lambda F, y: KNNProbe(center=False).score(F, y),
    "ridge": lambda F, y: transferability_score(F, y, method="ridge"),
    "logme": lambda F, y: transferability_score(F, y, method="logme"),
    "logme0": lambda F, y: transferability_score(F, y, method=LogME(center=False)),
    "authors": score_like_the_authors,
    "a. x 100": lambda F, y: score_like_the_authors(100 * F, y),
    "hscore": lambda F, y: transferability_score(F, y, method="hscore"),
    "hscore0": lambda F, y: transferability_score(F, y, method=HScore(shrinkage=0)),
}
SCORES_OF_HEADS = {
    "leep": lambda P, y: transferability_score(P, y, method="leep"),
    "leep1": lambda P, y: LEEP(leave_one_out=True).score(P, y),
    "nce": lambda P, y: transferability_score(P, y, method="nce"),
    "nce1": lambda P, y: NCE(leave_one_out=True).score(P, y),
}


# Targets and their candidates


def make_hymenoptera(load):
    parts = [load.hymenoptera(split, 96)[:2] for split in ("train", "val")]
    X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    v1, v2 = load.network("mobilenetv1_050_160"), load.network("mobilenetv2_100_ptq")
    resnet = load.network("resnet20_cifar10")
    candidates = {
        "MobileNetV2": Backbone(v2, input=IMAGENET_TF),
        "MobileNetV2 to block 10": truncate(v2, "blocks.10", IMAGENET_TF),
        "MobileNetV1": Backbone(v1, input=IMAGENET_TF),
        "MobileNetV1 to its middle": truncate(v1, "features.25", IMAGENET_TF),
        "MobileNetV1, random": Backbone(randomize(v1), input=IMAGENET_TF),
        "ResNet-20": Backbone(resnet, input=CIFAR),
        "ResNet-20, random": Backbone(randomize(resnet), input=CIFAR),
    }
    return X, y, candidates


def make_cifar(load):
    # Drawn, since the rows lie there by class.
    X, y = load.cifar10("train", 7000)
    X, y, X_source, y_source = X[:5000], y[:5000], X[5000:7000], y[5000:7000]
    resnet, v1 = load.network("resnet20_cifar10"), load.network("mobilenetv1_050_160")
    large = NetworkInput(channels=3, mean=(0.5,), std=(0.5,), resize=64, crop=64)
    random = Backbone(randomize(resnet), input=CIFAR)
    # Animals or vehicles: what a network learns that was trained for a little and for less.
    is_animal = np.isin(y_source, (2, 3, 4, 5, 6, 7)).astype(int)
    return (
        X,
        y,
        {
            "ResNet-20": Backbone(resnet, input=CIFAR),
            "ResNet-20 to layer2": truncate(resnet, "layer2", CIFAR),
            "ResNet-20 to layer1": truncate(resnet, "layer1", CIFAR),
            "ResNet-20, random": random,
            "ResNet-20, 60 steps": pretrain_a_little(random, X_source, is_animal),
            "MobileNetV1 at 64": Backbone(v1, input=large),
        },
    )


def make_usps(load):
    (X, y), digits = load.usps("train"), load_digits()
    candidates = make_for_characters(load, digits.images / 16, digits.target)
    return X.astype(np.float32) / 255, y, candidates


def make_digits(load):
    (X_source, y_source), digits = load.usps("train"), load_digits()
    candidates = make_for_characters(load, X_source[:2000] / 255, y_source[:2000])
    return digits.images.astype(np.float32) / 16, digits.target, candidates


def make_for_characters(load, X_source, y_source):
    glyphs, random = load_backbone("glyphs"), load_backbone("glyphs", pretrained=False)
    network = glyphs.copy_module()
    resnet = load.network("resnet20_cifar10")
    return {
        "glyphs": glyphs,
        "glyphs to stage2": truncate(network, "stage2", glyphs.input),
        "glyphs to stage1": truncate(network, "stage1", glyphs.input),
        "glyphs, random": random,
        "glyphs, 60 steps": pretrain_a_little(random, X_source.astype(np.float32), y_source),
        "ResNet-20": Backbone(resnet, input=CIFAR),
    }


TARGETS = {
    "digits": make_digits,
    "usps": make_usps,
    "cifar": make_cifar,
    "hymenoptera": make_hymenoptera,
}


def truncate(network, layer, network_input):
    """Return a network up to one of its layers, whose maps are averaged."""
    return Backbone(FeatureExtractor(network, layer), input=network_input)


def randomize(network):
    """Return a copy whose layers are as they are when they are made."""
    copy = Backbone(network).copy_module()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in copy.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return copy


def pretrain_a_little(backbone, X, y):
    """Return a random network after 60 steps on a source."""
    classifier = ParameterTransferClassifier(
        backbone,
        strategy="fine_tune",
        head_init="random",
        head_lr=1e-2,
        backbone_lr=1e-2,
        freeze_norm=False,
        batch_size=32,
        max_epochs=1,
        device="cpu",
        random_state=0,
    )
    return classifier.fit(X[:1920], y[:1920]).backbone_


# Running


def print_ranks(options):
    path = options.data / "load.py"
    if not path.exists():
        print(f"\nwithout real data: there is no {path}")
        return
    spec = importlib.util.spec_from_file_location("load", path)
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    names = [*SCORES, *SCORES_OF_HEADS, "size"]
    correlations = {name: [] for name in names}
    for target in options.targets:
        started = time.perf_counter()
        X, y, candidates = TARGETS[target](load)
        found = {
            name: np.mean([measure(b, X, y, draw) for draw in range(options.draws)], axis=0)
            for name, b in candidates.items()
        }
        print_target(target, found, names, time.perf_counter() - started)
        table = np.array(list(found.values()))
        for column, name in enumerate(names, start=1):
            correlations[name].append(correlate(table[:, 0], table[:, column]))
    print("\nSpearman's rank correlation with the outcome, within each target\n")
    print(f"{'':10}" + "".join(f"{t:>14}" for t in options.targets) + f"{'mean':>8}")
    for name, values in correlations.items():
        known = [value for value, _ in values if not np.isnan(value)]
        cells = "".join(f"{v:+.2f} ({n:2})".rjust(14) for v, n in values)
        print(f"{name:10}{cells}{np.mean(known) if known else np.nan:+8.2f}")
    print("in brackets: candidates that have the score")


def measure(backbone, X, y, draw):
    """Return the accuracy after fine-tuning, and the scores before it; NaN without a head."""
    rng = np.random.default_rng(draw)
    classes = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    train = np.concatenate([rows[:N_LABELS] for rows in classes])
    test = rng.permutation(np.setdiff1d(np.arange(len(y)), train))[:N_TEST]
    F = FeatureTransferTransformer(backbone, device="cpu").fit_transform(X[train])
    scores = [score(F, y[train]) for score in SCORES.values()]
    try:
        head = FeatureTransferTransformer(backbone, output="proba", device="cpu")
        proba = head.fit_transform(X[train])
        scores += [score(proba, y[train]) for score in SCORES_OF_HEADS.values()]
    except ValueError:
        scores += [np.nan] * len(SCORES_OF_HEADS)
    return [fine_tune(backbone, X, y, train, test, draw), *scores, count_parameters(backbone)]


def count_parameters(backbone):
    """Return how many parameters there are up to where the features come from."""
    network = backbone.copy_module()
    if not isinstance(network, FeatureExtractor):
        return backbone.n_parameters
    parameters = list(network.network.named_parameters())
    within = [i for i, (name, _) in enumerate(parameters) if name.startswith(f"{network.layer}.")]
    # Activation functions have none, and come behind what does.
    last = within[-1] if within else find_last_before(network.network, network.layer)
    return sum(parameter.numel() for _, parameter in parameters[: last + 1])


def find_last_before(network, layer):
    names = [name for name, _ in network.named_modules()]
    before = set(names[: names.index(layer)])
    parameters = [name.rpartition(".")[0] for name, _ in network.named_parameters()]
    return max(i for i, name in enumerate(parameters) if name in before)


def fine_tune(backbone, X, y, train, test, seed):
    steps_per_epoch = max(1, len(train) // min(max(len(train) // 8, 8), 32))
    classifier = ParameterTransferClassifier(
        backbone,
        strategy="fine_tune",
        max_epochs=-(-N_STEPS // steps_per_epoch),
        device="cpu",
        random_state=seed,
    )
    return classifier.fit(X[train], y[train]).score(X[test], y[test])


def correlate(outcomes, scores):
    """Return the rank correlation over the candidates that have a score, and their number."""
    known = ~np.isnan(scores)
    if known.sum() < 3:
        return np.nan, int(known.sum())
    return spearmanr(outcomes[known], scores[known]).statistic, int(known.sum())


def print_target(target, found, names, seconds):
    print(f"\n{target}, {seconds:.0f} s\n")
    print(f"{'':26}{'outcome':>9}" + "".join(f"{name:>9}" for name in names))
    for candidate, (*values, size) in found.items():
        cells = "".join(f"{value:9.3f}" for value in values)
        print(f"{candidate:26}{cells}{size / 1e6:8.2f}M", flush=True)


if __name__ == "__main__":
    main()
