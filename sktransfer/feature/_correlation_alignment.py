"""CorrelationAlignment."""

import numpy as np

from sktransfer.feature._base_alignment import BaseAlignment
from sktransfer.feature._column_statistics import (
    column_statistics,
    divide_by_scale,
    principal_axes,
)
from sktransfer.utils._validation import check_number

__all__ = ["CorrelationAlignment"]


class CorrelationAlignment(BaseAlignment):
    r"""Give the source the mean, the scales and the correlations of the target.

    The source moves, the target stays as it is. Columns are standardised within each domain,
    the correlations of the source are taken out and those of the target put in [1]_, and the
    result gets the mean and the scales of the target:

    .. math:: z_s \mapsto z_s (R_s + \lambda I)^{-1/2} (R_t + \lambda I)^{1/2}

    So the result does not depend on the units of either domain.

    Parameters
    ----------
    source : SourceDomain or None, default=None
        Source rows. Labels are not used. Without a source there is a warning, and nothing moves.

    regularization : float >= 0, default=1.0
        :math:`\lambda`. 0 matches the covariance exactly, where the source has as many directions
        as columns; large values match the mean and the scales only. 1 is the value of [1]_.

    Attributes
    ----------
    source_ : array of shape (n_source, n_columns)
        The aligned rows of the source.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.

    Notes
    -----
    A column that is constant in the target becomes constant in the source. One row has no
    scales: then the mean alone moves.

    References
    ----------
    .. [1] Sun, Feng and Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import CorrelationAlignment, SourceDomain
    >>> rng = np.random.default_rng(0)
    >>> X_source = rng.normal(size=(300, 2))
    >>> X_target = rng.normal(size=(200, 2)) @ [[2.0, 1.0], [0.0, 1.0]] + 5
    >>> alignment = CorrelationAlignment(SourceDomain(X_source), regularization=0).fit(X_target)
    >>> np.allclose(np.cov(alignment.transform_source().T), np.cov(X_target.T))
    True
    """

    def __init__(self, source=None, *, regularization=1.0):
        super().__init__(source)
        self.regularization = regularization

    def _check_parameters(self):
        check_number("regularization", self.regularization, low=0)

    def _fit_maps(self, X_source, X_target, weight, y_source):
        ones = np.ones(len(X_target))
        self._source_mean, self._source_scale = column_statistics(X_source, weight)
        self._target_mean, self._target_scale = column_statistics(X_target, ones)
        self._whiten = self._color = None
        if min(len(X_source), len(X_target)) == 1:
            self._source_scale = self._target_scale = np.ones(X_source.shape[1])
            return
        Z_source = divide_by_scale(X_source - self._source_mean, self._source_scale)
        Z_target = divide_by_scale(X_target - self._target_mean, self._target_scale)
        self._whiten = _SpectralMap(*principal_axes(Z_source, weight), self.regularization, -0.5)
        self._color = _SpectralMap(*principal_axes(Z_target, ones), self.regularization, 0.5)

    def _map_source(self, X):
        Z = divide_by_scale(X - self._source_mean, self._source_scale)
        if self._whiten is not None:
            Z = self._color(self._whiten(Z))
        return Z * self._target_scale + self._target_mean


class _SpectralMap:
    """``(C + regularization I) ** power`` for a covariance C, of which only the axes are kept.

    So with fewer rows than columns nothing of the size columns times columns is made.
    """

    def __init__(self, axes, variance, regularization, power):
        self.axes = axes
        # Off the axes the covariance is 0, and a pseudo-inverse of 0 is 0.
        self.off_axes = regularization**power if regularization else 0.0
        self.on_axes = (variance + regularization) ** power

    def __call__(self, Z):
        on_axes = ((Z @ self.axes) * (self.on_axes - self.off_axes)) @ self.axes.T
        return self.off_axes * Z + on_axes
