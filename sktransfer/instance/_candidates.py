"""What may be learned from, with and without transfer: target rows, source rows and weights."""

import dataclasses
from typing import NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier

from sktransfer.domain import stack_labels, stack_rows, take_rows
from sktransfer.instance._alignment import prepend_alignment
from sktransfer.instance._source import share_mass, stack_sources
from sktransfer.instance._weighted_fit import fit_weighted

__all__ = ["Pooled", "Target", "TargetOnly", "Weighted", "resolve_target_weight"]

AUTO_ROWS = 20  # target rows that the source counts as: a prior, which fades as they grow


class Target(NamedTuple):
    """Labelled target rows; without weights each counts as one."""

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None = None

    @property
    def weights(self):
        """The weights, ones where there are none."""
        return np.ones(len(self.y)) if self.sample_weight is None else self.sample_weight

    def take(self, rows):
        """Return some of the rows."""
        weight = self.sample_weight
        return Target(
            take_rows(self.X, rows), self.y[rows], None if weight is None else weight[rows]
        )


def resolve_target_weight(target_weight, n_target):
    """Return the share of the target in the total weight as a number."""
    if isinstance(target_weight, str):
        return 1 - 1 / (1 + max(1, n_target / AUTO_ROWS))
    return target_weight


@dataclasses.dataclass(frozen=True)
class TargetOnly:
    """The target rows alone."""

    name = "target_only"

    def fit(self, estimator, target):
        """Return a fitted clone of the estimator."""
        if is_classifier(estimator) and len(np.unique(target.y)) == 1:
            # Few classifiers can be fitted to one class, and there is only one way to do it.
            return DummyClassifier().fit(np.zeros((len(target.y), 1)), target.y)
        if target.sample_weight is None:
            return clone(estimator).fit(target.X, target.y)
        return fit_weighted(estimator, *target)


@dataclasses.dataclass(frozen=True)
class Pooled:
    """All rows of both domains, a source row counting as much as a target row.

    Parameters
    ----------
    sources : tuple of SourceDomain
    """

    sources: tuple
    name = "pooled"

    def fit(self, estimator, target):
        """Return a fitted clone of the estimator."""
        weights = [
            np.ones(len(source.X))
            if source.sample_weight is None
            else source.sample_weight / source.sample_weight.mean()
            for source in self.sources
        ]
        source_weights = np.concatenate(weights) * target.weights.mean()
        return _fit_both(estimator, target, stack_sources(self.sources), source_weights)


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Target rows and weighted source rows.

    Parameters
    ----------
    sources : tuple of WeightedSource
        In the space of the alignment.
    target_weight : float in (0, 1), "auto" or None
        Share of the target in the total weight. None: a source row counts as much as a target
        row, in the mean.
    alignment : fitted alignment or None
        Maps target rows to that space.
    name : str
    """

    sources: tuple
    target_weight: object = "auto"
    alignment: object = None
    name: str = "weighted"

    def fit(self, estimator, target):
        """Return a fitted clone of the estimator, behind the alignment where there is one."""
        source_weights = share_mass(self._compute_mass(target), self.sources)
        if self.alignment is not None:
            target = target._replace(X=self.alignment.transform(target.X))
        fitted = _fit_both(estimator, target, stack_sources(self.sources), source_weights)
        return prepend_alignment(self.alignment, fitted)

    def fit_without_labels(self, estimator):
        """Return a clone of the estimator that is fitted to the weighted source rows alone."""
        source_weights = share_mass(self._n_rows, self.sources)
        fitted = fit_weighted(estimator, *stack_sources(self.sources), source_weights)
        return prepend_alignment(self.alignment, fitted)

    def restrict(self, selected):
        """Return the candidate with some of the sources."""
        pairs = zip(self.sources, selected, strict=True)
        return dataclasses.replace(self, sources=tuple(source for source, keep in pairs if keep))

    @property
    def _n_rows(self):
        return sum(len(source.weights) for source in self.sources)

    def _compute_mass(self, target):
        if self.target_weight is None:
            return self._n_rows * target.weights.mean()
        share = resolve_target_weight(self.target_weight, len(target.y))
        return target.weights.sum() * (1 - share) / share


def _fit_both(estimator, target, source, source_weights):
    X_source, y_source = source
    return fit_weighted(
        estimator,
        stack_rows(target.X, X_source),
        stack_labels(target.y, y_source),
        np.concatenate([target.weights, source_weights]),
    )
