"""The contract of the alignments."""

import copy
import warnings
from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from sktransfer.domain import SourceDomain, as_rows, check_domain_rows, check_domains
from sktransfer.utils._sklearn import check_feature_names_in, wrap_in_container
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._threads import single_threaded_algebra

__all__ = ["BaseAlignment"]

_DTYPES = [np.float64, np.float32]


class BaseAlignment(ABC, TransformerMixin, BaseEstimator):
    """Put the rows of the source and the target into one space where they look alike.

    Every method keeps this contract. ``fit`` takes target rows, and needs no labels; the source
    comes with the constructor. Then ``transform`` gives target rows in the common space, and
    ``transform_source`` gives source rows in it, in their order: without an argument those of
    the source, with one any rows like them. Permuting the rows permutes the result, source rows
    with a ``sample_weight`` of zero count as little as absent ones, and domains that are the
    same are mapped to the same rows. Without a source there is a warning, and nothing moves.

    So a learner is fitted to ``transform_source()`` with the labels of the source, and predicts
    what ``transform`` gives. Code that has the source already, such as an estimator with a
    parameter ``source`` of its own, takes an alignment without one and does
    ``clone(alignment).set_params(source=source).fit(X_target)``.

    A method derives from this class, checks its parameters in ``_check_parameters``, learns in
    ``_fit_maps``, and maps rows in ``_map_source`` and ``_map_target``. ``_keeps_columns`` says
    whether columns of the result are those of the input.

    Parameters
    ----------
    source : SourceDomain or None, default=None
        Source rows: a table of numbers without missing values, with the columns of the target.

    Attributes
    ----------
    source_ : array of shape (n_source, n_features_out) or None
        The rows of the source in the common space.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.
    """

    _keeps_columns = True
    _rows_are_gone = False

    def __init__(self, source=None):
        self.source = source

    def fit(self, X, y=None):
        """Learn to align the source and the target.

        Parameters
        ----------
        X : array or DataFrame of shape (n_rows, n_columns)
            Target rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X)

    def transform(self, X):
        """Return target rows in the common space.

        Parameters
        ----------
        X : array or DataFrame of shape (n_rows, n_columns)
            Target rows, with the columns seen in ``fit``.

        Returns
        -------
        X_aligned : array of shape (n_rows, n_features_out)
            float32 if X is, else float64.
        """
        return self._map_checked(X, self._map_target)

    def transform_source(self, X_source=None):
        """Return source rows in the common space.

        Parameters
        ----------
        X_source : array or DataFrame of shape (n_rows, n_columns), default=None
            Source rows, with the columns seen in ``fit``. None: those of ``source``.

        Returns
        -------
        X_aligned : array of shape (n_rows, n_features_out)
            In the container that ``set_output`` asks for.
        """
        check_is_fitted(self)
        if self._rows_are_gone:
            raise ValueError(
                f"Got a {type(self).__name__} without source rows, which maps target rows only; "
                "fit it again with a source."
            )
        if X_source is not None:
            aligned = self._map_checked(X_source, self._map_source)
        elif self.source_ is None:
            raise ValueError(
                f"Got source=None in fit, so this {type(self).__name__} has no source rows, but "
                "expected some; pass source=SourceDomain(X_source, y_source) to the constructor."
            )
        else:
            X_source, aligned = self.source.X, self.source_.copy()
        return wrap_in_container(aligned, X_source, self)

    def without_source(self):
        """Return a copy that maps target rows and holds no source rows.

        Landmarks of a kernel stay, since without them nothing can be mapped.

        Returns
        -------
        alignment : object
        """
        check_is_fitted(self)
        lighter = copy.copy(self)
        if self.source_ is not None:
            lighter.source, lighter._rows_are_gone = None, True
            lighter.source_ = np.empty((0, self.source_.shape[1]), self.source_.dtype)
            lighter._forget_source_rows()
        return lighter

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; those seen in ``fit`` if None.

        Returns
        -------
        names : ndarray of str
            Those of the input where columns keep their meaning, else the name of the method in
            lower case and a number.
        """
        check_is_fitted(self)
        if self._keeps_columns or self.source_ is None:
            return check_feature_names_in(self, input_features)
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(self.source_.shape[1])], dtype=object)

    def _fit(self, X):
        self._check_parameters()
        X_target = validate_data(self, X, dtype=_DTYPES)
        check_domain_rows(X_target)
        self._check_source()
        self.source_, self._rows_are_gone = None, False
        if self.source is None:
            return self
        check_domains(as_rows(X), self.source)
        X_source = check_array(self.source.X, dtype=_DTYPES, estimator=self, input_name="source.X")
        sample_weight, y = self.source.sample_weight, self.source.y
        counts = np.ones(len(X_source), dtype=bool) if sample_weight is None else sample_weight > 0
        weight = np.ones(counts.sum()) if sample_weight is None else sample_weight[counts]
        with single_threaded_algebra():
            self._fit_maps(
                X_source[counts].astype(np.float64),
                X_target.astype(np.float64),
                weight / weight.mean(),
                None if y is None else y[counts],
            )
            self.source_ = self._map_source(X_source.astype(np.float64)).astype(X_source.dtype)
        return self

    def _check_source(self):
        if self.source is None:
            warnings.warn(
                "Got source=None, so there is nothing to align, and rows stay as they are; pass "
                "source=SourceDomain(X_source).",
                UserWarning,
                stacklevel=4,
            )
        elif not isinstance(self.source, SourceDomain):
            raise TypeError(
                f"Got source of type {type(self.source).__name__}, but expected a SourceDomain; "
                "write source=SourceDomain(X_source, y_source)."
            )
        elif len(self.source.X.shape) != 2:
            raise ValueError(
                f"Got source={self.source!r}, but expected a table; align features of images, "
                "such as those of FeatureTransferTransformer, or reshape them to rows."
            )

    def _map_checked(self, X, map_rows):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_DTYPES)
        if self.source_ is None:
            return X.copy()
        return map_rows(X.astype(np.float64)).astype(X.dtype)

    def _forget_source_rows(self):
        """Let go of source rows that only serve to map source rows."""

    @abstractmethod
    def _check_parameters(self):
        """Raise for parameters that are of no use, whatever the rows."""

    @abstractmethod
    def _fit_maps(self, X_source, X_target, weight, y_source):
        """Learn from float64 rows; ``weight`` of the source rows is positive, with a mean of 1."""

    @abstractmethod
    def _map_source(self, X):
        """Return source rows in the common space."""

    def _map_target(self, X):
        """Return target rows in the common space, which by default is that of the target."""
        return X.copy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
