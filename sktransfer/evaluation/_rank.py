"""rank_backbones and rank_layers: scores of many features of the same rows."""

import warnings
from collections.abc import Mapping

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length

from sktransfer.evaluation._leave_one_out_probe import LeaveOneOutProbe
from sktransfer.evaluation._methods import name_method, resolve_method
from sktransfer.evaluation._targets import read_targets
from sktransfer.evaluation._transferability_ranking import Candidate, TransferabilityRanking
from sktransfer.feature import FeatureTransferTransformer
from sktransfer.feature._chunks import count_rows

_HEAD = "logits"
# Stands for the layer of what has none.
_NO_LAYER = "–"


def rank_backbones(
    backbones,
    X,
    y,
    *,
    method="knn",
    layers="penultimate",
    task="auto",
    pooling="auto",
    image_shape=None,
    batch_size=64,
    device="auto",
    precision="float32",
    cache="auto",
    cache_dir=None,
    n_jobs=None,
    verbose=0,
):
    """Rank pretrained networks, and layers of them, by how well their features suit a target.

    Each row goes through each network once, whatever the number of layers and methods, and
    through the row cache, so that what is chosen has its features at hand.

    Parameters
    ----------
    backbones : dict of str to backbone, or list of backbones
        Whatever `load_backbone` takes; names of a list are those of the backbones. None stands
        for the input itself, which has no layers.
    X : array-like
        Rows of the target: of a table, or images, see `FeatureTransferTransformer`.
    y : array-like of shape (n,), or (n, n_outputs) for numbers
    method : str, TransferabilityMethod or list of these, default="knn"
        See `transferability_score`. Of several the first decides on the order. "leep" and "nce"
        are about the head of a network, and the same for all its layers.
    layers : str or sequence of str, default="penultimate"
        Which layers of each network: "penultimate", "all", names or patterns of names.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto": y holds numbers if some are not whole, else classes.
    pooling, image_shape, batch_size, device, precision, cache, cache_dir, n_jobs, verbose
        How rows go through a network, see `FeatureTransferTransformer`.

    Returns
    -------
    ranking : TransferabilityRanking
        ``ranking.table`` is a frame, ``ranking.plot()`` draws it.

    Warns
    -----
    UserWarning
        For a backbone that cannot be used, or a method that does not go with it: their scores are
        NaN, and ``ranking.failures`` says why.

    Notes
    -----
    No score knows which network is best after fine-tuning; in large comparisons none is right on
    all targets, and the accuracy of nearest neighbours is right most often [1]_. Train the first
    two or three.

    References
    ----------
    .. [1] M. Sorkhei et al., "k-NN as a simple and effective estimator of transferability",
       arXiv:2503.18528, 2025.

    Examples
    --------
    >>> from sktransfer import load_backbone, rank_backbones
    >>> from sktransfer.datasets import load_digit_images
    >>> X, y = load_digit_images()
    >>> backbones = {
    ...     "pixels": None,
    ...     "letters": "glyphs",
    ...     "random": load_backbone("glyphs", pretrained=False),
    ... }
    >>> ranking = rank_backbones(backbones, X[:150], y[:150])
    >>> ranking.best_backbone
    'letters'
    >>> ranking.table.columns.tolist()
    ['backbone', 'layer', 'n_features', 'knn', 'standard_error', 'near_best']
    """
    named = _name_backbones(backbones)
    given = method if isinstance(method, list | tuple) else [method]
    methods = {name_method(one): resolve_method(one) for one in given}
    if not methods:
        raise ValueError(f"Got method={method!r}, but expected at least one.")
    targets = read_targets(y, task)
    check_consistent_length(np.empty(count_rows(X)), y)
    transformer = FeatureTransferTransformer(
        pooling=pooling,
        image_shape=image_shape,
        batch_size=batch_size,
        device=device,
        precision=precision,
        cache=cache,
        cache_dir=cache_dir,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    candidates, failures, error = _score_all(named, transformer, layers, X, y, methods, task)
    decisive = next(iter(methods))
    if all(np.isnan(candidate.scores[decisive]) for candidate in candidates):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise ValueError(
            f"Got backbones={list(named)} and method={decisive!r}, of which nothing could be "
            f"scored. {reasons}"
        ) from error
    for name, reason in failures.items():
        warnings.warn(f"{name} is not scored. {reason}", UserWarning, stacklevel=2)
    is_probe = isinstance(methods[decisive], LeaveOneOutProbe)
    chance = targets.measure_chance() if is_probe else None
    return TransferabilityRanking(
        candidates, methods=methods, n_rows=count_rows(X), chance=chance, failures=failures
    )


def rank_layers(
    backbone,
    X,
    y,
    *,
    method="knn",
    layers="all",
    task="auto",
    pooling="auto",
    image_shape=None,
    batch_size=64,
    device="auto",
    precision="float32",
    cache="auto",
    cache_dir=None,
    n_jobs=None,
    verbose=0,
):
    """Rank the layers of a pretrained network by how well their features suit a target.

    Each row goes through the network once.

    Parameters
    ----------
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator
        See `load_backbone`.
    X : array-like
        Rows of the target: of a table, or images, see `FeatureTransferTransformer`.
    y : array-like of shape (n,), or (n, n_outputs) for numbers
    method : str, TransferabilityMethod or list of these, default="knn"
        See `transferability_score`. "leep" and "nce" say nothing about layers.
    layers : str or sequence of str, default="all"
        Names, patterns of names, or "all": the output of each block, and "penultimate".
    task : {"auto", "classification", "regression"}, default="auto"
    pooling, image_shape, batch_size, device, precision, cache, cache_dir, n_jobs, verbose
        How rows go through the network, see `FeatureTransferTransformer`.

    Returns
    -------
    ranking : TransferabilityRanking

    Examples
    --------
    >>> from sktransfer import rank_layers
    >>> from sktransfer.datasets import load_digit_images
    >>> X, y = load_digit_images()
    >>> ranking = rank_layers("glyphs", X[:150], y[:150])
    >>> ranking.best_layer
    'penultimate'
    """
    named = backbone if isinstance(backbone, Mapping) else None
    if named is not None or isinstance(backbone, list | tuple):
        raise TypeError(f"Got backbone={backbone!r}, but expected one; use rank_backbones.")
    return rank_backbones(
        [backbone],
        X,
        y,
        method=method,
        layers=layers,
        task=task,
        pooling=pooling,
        image_shape=image_shape,
        batch_size=batch_size,
        device=device,
        precision=precision,
        cache=cache,
        cache_dir=cache_dir,
        n_jobs=n_jobs,
        verbose=verbose,
    )


def _name_backbones(backbones):
    """Return a dictionary of backbones, each with a name of its own."""
    if isinstance(backbones, Mapping):
        named = {str(name): backbone for name, backbone in backbones.items()}
    elif isinstance(backbones, list | tuple):
        named = {}
        for backbone in backbones:
            name = base = _name(backbone)
            for number in range(2, len(backbones) + 1):
                if name in named:
                    name = f"{base} ({number})"
            named[name] = backbone
    else:
        raise TypeError(
            f"Got backbones={backbones!r}, but expected a dict from names to backbones, or a list."
        )
    if not named:
        raise ValueError(f"Got backbones={backbones!r}, but expected at least one.")
    return named


def _name(backbone):
    if backbone is None:
        return "input"
    name = backbone if isinstance(backbone, str) else getattr(backbone, "name", None)
    return str(name or type(backbone).__name__)


def _score_all(named, transformer, layers, X, y, methods, task):
    """Return the candidates of all backbones, what failed, and the first error of a backbone."""
    candidates, failures, error = [], {}, None
    wants_head = any(method.takes == "proba" for method in methods.values())
    for name, backbone in named.items():
        try:
            blocks, why = _compute_blocks(transformer, backbone, layers, X, wants_head)
        # Whatever it is, it is said, and the others are not lost.
        except Exception as raised:
            error = error or raised
            failures[name] = f"{type(raised).__name__}: {raised}"
            nothing = dict.fromkeys(methods, np.nan)
            candidates.append(Candidate(name, _NO_LAYER, 0, nothing))
            continue
        scored, failed = _score_blocks(name, blocks, why, methods, y, task)
        candidates += scored
        failures.update(failed)
    return candidates, failures, error


def _compute_blocks(transformer, backbone, layers, X, wants_head):
    """Return the features of each layer, what the head says under its own name, and why not.

    In one pass. What a network ends in is only asked for where a method needs it, since not all
    end in a head.
    """
    why = None
    if backbone is None:
        (features,) = _transform(transformer, None, "penultimate", X).values()
        return {_NO_LAYER: features}, "The input has no head."
    if wants_head:
        names = [layers] if isinstance(layers, str) else list(layers)
        try:
            return _transform(transformer, backbone, [*names, _HEAD], X), None
        except ValueError as error:
            why = str(error)
    return _transform(transformer, backbone, layers, X), why


def _transform(transformer, backbone, layers, X):
    transformer = clone(transformer).set_params(backbone=backbone, layers=layers)
    features = np.asarray(transformer.fit(X).transform(X))
    columns = [name.rpartition("_")[0] for name in transformer.get_feature_names_out()]
    if len(transformer.layers_) == 1:
        return {transformer.layers_[0]: features}
    columns = np.array(columns)
    return {layer: features[:, columns == layer] for layer in transformer.layers_}


def _score_blocks(name, blocks, why, methods, y, task):
    """Return the candidates of one backbone, and what failed."""
    blocks = dict(blocks)
    logits = blocks.pop(_HEAD, None)
    proba = None if logits is None else _to_probabilities(logits)
    first = next(iter(methods.values()))
    candidates, failures = [], {}
    for layer, features in blocks.items():
        scores, rows = dict.fromkeys(methods, np.nan), None
        for key, method in methods.items():
            is_of_head = method.takes == "proba"
            if is_of_head and proba is None:
                failures[f"{name} by {key}"] = why
                continue
            try:
                scores[key] = method.score(proba if is_of_head else features, y, task=task)
                if method is first and isinstance(method, LeaveOneOutProbe):
                    rows = method.score_rows(features, y, task=task)
            except ValueError as error:
                failures[f"{name}, {layer}, by {key}"] = str(error)
        candidates.append(Candidate(name, layer, features.shape[1], scores, rows))
    return candidates, failures


def _to_probabilities(logits):
    if logits.shape[1] == 1:
        second = expit(logits)
        return np.hstack([1 - second, second])
    return softmax(logits, axis=1)
