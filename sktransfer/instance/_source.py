"""What every estimator of the family does with its target rows and its source."""

import math
import numbers
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sktransfer.domain import SourceDomain, as_rows, check_domains, stack_labels, stack_rows
from sktransfer.instance._base import BaseWeighting, effective_sample_size
from sktransfer.instance._domain_classifier import DomainClassifierWeighting
from sktransfer.instance._dropped_source import DroppedSource
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_labels, check_number

__all__ = [
    "WeightedSource",
    "check_numbers",
    "check_rows",
    "check_share",
    "check_source",
    "check_target",
    "describe_sources",
    "find_classes",
    "share_mass",
    "stack_source_labels",
    "stack_sources",
    "threads_for",
    "weigh_source",
    "weigh_sources",
]


def check_rows(estimator, X, *, reset):
    """Check target rows without converting them; with ``reset``, remember their columns."""
    X = as_rows(X)
    if len(X.shape) not in (2, 3, 4):
        raise ValueError(
            f"Got X of shape {X.shape}, but expected rows and columns (2-D), or images. Reshape "
            "your data: X.reshape(-1, 1) for one column, X.reshape(1, -1) for one row."
        )
    if X.shape[0] == 0:
        raise ValueError(f"Got X with 0 rows (shape={X.shape}), but expected at least one.")
    if 0 in X.shape:
        raise ValueError(
            f"Got X with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if reset:
        estimator.input_shape_ = X.shape[1:]
    elif X.shape[1:] != estimator.input_shape_:
        raise ValueError(
            f"Got X with rows of shape {X.shape[1:]}, but expected {estimator.input_shape_} as in "
            "fit."
        )
    return X


def check_target(estimator, X, y):
    """Check target rows and labels in ``fit``."""
    X = check_rows(estimator, X, reset=True)
    validate_data(estimator, X, y, skip_check_array=True)
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y)
    assert_all_finite(y, input_name="y") if y.dtype.kind == "c" else check_labels(y)
    return X, y


def check_numbers(y, classifier, name="y"):
    """Raise unless labels are numbers; ``classifier`` is what the error offers for others."""
    if y.dtype.kind in "fiub":
        return
    others = [label for label in y.tolist() if not isinstance(label, numbers.Real)]
    label = others[0] if others else y[0]
    what = "text" if isinstance(label, str | bytes) else f"of dtype={y.dtype}"
    raise ValueError(
        f"Got {name} with labels that are {what}, such as {label!r}, but expected numbers; "
        f"{classifier} predicts classes, and y.astype(float) reads numbers that are text. "
        "(Unknown label type.)"
    )


def find_classes(y):
    """Return the classes of the labels of both domains, at least two."""
    check_classification_targets(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"Got one class, {classes[0]!r}, but expected at least two classes in the target and "
            "the source together."
        )
    return classes


