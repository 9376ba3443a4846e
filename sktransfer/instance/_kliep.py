"""Weights that make the target rows likely under the weighted source density."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._kernels import (
    WIDTHS,
    assign_folds,
    check_gamma,
    choose_rows,
    compute_kernel,
    compute_squared_distances,
    log_of,
    median_squared_distance,
    prepare_rows,
)
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_count, check_number

__all__ = ["KLIEP"]

ROWS_FOR_CV = 2000  # of each domain, from which the width is chosen
FAR = 4.5  # minus the logarithm of the kernel at three widths
UNREACHED = 1e-12  # ratio that rows out of reach of all centers are given


class KLIEP(BaseWeighting):
    r"""Weight source rows by the ratio that brings them closest to the target in KL divergence.

    The Kullback-Leibler importance estimation procedure [1]_ fits a ratio

    .. math:: w(x) = \sum_l a_l \exp(-\gamma \|x - c_l\|^2), \quad a_l \ge 0

    with centers :math:`c_l` among the target rows, by

    .. math::

        \max_a \; \frac{1}{n_t} \sum_{j} \log w(x_j)
        \quad \text{with} \quad \frac{1}{n_s} \sum_i w(x_i) = 1

    over the target rows :math:`x_j` and source rows :math:`x_i`. The objective is that of a
    mixture whose proportions are unknown, so it is maximised by expectation maximisation: without
    step size, never falling, with the constraint kept exactly.

    Columns are standardised over both domains. Time and memory grow linearly with the number of
    rows.

    Parameters
    ----------
    gamma : float, "median" or "auto", default="auto"
        Of the kernel, on standardised columns: ``"median"`` is :math:`1 / (2 m^2)` with the
        median distance :math:`m` between rows. ``"auto"`` tries widths from 0.18 to 1.5 times
        as large, and equal weights, and chooses by cross-validation, on at most 2,000 rows of
        each domain. Where a domain has fewer than two rows, nothing can be held out, and all
        weights are equal.

    n_centers : int, default=200
        Number of centers, drawn from the target. Those without a source row within three widths
        are left out: nothing there can be weighted.

    cv : int, default=5
        Number of folds for ``gamma="auto"``, at least 2. The paper holds out target rows; here
        source rows are held out too, since a ratio can also follow the gaps that the source has
        by chance.

    max_iter : int, default=1000
        Most steps of expectation maximisation.

    tol : float > 0, default=1e-4
        Gain of the objective at which to stop.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : default=None
        See :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Draws the centers and the folds.

    Attributes
    ----------
    gamma_ : float
        As chosen. 0 stands for equal weights.

    score_ : float or None
        Mean log ratio of held-out target rows, an estimate of the Kullback-Leibler divergence
        of the target from the source; None where ``gamma`` was given.

    objective_ : float64 array of shape (n_iter,)
        Mean log ratio of the target rows after each step; empty where all weights are equal.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`. ``log_ratio_`` is ``-inf`` for rows out of reach of all
        centers.

    References
    ----------
    .. [1] Sugiyama, Nakajima, Kashima, von Bünau and Kawanabe, "Direct importance estimation
       with model selection and its application to covariate shift adaptation", NIPS 2007;
       Sugiyama et al., "Direct importance estimation for covariate shift adaptation", Annals of
       the Institute of Statistical Mathematics, 2008.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.instance import KLIEP
    >>> domains = make_covariate_shift(500, 200, random_state=0)
    >>> weighting = KLIEP(random_state=0)
    >>> weights = weighting.compute_weights(domains.X_source, domains.X_target)
    >>> weights.shape, float(weights.mean().round(6))
    ((500,), 1.0)
    """

    _compares_rows = True

    def __init__(
        self,
        *,
        gamma="auto",
        n_centers=200,
        cv=5,
        max_iter=1000,
        tol=1e-4,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.gamma = gamma
        self.n_centers = n_centers
        self.cv = cv
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        check_gamma(self.gamma, ("auto", "median"))
        check_count("n_centers", self.n_centers)
        check_count("cv", self.cv, low=2)
        check_count("max_iter", self.max_iter)
        check_number("tol", self.tol, low=0, low_open=True)
        random_state = check_random_state(self.random_state)
        rows = prepare_rows(X_source, X_target, type(self).__name__)
        with few_threads((len(rows.source) + len(rows.target)) * self.n_centers):
            centers = choose_rows(rows.target, self.n_centers, random_state)
            self.gamma_, self.score_ = self._choose_gamma(rows, centers, random_state)
            ratio = self._fit_ratio(rows, centers)
        return rows.in_given_order(log_of(ratio))

    def _choose_gamma(self, rows, centers, random_state):
        if not isinstance(self.gamma, str):
            return float(self.gamma), None
        median = median_squared_distance(rows, random_state)
        if self.gamma == "median":
            return 0.5 / median, None
        drawn = [choose_rows(X, ROWS_FOR_CV, random_state) for X in rows[:2]]
        n_folds = min(self.cv, len(drawn[0]), len(drawn[1]))
        if n_folds < 2:
            return 0.0, None
        folds = [assign_folds(len(X), n_folds, random_state) for X in drawn]
        distances = [compute_squared_distances(X, centers) for X in drawn]
        gamma, score = 0.0, 0.0  # equal weights have a log ratio of 0
        for width in reversed(WIDTHS):
            candidate = 0.5 / (width**2 * median)
            kernels = _compute_kernels(*distances, candidate)
            candidate_score = _score_held_out(*kernels, *folds, n_folds, self.max_iter, self.tol)
            if candidate_score > score:
                gamma, score = candidate, candidate_score
        return gamma, float(score)

    def _fit_ratio(self, rows, centers):
        self.objective_ = np.zeros(0)
        if self.gamma_ == 0:
            return np.ones(len(rows.source))
        distances = [compute_squared_distances(X, centers) for X in rows[:2]]
        kernel_source, kernel_target = _compute_kernels(*distances, self.gamma_, in_place=True)
        reached = kernel_target.max(axis=1, initial=0) > UNREACHED
        if not reached.any():
            warnings.warn(
                f"Got gamma={self.gamma!r}, but no source row lies within three widths of the "
                "kernel from a center, so all weights are equal; lower gamma.",
                LowOverlapWarning,
                stacklevel=4,
            )
            return np.ones(len(rows.source))
        coefficients, self.objective_ = _maximize(
            kernel_target[reached],
            np.ones((np.count_nonzero(reached), 1)),
            kernel_source.mean(axis=0)[:, None],
            self.max_iter,
            self.tol,
        )
        gains = np.diff(self.objective_)
        if len(gains) and len(gains) + 1 == self.max_iter and gains[-1] >= self.tol:
            warnings.warn(
                f"The ratio did not converge in max_iter={self.max_iter} steps; raise max_iter "
                "or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return (kernel_source @ coefficients)[:, 0]


def _compute_kernels(source_distances, target_distances, gamma, in_place=False):
    """Return the kernels of the centers that have a source row within reach."""
    near = source_distances.min(axis=0) * gamma <= FAR
    if not near.all():
        source_distances, target_distances = source_distances[:, near], target_distances[:, near]
        in_place = True
    return tuple(
        compute_kernel(distances, gamma, out=distances if in_place else None)
        for distances in (source_distances, target_distances)
    )


def _score_held_out(
    kernel_source, kernel_target, source_folds, target_folds, n_folds, max_iter, tol
):
    """Return the mean log ratio of held-out target rows, less the log mean of the source's."""
    reached = kernel_target.max(axis=1, initial=0) > UNREACHED
    in_rest = (target_folds[:, None] != np.arange(n_folds)).astype(np.float64)
    if not (in_rest[reached].sum(axis=0) > 0).all():
        return -np.inf
    fold_sums = np.stack([kernel_source[source_folds == k].sum(axis=0) for k in range(n_folds)], 1)
    n_rest = len(kernel_source) - np.bincount(source_folds, minlength=n_folds)
    source_means = (fold_sums.sum(axis=1, keepdims=True) - fold_sums) / n_rest
    source_means = np.maximum(source_means, UNREACHED / len(kernel_source))
    coefficients, _ = _maximize(
        kernel_target[reached], in_rest[reached], source_means, max_iter, tol
    )
    target_ratio = np.take_along_axis(kernel_target @ coefficients, target_folds[:, None], axis=1)
    source_ratio = np.take_along_axis(kernel_source @ coefficients, source_folds[:, None], axis=1)
    if not source_ratio.any():
        return -np.inf
    return np.log(np.maximum(target_ratio, UNREACHED)).mean() - np.log(source_ratio.mean())


def _maximize(kernel, counts, source_means, max_iter, tol):
    """Maximise the mean log ratio by expectation maximisation, several problems at once.

    Parameters
    ----------
    kernel : array of shape (n_target, n_centers)
        Kernel of the target rows.

    counts : array of shape (n_target, n_problems)
        How often each row counts in each problem.

    source_means : array of shape (n_centers, n_problems)
        Mean kernel of the source rows.

    max_iter : int
        Most steps.

    tol : float
        Gain of the objective, in the mean over problems, at which to stop.

    Returns
    -------
    coefficients : array of shape (n_centers, n_problems)
        Such that ``(coefficients * source_means).sum(axis=0)`` is 1.

    objective : array of shape (n_iter,)
        Mean over problems after each step.
    """
    shares = counts / counts.sum(axis=0)
    coefficients = 1 / (len(source_means) * source_means)
    ratio = kernel @ coefficients
    objective = [np.sum(shares * np.log(ratio)) / shares.shape[1]]
    for _ in range(max_iter):
        coefficients = coefficients * (kernel.T @ (shares / ratio)) / source_means
        ratio = kernel @ coefficients
        objective.append(np.sum(shares * np.log(ratio)) / shares.shape[1])
        if objective[-1] - objective[-2] < tol:
            break
    return coefficients, np.array(objective[1:])
