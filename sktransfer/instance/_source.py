"""What every estimator of the family does with its target rows and its source."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from sktransfer.domain import SourceDomain, as_rows, check_domains
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._domain_classifier import DomainClassifierWeighting
from sktransfer.utils._validation import check_labels, check_number

__all__ = ["check_rows", "check_share", "check_source", "check_target", "weigh_source"]


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


def check_source(source, *, stacklevel):
    """Check the parameter ``source``; warn where it is None."""
    if source is None:
        warnings.warn(
            "Got source=None, so there is nothing to transfer, and only the target is used; pass "
            "source=SourceDomain(X_source, y_source).",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    elif not isinstance(source, SourceDomain):
        raise TypeError(
            f"Got source of type {type(source).__name__}, but expected a SourceDomain; write "
            "source=SourceDomain(X_source, y_source)."
        )
    elif source.y is None:
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


def weigh_source(source, X_target, weighting, random_state):
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
    weights = weighting.compute_weights(source.X, X_target)
    if source.sample_weight is not None:
        weights = weights * source.sample_weight
        if not weights.any():
            raise ValueError(
                "Got a source whose rows with sample_weight > 0 all have a weight of 0 in the "
                "target, but expected at least one row that counts in both."
            )
    return weighting, weights / np.mean(weights)