def check_source(source, *, stacklevel):
    """Check the parameter ``source`` and return its sources; warn where it is None.

    Returns
    -------
    sources : tuple of SourceDomain
        Empty without a source.
    """
    if source is None:
        warnings.warn(
            "Got source=None, so there is nothing to transfer, and only the target is used; pass "
            "source=SourceDomain(X_source, y_source).",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
        return ()
    sources = tuple(source) if isinstance(source, list | tuple) else (source,)
    if not sources:
        raise ValueError(
            "Got source=[], but expected at least one SourceDomain; pass source=None to use the "
            "target alone."
        )
    for each in sources:
        _check_one_source(each)
    return sources


def _check_one_source(source):
    if isinstance(source, DroppedSource):
        raise ValueError(
            f"Got source={source!r}: the source rows were left out when this estimator was saved "
            "(drop_source=True), so it predicts and cannot be fitted; pass them again with "
            "set_params(source=SourceDomain(X_source, y_source))."
        )
    if not isinstance(source, SourceDomain):
        raise TypeError(
            f"Got source of type {type(source).__name__}, but expected a SourceDomain, or a list "
            "of these; write source=SourceDomain(X_source, y_source)."
        )
    if source.y is None:
        raise ValueError(
            f"Got source={source!r}, but expected a source with labels; write "
            "source=SourceDomain(X_source, y_source)."
        )


def check_share(source_share):
    """Check that ``source_share`` is in [0, 1)."""
    check_number("source_share", source_share, low=0)
    if source_share >= 1:
        raise ValueError(
            f"Got source_share={source_share!r}, but expected less than 1, so that the target "
            "has a share; fit the estimator on the source alone to leave the target out."
        )


class WeightedSource(NamedTuple):
    """Rows of a source, how much each counts, and who said so."""

    X: object
    y: np.ndarray
    weights: np.ndarray  # with a mean of 1
    weighting: object

    @property
    def effective_sample_size(self):
        """As many rows of equal weight would vary as little."""
        return effective_sample_size(self.weights)


def weigh_source(source, X_target, weighting, random_state, y_target=None):
    """Weight the source rows for a target.

    Returns
    -------
    weighting : weighting
        The copy that computed the weights, with its diagnostics.

    weights : float64 array of shape (n_source,)
        The weights times the ``sample_weight`` of the source, with a mean of 1.
    """
    check_domains(X_target, source)
    if weighting is None:
        weighting = DomainClassifierWeighting(random_state=random_state)
    elif not isinstance(weighting, BaseWeighting):
        raise TypeError(
            f"Got weighting={weighting!r}, but expected a weighting, such as "
            "DomainClassifierWeighting(); methods of your own derive from "
            "sktransfer.instance.BaseWeighting."
        )
    else:
        weighting = clone(weighting)
    weights = weighting.compute_weights(source.X, X_target, y_source=source.y, y_target=y_target)
    if source.sample_weight is not None:
        weights = weights * source.sample_weight
        if not weights.any():
            raise ValueError(
                "Got a source whose rows with sample_weight > 0 all have a weight of 0 in the "
                "target, but expected at least one row that counts in both."
            )
    return weighting, weights / np.mean(weights)


def weigh_sources(sources, X_target, weighting, random_state, y_target=None):
    """Weight each source to the target on its own; return a tuple of WeightedSource."""
    weighted = []
    for source in sources:
        used, weights = weigh_source(source, X_target, weighting, random_state, y_target)
        weighted.append(WeightedSource(source.X, source.y, weights, used))
    return tuple(weighted)


def describe_sources(estimator, weighted):
    """Set what estimators tell of their weighted sources, in lists where ``source`` is one."""
    values = {
        "weighting_": [source.weighting for source in weighted],
        "source_weights_": [source.weights for source in weighted],
        "effective_sample_size_": [source.effective_sample_size for source in weighted],
    }
    nothing = {"weighting_": None, "source_weights_": np.zeros(0), "effective_sample_size_": 0.0}
    for name, of_sources in values.items():
        if not isinstance(estimator.source, list | tuple):
            of_sources = of_sources[0] if of_sources else nothing[name]
        setattr(estimator, name, of_sources)


def share_mass(mass, sources):
    """Return the weights of all rows of weighted sources, which sum to ``mass``.

    Each source has a share in proportion to its effective sample size: one whose weight lies on
    few rows counts as these few.
    """
    sizes = np.array([source.effective_sample_size for source in sources])
    shares = mass * sizes / sizes.sum()
    return np.concatenate(
        [
            source.weights * (share / len(source.weights))
            for source, share in zip(sources, shares, strict=True)
        ]
    )


def stack_sources(sources):
    """Return the rows and the labels of sources, one below the other."""
    X = sources[0].X
    for source in sources[1:]:
        X = stack_rows(X, source.X)
    return X, stack_source_labels(sources)


def stack_source_labels(sources):
    """Return the labels of sources, one below the other."""
    y = sources[0].y
    for source in sources[1:]:
        y = stack_labels(y, source.y)
    return y


def threads_for(X_target, sources):
    """Return a context for fits to these rows: few values are fastest with one thread."""
    return few_threads(sum(math.prod(X.shape) for X in (X_target, *(s.X for s in sources))))
