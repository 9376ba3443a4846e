"""A sampler that adds source rows, drawn by their weights, to the target."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from sktransfer.domain import is_frame, stack_labels, stack_rows, take_rows
from sktransfer.instance._source import (
    check_share,
    check_source,
    check_target,
    describe_sources,
    share_mass,
    stack_source_labels,
    stack_sources,
    weigh_sources,
)
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_count

__all__ = ["InstanceWeightingSampler"]

MOST_REPEATS = 1000  # draws per source row: more say nothing new and can fill the memory


class InstanceWeightingSampler(OneToOneFeatureMixin, BaseEstimator):
    """Add source rows to the target, drawn by how likely they are in the target.

    For learners that take no ``sample_weight``, and for Pipelines of imbalanced-learn, where it
    acts in ``fit`` only. For learners of your own that take weights, ``fit_weights`` gives all
    rows with their weights, in place of a draw. scikit-learn's own Pipeline cannot hold a step
    that changes the number of rows; :class:`InstanceTransferClassifier` and
    :class:`InstanceTransferRegressor` are for that.

    Parameters
    ----------
    source : SourceDomain, list of SourceDomain or None, default=None
        Source rows with labels. Each of several sources is weighted to the target on its own,
        and drawn in proportion to its effective sample size. Without a source, there is a
        warning and the target stays as it is.

    weighting : weighting or None, default=None
        How source rows are weighted, such as :class:`DomainClassifierWeighting`, the default.

    source_share : float in [0, 1), default=0.5
        Share of source rows among the returned rows. All target rows are kept, so 0.5 adds as
        many source rows as there are target rows, and 0.9 nine times as many.

    n_samples : int or None, default=None
        Number of source rows to draw, in place of ``source_share``.

    random_state : int, RandomState instance or None, default=None
        Seed of the draw and of the default weighting.

    Attributes
    ----------
    source_weights_ : float64 array of shape (n_source,)
        Weights of the source rows, with a mean of 1.

    effective_sample_size_ : float
        Number of equally weighted source rows that would vary as little.

    source_indices_ : integer array of shape (n_drawn,)
        Positions of the drawn rows in the source, in increasing order; heavy rows repeat. Of
        several sources, they count on from one to the next.

    weighting_ : weighting or None
        The weighting of this fit, with its diagnostics.

    Notes
    -----
    With a list of sources, ``weighting_``, ``source_weights_`` and ``effective_sample_size_`` are
    lists.

    The draw is systematic: rows are sorted by class, in a random order within each, and taken
    at equal steps of cumulated weight. Each row and each class is drawn within one of its
    expected number of times, and no row twice whose expected number is at most one. Labels that
    are floats are not stratified.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.domain import SourceDomain
    >>> from sktransfer.instance import InstanceWeightingSampler
    >>> domains = make_covariate_shift(500, 40, random_state=0)
    >>> source = SourceDomain(domains.X_source, domains.y_source)
    >>> sampler = InstanceWeightingSampler(source, source_share=0.8, random_state=0)
    >>> X, y = sampler.fit_resample(domains.X_target, domains.y_target)
    >>> X.shape
    (200, 2)
    """

    def __init__(
        self, source=None, *, weighting=None, source_share=0.5, n_samples=None, random_state=None
    ):
        self.source = source
        self.weighting = weighting
        self.source_share = source_share
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X, y):
        """Check the target and weight the source; ``fit_resample`` also draws.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,)
            Labels of the target rows.

        Returns
        -------
        self : InstanceWeightingSampler
        """
        with restored_on_error(self):
            self._fit(X, y)
        return self

    def fit_resample(self, X, y):
        """Return the target rows, followed by the drawn source rows.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,)
            Labels of the target rows.

        Returns
        -------
        X_resampled : array or DataFrame
            Rows in the container of ``X``.

        y_resampled : array or Series
            Their labels, in the container of ``y``; an array for a list.
        """
        with restored_on_error(self):
            return self._fit_resample(X, y)

    def fit_weights(self, X, y, sample_weight=None):
        """Return the target rows, followed by all source rows, with the weight of each.

        What ``fit_resample`` draws, this gives in the mean: the source rows have the share
        ``source_share`` of the total weight, or the weight of ``n_samples`` rows.

        Parameters
        ----------
        X : array or DataFrame
            Target rows.

        y : array-like of shape (n_rows,)
            Labels of the target rows.

        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the target rows; 1 each by default. They are returned, and set the share of
            the source; the weighting takes each target row as one.

        Returns
        -------
        X_both : array or DataFrame
            Rows in the container of ``X``.

        y_both : array or Series
            Their labels, in the container of ``y``; an array for a list.

        sample_weight : float64 array of shape (n_rows + n_source,)

        Examples
        --------
        >>> import numpy as np
        >>> from sktransfer import InstanceWeightingSampler, SourceDomain
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(30, 2)), np.arange(30) % 2
        >>> source = SourceDomain(rng.normal(size=(200, 2)), np.arange(200) % 2)
        >>> sampler = InstanceWeightingSampler(source, source_share=0.25, random_state=0)
        >>> X_both, y_both, weight = sampler.fit_weights(X, y)
        >>> X_both.shape, float(weight[30:].sum().round(6))
        ((230, 2), 10.0)
        """
        with restored_on_error(self):
            return self._fit_weights(X, y, sample_weight)

    def _fit_resample(self, X, y):
        X_target, y_target, weighted, random_state = self._fit(X, y)
        n_draws = self._count_draws(len(y_target), weighted)
        if n_draws == 0:
            self.source_indices_ = np.zeros(0, dtype=int)
            return X if is_frame(X) else X_target, _like(y, y_target)
        X_source, y_source = stack_sources(weighted)
        weights = share_mass(len(y_source), weighted)
        self.source_indices_ = _draw(weights, n_draws, _strata(y_source), random_state)
        kept = np.append(np.arange(len(y_target)), len(y_target) + self.source_indices_)
        y_resampled = stack_labels(y_target, y_source)[kept]
        X_drawn = take_rows(X_source, self.source_indices_)
        return stack_rows(X_target, X_drawn), _like(y, y_resampled)

    def _fit_weights(self, X, y, sample_weight):
        X_target, y_target, weighted, _ = self._fit(X, y)
        weights = check_sample_weight(
            sample_weight, X_target, dtype=np.float64, ensure_non_negative=True, copy=True
        )
        if not weighted:
            return X if is_frame(X) else X_target, _like(y, y_target), weights
        mass = self.n_samples
        if mass is None:
            mass = weights.sum() * self.source_share / (1 - self.source_share)
        X_source, y_source = stack_sources(weighted)
        y_both = _like(y, stack_labels(y_target, y_source))
        weights = np.concatenate([weights, share_mass(mass, weighted)])
        return stack_rows(X_target, X_source), y_both, weights

    def _fit(self, X, y):
        X_target, y_target = check_target(self, X, y)
        check_share(self.source_share)
        if self.n_samples is not None:
            check_count("n_samples", self.n_samples, low=0)
        sources = check_source(self.source, stacklevel=4)
        random_state = check_random_state(self.random_state)
        if sources:
            stack_labels(y_target, stack_source_labels(sources))
        weighted = weigh_sources(sources, X_target, self.weighting, random_state, y_target)
        describe_sources(self, weighted)
        return X_target, y_target, weighted, random_state

    def _count_draws(self, n_target, weighted):
        if not weighted:
            return 0
        n_draws = self.n_samples
        if n_draws is None:
            n_draws = round(n_target * self.source_share / (1 - self.source_share))
        n_source = sum(len(source.weights) for source in weighted)
        if n_draws > MOST_REPEATS * n_source:
            raise ValueError(
                f"Got n_samples={self.n_samples!r} and source_share={self.source_share!r}, which "
                f"ask for {n_draws} draws of {n_source} source rows, but expected at most "
                f"{MOST_REPEATS} per row; lower them."
            )
        return n_draws

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _strata(y):
    """Number the classes; float labels are one stratum."""
    if type_of_target(y).startswith("continuous"):
        return np.zeros(len(y), dtype=int)
    return np.unique(y, return_inverse=True)[1]


def _draw(weights, n_draws, strata, random_state):
    """Draw rows systematically by weight, so that strata get their expected numbers of rows."""
    order = random_state.permutation(len(weights))
    order = order[np.argsort(strata[order], kind="stable")]
    order = order[weights[order] > 0]
    steps = np.cumsum(weights[order])
    points = (random_state.uniform() + np.arange(n_draws)) * (steps[-1] / n_draws)
    drawn = np.searchsorted(steps, points, side="right")
    return np.sort(order[np.minimum(drawn, len(order) - 1)])


def _like(y, values):
    """Return the labels in the container that they came in, with its dtype where it fits."""
    if is_frame(y):
        name = y.columns[0]
        column = _as_series(y[name], values)
        return column.to_frame() if hasattr(y, "iloc") else type(y)({name: column})
    return _as_series(y, values) if _is_series(y) else values


def _is_series(y):
    is_polars = type(y).__module__.partition(".")[0] == "polars"
    return hasattr(y, "iloc") or (is_polars and hasattr(y, "to_numpy"))


def _as_series(series, values):
    if hasattr(series, "iloc"):
        new = type(series)(values, name=series.name)
        if hasattr(series, "cat") and not np.isin(values, np.asarray(series.cat.categories)).all():
            return new
        try:
            cast = new.astype(series.dtype)
        except (TypeError, ValueError):
            return new
        is_same = (cast.to_numpy() == new.to_numpy()).all()
    else:
        # Text as objects is a column of Python objects to polars, unless it comes in a list.
        new = type(series)(series.name, values.tolist())
        if new.dtype.is_numeric() != series.dtype.is_numeric():
            return new
        cast = new.cast(series.dtype, strict=False)
        is_same = not cast.has_nulls() and (cast.to_numpy() == new.to_numpy()).all()
    # Enumerations may lack labels of the source, and integers be too small for them.
    return cast if is_same else new
