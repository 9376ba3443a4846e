"""The contract of the weighting methods."""

import warnings
from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d

from sktransfer.domain import SourceDomain, check_domain_rows, check_domains
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance._backbone_space import to_activations
from sktransfer.instance._domain_auc import measure_domain_auc
from sktransfer.utils._sklearn import clone_sharing
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_labels, check_number

__all__ = ["BaseWeighting"]

LOW_SHARE = 0.05  # effective share of the source rows below which we warn
SEPARATED_AUC = 0.99


class BaseWeighting(ABC, BaseEstimator):
    """Weight of each source row, from how likely it is in the target.

    Every method keeps this contract: ``compute_weights`` gives one float64 weight a source row,
    non-negative, finite and with a mean of 1; permuting the rows permutes the weights; the
    domains may differ in their numbers of rows. A method derives from this class, names
    ``flatten``, ``clip`` and ``backbone`` among its parameters, and estimates the log density
    ratio in ``_compute_log_weights(X_source, X_target)``. One that goes by labels sets
    ``_uses_labels = True`` and takes ``y_source`` and ``y_target`` as well, the latter None
    where the target has no labels. One whose weights mean nothing where the rows of the domains
    do not overlap sets ``_compares_rows = True`` or sets ``domain_auc_`` by itself.

    Parameters
    ----------
    flatten : float in [0, 1], default=1.0
        Exponent of the ratio [1]_: 1 leaves it as it is, 0 makes all weights equal. Values
        between give up some of the correction for less variance.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : Backbone, str, path, torch.nn.Module, fitted estimator or None, default=None
        Network in whose space rows are compared, anything that `load_backbone` takes: rows are
        replaced by its penultimate activations, each distinct row going through it once per
        process. It is shared by clones and never changed. None compares the rows themselves.

    Attributes
    ----------
    log_ratio_ : float64 array of shape (n_source,)
        Estimated log density ratio, before ``flatten`` and ``clip``, up to a constant where the
        method knows no more.

    effective_sample_size_ : float
        ``sum(w) ** 2 / sum(w ** 2)``: as many rows of equal weight would vary as little.

    max_share_ : float
        Share of all weight that the heaviest row carries.

    domain_auc_ : float or None
        How well the domains of held-out rows can be told apart: 0.5 not at all, 1 without error.
        Where the method has no measure of its own, it comes from kernel least squares on at most
        200 rows of each domain. None where a domain has too few rows for that, and where the
        weights do not depend on the rows.

    References
    ----------
    .. [1] Shimodaira, "Improving predictive inference under covariate shift by weighting the
       log-likelihood function", Journal of Statistical Planning and Inference, 2000.
    """

    def __init__(self, *, flatten=1.0, clip=None, backbone=None):
        self.flatten = flatten
        self.clip = clip
        self.backbone = backbone

    # Whether ``_compute_log_weights`` also takes ``y_source`` and ``y_target``.
    _uses_labels = False
    # Whether ``domain_auc_`` is measured here, for a method that has no measure of its own.
    _compares_rows = False

    def __sklearn_clone__(self):
        return clone_sharing(self, ("backbone",))

    def compute_weights(self, X_source, X_target, *, y_source=None, y_target=None):
        """Compute the weight of each source row.

        Parameters
        ----------
        X_source, X_target : array or DataFrame with the same columns
            Rows of the two domains: of a table, or images of one shape. Each row counts once;
            repeat target rows that stand for more.

        y_source, y_target : array-like of shape (n_source,) and (n_target,), default=None
            Labels, for the methods that go by them, such as :class:`LabelShiftWeighting`; the
            others ignore them.

        Returns
        -------
        weights : float64 array of shape (n_source,)
            Non-negative, finite, with a mean of 1.

        Raises
        ------
        ValueError
            For rows that the method cannot take, and where it needs ``y_source`` and gets None.
        """
        with restored_on_error(self):
            return self._compute_weights(X_source, X_target, y_source, y_target)

    def _compute_weights(self, X_source, X_target, y_source, y_target):
        check_number("flatten", self.flatten, low=0, high=1)
        if self.clip is not None:
            check_number("clip", self.clip, low=1)
        X_target = check_domain_rows(X_target, "X_target")
        source = SourceDomain(X_source)
        check_domains(X_target, source)
        labels = {}
        if self._uses_labels:
            labels["y_source"] = self._check_source_labels(y_source, len(source.X))
            labels["y_target"] = _check_labels("y_target", y_target, len(X_target))
        X_source = source.X
        if self.backbone is not None:
            X_source, X_target = to_activations(self.backbone, X_source, X_target)

        self.domain_auc_ = None
        self.log_ratio_ = self._compute_log_weights(X_source, X_target, **labels)
        if self.domain_auc_ is None and self._compares_rows:
            self.domain_auc_ = measure_domain_auc(X_source, X_target)
        # Zero times the -inf of rows without weight would not be zero.
        log_weights = self.flatten * self.log_ratio_ if self.flatten else np.zeros(len(X_source))
        weights = normalize_log_weights(log_weights, self.clip)
        self.effective_sample_size_ = effective_sample_size(weights)
        self.max_share_ = float(weights.max() / weights.sum())
        self._warn_of_low_overlap()
        return weights

    def _check_source_labels(self, y_source, n_rows):
        if y_source is None:
            raise ValueError(
                f"Got y_source=None, but {type(self).__name__} needs the labels of the source "
                "rows; pass y_source, or use a weighting that goes by the rows alone, such as "
                "DomainClassifierWeighting."
            )
        return _check_labels("y_source", y_source, n_rows)

    @abstractmethod
    def _compute_log_weights(self, X_source, X_target):
        """Return the log density ratio of each source row; ``-inf`` stands for no weight."""

    def _warn_of_low_overlap(self):
        n_source = len(self.log_ratio_)
        size, auc = self.effective_sample_size_, self.domain_auc_
        numbers = f"The effective sample size is {size:.1f} of {n_source} source rows"
        if auc is not None and auc > SEPARATED_AUC:
            warnings.warn(
                f"A classifier separates source and target almost without error (AUC {auc:.3f}), "
                f"so the weights say little. {numbers}. A frequent cause is preprocessing that "
                "differs between the domains, such as a scaler before this step in a Pipeline, "
                "which never saw the source; put it into the wrapped estimator.",
                LowOverlapWarning,
                stacklevel=4,
            )
        elif size < LOW_SHARE * n_source:
            auc = "" if auc is None else f" (AUC of a classifier of the domains: {auc:.3f})"
            warnings.warn(
                f"Source and target hardly overlap. {numbers}, one row carries "
                f"{self.max_share_:.0%} of the weight{auc}. Lower flatten or clip for weights that "
                "vary less.",
                LowOverlapWarning,
                stacklevel=4,
            )


