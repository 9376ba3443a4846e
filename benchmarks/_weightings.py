"""Weightings of this library, of skada and of ADAPT under one signature, for the benchmarks.

Each is a function of ``X_source``, ``y_source`` and ``X_target`` that returns weights of the source
rows. skada and ADAPT are optional: ``pip install skada adapt tensorflow``.
"""

import contextlib
import importlib.util
import io
import warnings

import numpy as np
import sklearn
from scipy.spatial.distance import pdist

from sktransfer import instance

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the median gamma, for what chooses among several
LAMBDAS = (0.001, 0.01, 0.1, 1.0, 10.0)


def median_gamma(X_source, X_target):
    """Return one over the squared median distance among (at most 1,000) rows of both domains."""
    X = np.concatenate([X_source, X_target])
    some = np.random.default_rng(0).permutation(len(X))[:1000]
    return 1 / np.median(pdist(X[some])) ** 2


# Ours


def _ours(name, **parameters):
    def weigh(X_source, y_source, X_target):
        weighting = getattr(instance, name)(**parameters)
        return weighting.compute_weights(X_source, X_target, y_source=y_source)

    return weigh


OURS = {
    "DomainClassifierWeighting": _ours("DomainClassifierWeighting", random_state=0),
    "KernelMeanMatching": _ours("KernelMeanMatching", random_state=0),
    "KLIEP": _ours("KLIEP", random_state=0),
    "ULSIF": _ours("ULSIF", random_state=0),
    "ULSIF, alpha=0.1": _ours("ULSIF", alpha=0.1, random_state=0),
    "NearestNeighborWeighting": _ours("NearestNeighborWeighting", random_state=0),
    "KernelDensityWeighting": _ours("KernelDensityWeighting", random_state=0),
    "BalancedWeighting": _ours("BalancedWeighting"),
    "LabelShiftWeighting": _ours("LabelShiftWeighting", random_state=0),
}


# skada: adapters, which take both domains in one array


def _skada(name, make_parameters=None):
    def weigh(X_source, y_source, X_target):
        reweight = import_skada()
        parameters = make_parameters(median_gamma(X_source, X_target)) if make_parameters else {}
        adapter = getattr(reweight, name)(**parameters)
        X = np.concatenate([X_source, X_target])
        y = np.concatenate([y_source, np.full(len(X_target), -1)])
        domain = np.concatenate([np.ones(len(X_source)), np.full(len(X_target), -2)]).astype(int)
        adapter.fit(X, y, sample_domain=domain)
        fitted = adapter.compute_weights(X, y, sample_domain=domain)
        return np.asarray(fitted, dtype=float)[: len(X_source)]

    return weigh


def import_skada():
    """Import skada, which turns on metadata routing in all of scikit-learn, and turn that off."""
    routing = sklearn.get_config()["enable_metadata_routing"]
    from skada import _reweight

    sklearn.set_config(enable_metadata_routing=routing)
    return _reweight


SKADA = {
    "DomainClassifierWeighting": {"": _skada("DiscriminatorReweightAdapter")},
    "KernelMeanMatching": {
        "": _skada("KMMReweightAdapter"),
        "median gamma": _skada("KMMReweightAdapter", lambda gamma: {"gamma": gamma}),
    },
    "KLIEP": {
        "5 gammas": _skada("KLIEPReweightAdapter", lambda g: {"gamma": [f * g for f in FACTORS]})
    },
    "NearestNeighborWeighting": {
        "": _skada("NearestNeighborReweightAdapter"),
        "smoothed": _skada(
            "NearestNeighborReweightAdapter", lambda gamma: {"laplace_smoothing": True}
        ),
    },
    "KernelDensityWeighting": {
        "": _skada("DensityReweightAdapter"),
        "scott": _skada("DensityReweightAdapter", lambda gamma: {"weight_estimator": _scott()}),
    },
    "LabelShiftWeighting": {
        "MMDTarS": _skada("MMDTarSReweightAdapter", lambda gamma: {"gamma": gamma})
    },
}


def _scott():
    from sklearn.neighbors import KernelDensity

    return KernelDensity(bandwidth="scott")


# ADAPT


def _adapt(name, make_parameters=None):
    def weigh(X_source, y_source, X_target):
        methods = import_adapt()
        parameters = make_parameters(median_gamma(X_source, X_target)) if make_parameters else {}
        method = getattr(methods, name)(verbose=0, random_state=0, **parameters)
        # Its solvers print whatever verbose says.
        with contextlib.redirect_stdout(io.StringIO()):
            weights = method.fit_weights(X_source, X_target)
        return np.asarray(weights, dtype=float).ravel()

    return weigh


def import_adapt():
    """Import ADAPT and, with it, TensorFlow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from adapt import instance_based
    return instance_based


def _gammas(gamma):
    return {"kernel": "rbf", "gamma": [factor * gamma for factor in FACTORS]}


def _gammas_and_lambdas(gamma):
    return {**_gammas(gamma), "lambdas": list(LAMBDAS)}


ADAPT = {
    "DomainClassifierWeighting": {"IWC": _adapt("IWC")},
    "KernelMeanMatching": {
        "": _adapt("KMM"),
        "median gamma": _adapt("KMM", lambda gamma: {"kernel": "rbf", "gamma": gamma}),
        "median gamma, B=10": _adapt(
            "KMM", lambda gamma: {"kernel": "rbf", "gamma": gamma, "B": 10}
        ),
    },
    "KLIEP": {"5 gammas": _adapt("KLIEP", _gammas)},
    "ULSIF": {"": _adapt("ULSIF"), "5 gammas, 5 lambdas": _adapt("ULSIF", _gammas_and_lambdas)},
    "ULSIF, alpha=0.1": {
        "": _adapt("RULSIF"),
        "5 gammas, 5 lambdas": _adapt("RULSIF", _gammas_and_lambdas),
    },
    "NearestNeighborWeighting": {"": _adapt("NearestNeighborsWeighting")},
    "BalancedWeighting": {"": _adapt("BalancedWeighting")},
}


def list_weightings(names=None, only=None):
    """Return ``(our name, library, setting, function)`` of all weightings that are installed.

    ``names`` are ours; ``only`` names libraries.
    """
    found = []
    libraries = {"skada": SKADA, "adapt": ADAPT}
    for name, weigh in OURS.items():
        if names and name not in names:
            continue
        if not only or "sktransfer" in only:
            found.append((name, "sktransfer", "", weigh))
        for library, methods in libraries.items():
            if (not only or library in only) and importlib.util.find_spec(library):
                found += [(name, library, *peer) for peer in methods.get(name, {}).items()]
    return found
