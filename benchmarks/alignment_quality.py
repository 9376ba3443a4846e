"""How much alignments help on Office-Caltech, ten objects in pictures of four origins.

For each of the twelve pairs of origins, a classifier is fitted to all labelled rows of the source
and predicts all rows of the target, whose labels are not used: accuracy in percent. Features are
800 visual words (SURF) a picture, of which each row is divided by its sum. With
``--protocol domain``, which most papers follow, columns are then standardised in each domain by
its own mean and scale, before any method, "none" included, gets them. With ``--protocol pooled``
they are standardised over both domains together, which leaves the difference of the domains to
the methods. The parameters are the defaults of the library, one set for all pairs. Takes half a
minute on one core with nearest neighbours, the default, and one with ``--learner ridge``, a linear
classifier whose penalty is chosen on the source.

    OMP_NUM_THREADS=1 python benchmarks/alignment_quality.py --data ../shared/data
"""

import argparse
import importlib.util
import itertools
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier

from sktransfer import (
    CorrelationAlignment,
    OptimalTransportAlignment,
    SourceDomain,
    SubspaceAlignment,
    TransferComponentAnalysis,
)

PROJECT = Path(__file__).resolve().parents[1]
DOMAINS = ("caltech", "amazon", "webcam", "dslr")
METHODS = {
    "none": None,
    "CorrelationAlignment": CorrelationAlignment(),
    "SubspaceAlignment": SubspaceAlignment(),
    "TransferComponentAnalysis": TransferComponentAnalysis(),
    "... kernel='rbf'": TransferComponentAnalysis(kernel="rbf", random_state=0),
    "OptimalTransportAlignment": OptimalTransportAlignment(),
    "... without classes": OptimalTransportAlignment(class_regularization=0),
}
LEARNERS = {
    "1-NN": KNeighborsClassifier(1),
    "ridge": RidgeClassifierCV(np.logspace(-4, 6, 11)),
}


def main():
    options = parse_options()
    domains = load_domains(options.data)
    pairs = list(itertools.permutations(DOMAINS, 2))
    for protocol in options.protocol:
        for learner in options.learner:
            print(f"\n{learner}, columns standardised by protocol {protocol!r}")
            header = "".join(f"{s[0]}>{t[0]}".upper().rjust(6) for s, t in pairs)
            print(f"{'':27}{header}  mean  seconds")
            for name, alignment in METHODS.items():
                started = time.process_time()
                scores = [
                    measure(alignment, LEARNERS[learner], *prepare(domains, s, t, protocol))
                    for s, t in pairs
                ]
                cells = "".join(f"{score:6.1f}" for score in scores)
                seconds = time.process_time() - started
                print(f"{name:27}{cells}{np.mean(scores):6.1f}{seconds:9.0f}", flush=True)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=PROJECT.parent / "shared/data", help="folder of load.py"
    )
    parser.add_argument("--protocol", nargs="+", default=["domain"], choices=["domain", "pooled"])
    parser.add_argument("--learner", nargs="+", default=["1-NN"], choices=list(LEARNERS))
    return parser.parse_args()


def load_domains(data):
    if not (data / "load.py").exists():
        raise SystemExit(f"no Office-Caltech in {data}")
    spec = importlib.util.spec_from_file_location("load", data / "load.py")
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    domains = {}
    for name in DOMAINS:
        X, y = load.office_caltech_surf(name, zscore=False)
        domains[name] = X / X.sum(axis=1, keepdims=True), y
    return domains


def prepare(domains, source, target, protocol):
    (X_source, y_source), (X_target, y_target) = domains[source], domains[target]
    if protocol == "domain":
        X_source, X_target = (standardize(X, X) for X in (X_source, X_target))
    else:
        both = np.concatenate([X_source, X_target])
        X_source, X_target = (standardize(X, both) for X in (X_source, X_target))
    return X_source, y_source, X_target, y_target


def standardize(X, like):
    scale = like.std(axis=0)
    return (X - like.mean(axis=0)) / np.where(scale == 0, 1, scale)


def measure(alignment, learner, X_source, y_source, X_target, y_target):
    if alignment is not None:
        alignment.set_params(source=SourceDomain(X_source, y_source)).fit(X_target)
        X_source, X_target = alignment.transform_source(), alignment.transform(X_target)
    return 100 * learner.fit(X_source, y_source).score(X_target, y_target)


if __name__ == "__main__":
    main()