def _check_labels(name, y, n_rows):
    """Return the labels as an array, or None where there are none."""
    if y is None:
        return None
    y = column_or_1d(y)
    if len(y) != n_rows:
        raise ValueError(f"Got {name} of length {len(y)}, but expected {n_rows}, a label a row.")
    check_labels(y)
    return y


def effective_sample_size(weights):
    """Return the number of equally weighted rows that would vary as little."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def normalize_log_weights(log_weights, clip=None):
    """Turn log weights into weights with a mean of 1 and none above ``clip``.

    Where too few rows have any weight for both to hold, they share the weight equally.
    """
    if np.isnan(log_weights).any():
        raise ValueError(
            "Got NaN as the log weight of some source rows, but expected numbers or -inf; the "
            "weighting failed on these rows."
        )
    largest = log_weights.max()
    if not np.isfinite(largest):
        return np.ones(len(log_weights))
    weights = np.exp(log_weights - largest)
    if clip is not None:
        weights = _clip_to_multiple_of_mean(weights, clip)
    return weights / weights.mean()


def _clip_to_multiple_of_mean(weights, clip):
    """Lower the largest weights to a ceiling of ``clip`` times the mean of the result.

    With the ``k`` largest weights at the ceiling ``c`` and the others summing to ``rest``, it
    solves ``c = clip * (k * c + rest) / n``; the smallest ``k`` that covers all weights above
    ``c`` is the right one.
    """
    n_rows = len(weights)
    if np.count_nonzero(weights) * clip <= n_rows:
        return (weights > 0).astype(np.float64)
    descending = np.sort(weights)[::-1]
    n_above = np.arange(min(int(np.ceil(n_rows / clip)), n_rows))
    rest = np.cumsum(descending[::-1])[::-1][n_above]
    ceilings = clip * rest / (n_rows - clip * n_above)
    k = np.argmax(descending[n_above] <= ceilings)
    return np.minimum(weights, ceilings[k]) if k else weights
