"""Sources and a target in the space of an alignment."""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sktransfer.domain import SourceDomain, take_rows
from sktransfer.instance._source import stack_sources

__all__ = ["align", "check_alignment", "prepend_alignment"]


def check_alignment(alignment):
    """Raise unless ``alignment`` is None or keeps the contract of the alignments."""
    if alignment is None:
        return
    methods = ("fit", "transform", "transform_source", "without_source")
    if isinstance(alignment, type) or not all(hasattr(alignment, name) for name in methods):
        raise TypeError(
            f"Got alignment={alignment!r}, but expected an alignment, such as "
            "CorrelationAlignment(); methods of your own derive from "
            "sktransfer.feature.BaseAlignment."
        )


def align(alignment, sources, X_target):
    """Fit alignments of sources to target rows.

    Each source is aligned on its own where that leaves the target as it is. An alignment that
    also moves the target is fitted once, with the rows of all sources, so that there is one space.

    Returns
    -------
    alignment : fitted alignment
        What maps target rows; of several sources the first one's, which all map them alike.
    sources : tuple of SourceDomain
        The aligned rows, with labels and weights as before.
    X_target : array or DataFrame
        The aligned rows.
    """
    first = _fit(alignment, sources[0], X_target)
    X_aligned = first.transform(X_target)
    if len(sources) == 1:
        return first, (_replace_rows(sources[0], first.transform_source()),), X_aligned
    if _are_equal(X_aligned, X_target):
        rows = [first.transform_source()]
        rows += [_fit(alignment, source, X_target).transform_source() for source in sources[1:]]
    else:
        first = _fit(alignment, _unite(sources), X_target)
        X_aligned, united = first.transform(X_target), first.transform_source()
        ends = np.cumsum([len(source.X) for source in sources])
        rows = [take_rows(united, part) for part in np.split(np.arange(ends[-1]), ends[:-1])]
    pairs = zip(sources, rows, strict=True)
    return first, tuple(_replace_rows(source, X) for source, X in pairs), X_aligned


def prepend_alignment(alignment, estimator):
    """Return the fitted estimator, as one that takes rows before the alignment."""
    if alignment is None:
        return estimator
    return Pipeline([("alignment", alignment), ("estimator", estimator)])


def _fit(alignment, source, X_target):
    return clone(alignment).set_params(source=source).fit(X_target)


def _are_equal(X_aligned, X_target):
    return X_aligned.shape == X_target.shape and np.array_equal(
        np.asarray(X_aligned), np.asarray(X_target)
    )


def _replace_rows(source, X):
    return SourceDomain(X, source.y, sample_weight=source.sample_weight)


def _unite(sources):
    """Return all sources as one."""
    X, y = stack_sources(sources)
    weights = [
        np.ones(len(source.X)) if source.sample_weight is None else source.sample_weight
        for source in sources
    ]
    return SourceDomain(X, y, sample_weight=np.concatenate(weights))
