"""SubspaceAlignment."""

import numpy as np

from sktransfer.feature._base_alignment import BaseAlignment
from sktransfer.feature._column_statistics import (
    column_statistics,
    divide_by_scale,
    principal_axes,
)
from sktransfer.utils._validation import check_count, check_option

__all__ = ["SubspaceAlignment"]

AUTO_COMPONENTS = 20


class SubspaceAlignment(BaseAlignment):
    r"""Turn the principal subspace of the source into that of the target.

    Both domains move: target rows are given by their coordinates on the leading principal axes
    :math:`P_t` of the target, source rows by those on their own, :math:`P_s`, turned by the
    matrix that brings the axes closest [1]_:

    .. math:: x_t \mapsto x_t P_t, \qquad x_s \mapsto x_s P_s P_s^\top P_t

    Parameters
    ----------
    source : SourceDomain or None, default=None
        Source rows. Labels are not used. Without a source there is a warning, and nothing moves.

    n_components : int or "auto", default="auto"
        Number of axes. "auto": 20, or half of the columns if there are fewer than 40. As many as
        columns would leave distances between the centred domains as they are, and so align
        nothing.

    standardize : bool, default=True
        Whether columns are divided by their standard deviation, in each domain by its own. They
        are centred in any case.

    Attributes
    ----------
    n_components_ : int
        Number of axes, at most as many as either domain has directions.

    source_ : array of shape (n_source, n_components)
        The aligned rows of the source.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.

    Notes
    -----
    A domain without any direction, such as one row, takes the axes of the other.

    Source rows shrink along axes of the target that are not among those of the source, and target
    rows do not: made for learners that go by distances. Choose the penalty of a linear learner on
    labelled target rows, not on the source.

    References
    ----------
    .. [1] Fernando, Habrard, Sebban and Tuytelaars, "Unsupervised visual domain adaptation using
       subspace alignment", ICCV 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import SourceDomain, SubspaceAlignment
    >>> rng = np.random.default_rng(0)
    >>> X_source, X_target = rng.normal(size=(300, 10)), rng.normal(size=(200, 10)) + 3
    >>> alignment = SubspaceAlignment(SourceDomain(X_source), n_components=4).fit(X_target)
    >>> alignment.transform(X_target).shape, alignment.transform_source().shape
    ((200, 4), (300, 4))
    """

    _keeps_columns = False

    def __init__(self, source=None, *, n_components="auto", standardize=True):
        super().__init__(source)
        self.n_components = n_components
        self.standardize = standardize

    def _check_parameters(self):
        if not (isinstance(self.n_components, str) and self.n_components == "auto"):
            check_count("n_components", self.n_components)
        check_option("standardize", self.standardize, (True, False))

    def _fit_maps(self, X_source, X_target, weight, y_source):
        n_columns = X_source.shape[1]
        n_components = self._resolve_components(n_columns)
        ones = np.ones(len(X_target))
        self._source_mean, self._source_scale = self._statistics(X_source, weight)
        self._target_mean, self._target_scale = self._statistics(X_target, ones)
        if self.standardize and min(len(X_source), len(X_target)) == 1:
            # One row has no scale of its own.
            one_is_source = len(X_source) == 1
            scale = self._target_scale if one_is_source else self._source_scale
            self._source_scale = self._target_scale = scale
        source_axes = _axes(X_source, self._source_mean, self._source_scale, weight)
        target_axes = _axes(X_target, self._target_mean, self._target_scale, ones)
        if source_axes is None:
            source_axes = np.eye(n_columns) if target_axes is None else target_axes
        if target_axes is None:
            target_axes = source_axes
        ranks = source_axes.shape[1], target_axes.shape[1]
        self.n_components_ = min(n_components, *ranks)
        source_axes, self._target_axes = (
            axes[:, : self.n_components_] for axes in (source_axes, target_axes)
        )
        self._source_map = source_axes @ (source_axes.T @ self._target_axes)

    def _map_source(self, X):
        return divide_by_scale(X - self._source_mean, self._source_scale) @ self._source_map

    def _map_target(self, X):
        return divide_by_scale(X - self._target_mean, self._target_scale) @ self._target_axes

    def _statistics(self, X, weight):
        mean, scale = column_statistics(X, weight)
        return mean, scale if self.standardize else np.ones(len(scale))

    def _resolve_components(self, n_columns):
        if self.n_components == "auto":
            return min(AUTO_COMPONENTS, max(1, n_columns // 2))
        if self.n_components > n_columns:
            raise ValueError(
                f"Got n_components={self.n_components}, but expected at most {n_columns}, the "
                "number of columns."
            )
        return self.n_components


def _axes(X, mean, scale, weight):
    """Return the principal axes of standardised rows, or None where there are none."""
    if len(X) == 1:
        return None
    axes, _ = principal_axes(divide_by_scale(X - mean, scale), weight)
    return axes if axes.shape[1] else None
