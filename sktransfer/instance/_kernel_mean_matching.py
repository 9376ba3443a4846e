"""Weights that bring the mean of the source to the mean of the target, in a kernel's space."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._kernels import (
    assign_folds,
    check_gamma,
    choose_landmarks,
    compute_kernel,
    compute_squared_distances,
    log_of,
    median_squared_distance,
)
from sktransfer.instance._reach import prepare_rows_within_reach
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["KernelMeanMatching"]

N_RIDGES = 13
SMALLEST_RIDGE = 1e-6  # below, Newton steps take hundreds, for the same discrepancy
LARGEST_RIDGE = 10.0
ROWS_AT_ONCE = 10_000
SMALLEST_GRADIENT = 1e-14
MOST_WITHIN_REACH = 0.95  # share of the source rows; few that are beyond take little weight
NO_DIRECTION = 1e-10  # share of the largest eigenvalue below which a direction is rounding


class KernelMeanMatching(BaseWeighting):
    r"""Weight source rows so that their mean, in a kernel's feature space, is the target's.

    The weights solve [1]_

    .. math::

        \min_w \; \frac{1}{2} \Big\| \frac{1}{n_s} \sum_{i} w_i \phi(x_i)
        - \frac{1}{n_t} \sum_{j} \phi(x_j) \Big\|^2
        + \frac{\lambda}{2 n_s} \sum_i (w_i - 1)^2
        \quad \text{with} \quad 0 \le w_i \le B, \;\; \frac{1}{n_s} \sum_i w_i = 1

    where :math:`\langle \phi(x), \phi(z) \rangle = \exp(-\gamma \|x - z\|^2)`. The paper has no
    :math:`\lambda`, and its weights follow whatever the rows have by chance: on equal domains
    they are far from equal. With it, weights are values of a smooth function of the row where no
    bound holds, which is the least-squares estimate of the density ratio [2]_. So
    :math:`\lambda` can be chosen by how well this function predicts rows that were held out, and
    comes out large where the domains do not differ.

    Source rows that are farther from the target than all of its rows are from each other have no
    weight, where they are more than 5 % of the source, more than by chance, and the others can
    carry all weight within :math:`B`: the kernel says nothing of rows that far away, and
    :math:`\lambda` would give them the weight 1.

    Columns are standardised over both domains, without the rows beyond reach. The kernel is
    approximated from a sample of the rows (Nyström), and is exact where ``n_components`` is no
    less than the number of rows of both domains. Time and memory grow linearly with the number
    of rows.

    Parameters
    ----------
    gamma : float or "median", default="median"
        Of the kernel, on standardised columns: ``"median"`` is :math:`1 / (2 m^2)` with the
        median distance :math:`m` between rows.

    ridge : float >= 1e-6 or "auto", default="auto"
        :math:`\lambda`, how strongly weights are drawn to 1. ``"auto"`` chooses by
        cross-validation; where a domain has fewer than two rows, nothing can be held out, and
        all weights are equal.

    bound : float >= 1, default=50.0
        :math:`B`, the largest weight. Unlike with ``clip``, the other weights make up for what
        the heaviest cannot carry.

    n_components : int, default=200
        Number of rows, half of them from each domain, from which the kernel is approximated.

    cv : int, default=5
        Number of folds for ``ridge="auto"``, at least 2.

    max_iter : int, default=100
        Most Newton steps.

    tol : float > 0, default=1e-6
        Norm of the gradient at which to stop, as a share of that at equal weights.

    flatten : float in [0, 1], default=1.0
        Exponent of the weights: 1 leaves them as they are, 0 makes all equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : default=None
        See :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Draws the rows for the approximation and the folds.

    Attributes
    ----------
    gamma_, ridge_ : float
        As chosen. A ``ridge_`` of infinity stands for equal weights.

    n_iter_ : int
        Number of Newton steps.

    discrepancy_ : float
        Distance of the means that is left between weighted source and target, from 0 to
        :math:`\sqrt{2}`.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`. ``log_ratio_`` is ``-inf`` for rows without weight.

    See Also
    --------
    ULSIF : The least-squares estimate itself.

    Notes
    -----
    The dual problem has as many variables as the kernel has components, is smooth and strongly
    convex. It is solved by Newton steps; the bounds and the mean hold exactly after each.

    Matching means says much of rows with a large ratio and little of those with a small one,
    many of which have no weight at all: their order says nothing. Where it matters, use
    :class:`KLIEP` or :class:`DomainClassifierWeighting`.

    References
    ----------
    .. [1] Huang, Smola, Gretton, Borgwardt and Schölkopf, "Correcting sample selection bias by
       unlabeled data", NIPS 2006; Gretton et al., "Covariate shift by kernel mean matching", in
       Dataset Shift in Machine Learning, 2009.
    .. [2] Kanamori, Suzuki and Sugiyama, "Statistical analysis of kernel-based least-squares
       density-ratio estimation", Machine Learning, 2012.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.instance import KernelMeanMatching
    >>> domains = make_covariate_shift(500, 200, random_state=0)
    >>> weighting = KernelMeanMatching(random_state=0)
    >>> weights = weighting.compute_weights(domains.X_source, domains.X_target)
    >>> before = domains.X_source.mean(axis=0) - domains.X_target.mean(axis=0)
    >>> after = weights @ domains.X_source / 500 - domains.X_target.mean(axis=0)
    >>> bool(abs(after).max() < abs(before).max() / 5)
    True
    """

    _compares_rows = True

    def __init__(
        self,
        *,
        gamma="median",
        ridge="auto",
        bound=50.0,
        n_components=200,
        cv=5,
        max_iter=100,
        tol=1e-6,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.gamma = gamma
        self.ridge = ridge
        self.bound = bound
        self.n_components = n_components
        self.cv = cv
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        self._check_parameters()
        random_state = check_random_state(self.random_state)
        with few_threads((len(X_source) + len(X_target)) * self.n_components):
            reach = prepare_rows_within_reach(
                X_source,
                X_target,
                type(self).__name__,
                least_share=1 / self.bound,  # fewer rows could not carry all weight
                most_share=MOST_WITHIN_REACH,
            )
            rows, bound = reach.rows, max(self.bound * reach.share, 1.0)
            if isinstance(self.gamma, str):
                self.gamma_ = 0.5 / median_squared_distance(rows, random_state)
            else:
                self.gamma_ = float(self.gamma)
            phi_source, phi_target = _approximate_features(
                rows, self.gamma_, self.n_components, random_state
            )
            if self.ridge == "auto":
                self.ridge_ = _choose_ridge(phi_source, phi_target, bound, self.cv, random_state)
            else:
                self.ridge_ = float(self.ridge)
            weights = self._match_means(phi_source, phi_target.mean(axis=0), bound)
        return reach.in_given_order(log_of(weights / reach.share))

    def _check_parameters(self):
        check_gamma(self.gamma, ("median",))
        if isinstance(self.ridge, str):
            check_option("ridge", self.ridge, ("auto",))
        else:
            check_number("ridge", self.ridge, low=SMALLEST_RIDGE)
        check_number("bound", self.bound, low=1)
        check_count("n_components", self.n_components)
        check_count("cv", self.cv, low=2)
        check_count("max_iter", self.max_iter)
        check_number("tol", self.tol, low=0, low_open=True)

    def _match_means(self, phi, target_mean, bound):
        """Take Newton steps on the dual until its gradient is small."""
        if self.ridge_ == np.inf:
            self.n_iter_ = 0
            self.discrepancy_ = float(np.linalg.norm(phi.mean(axis=0) - target_mean))
            return np.ones(len(phi))
        dual = _Dual(phi, target_mean, self.ridge_, bound)
        point = dual.evaluate(np.zeros(phi.shape[1]))
        enough = max(self.tol * np.linalg.norm(point.gradient), SMALLEST_GRADIENT)
        self.n_iter_ = 0
        while np.linalg.norm(point.gradient) > enough:
            if self.n_iter_ == self.max_iter:
                warnings.warn(
                    f"The weights did not converge in max_iter={self.max_iter} steps; raise "
                    "max_iter, tol or ridge.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
                break
            self.n_iter_ += 1
            point = dual.step_down(point)
        self.discrepancy_ = float(np.linalg.norm(point.weights @ phi / len(phi) - target_mean))
        return point.weights


class _Point(NamedTuple):
    direction: np.ndarray
    value: float
    gradient: np.ndarray
    weights: np.ndarray


class _Dual:
    """The dual problem: a convex function of a direction in the space of the features.

    At a direction ``u``, the weights are the nearest ones to ``1 + phi @ u`` that keep the bounds
    and the mean. Where they bring the means as close as the ridge allows, the gradient is zero.
    """

    def __init__(self, phi, target_mean, ridge, bound):
        self.phi = phi
        self.target_mean = target_mean
        self.ridge = ridge
        self.bound = bound

    def evaluate(self, direction):
        scores = self.phi @ direction
        weights = _project(1 + scores, self.bound)
        value = (
            0.5 * self.ridge * direction @ direction
            - direction @ self.target_mean
            + (weights * scores).mean()
            - 0.5 * ((weights - 1) ** 2).mean()
        )
        gap = weights @ self.phi / len(self.phi) - self.target_mean
        return _Point(direction, value, self.ridge * direction + gap, weights)

    def step_down(self, point):
        """Take a Newton step, halved until the value falls."""
        step = -cho_solve(cho_factor(self._compute_hessian(point.weights)), point.gradient)
        slope, length = point.gradient @ step, 1.0
        rounding = 1e-13 * (1 + abs(point.value))
        while True:
            new = self.evaluate(point.direction + length * step)
            if new.value <= point.value + 1e-4 * length * slope + rounding or length < 1e-10:
                return new
            length /= 2

    def _compute_hessian(self, weights):
        """Return the covariance of the rows at no bound, times their share, plus the ridge."""
        free = self.phi[(weights > 0) & (weights < self.bound)]
        hessian = free.T @ free / len(self.phi)
        if len(free):
            mean = free.mean(axis=0)
            hessian -= np.outer(mean, mean) * (len(free) / len(self.phi))
        hessian[np.diag_indices_from(hessian)] += self.ridge
        return hessian


def _approximate_features(rows, gamma, n_components, random_state):
    """Return features of the rows whose products approximate the kernel."""
    chosen = choose_landmarks(rows, n_components, random_state)
    kernel = compute_kernel(compute_squared_distances(chosen, chosen), gamma)
    values, vectors = np.linalg.eigh(kernel)
    keep = values > NO_DIRECTION * values[-1]
    whitening = vectors[:, keep] / np.sqrt(values[keep])

    def compute_features(X):
        features = np.empty((len(X), whitening.shape[1]))
        for start in range(0, len(X), ROWS_AT_ONCE):
            distances = compute_squared_distances(X[start : start + ROWS_AT_ONCE], chosen)
            kernel = compute_kernel(distances, gamma, out=distances)
            np.matmul(kernel, whitening, out=features[start : start + ROWS_AT_ONCE])
        return features

    return compute_features(rows.source), compute_features(rows.target)


def _choose_ridge(phi_source, phi_target, bound, n_folds, random_state):
    """Return the ridge with the least squared error of the ratio on held-out rows.

    Without bounds, the weights are the function ``1 + phi @ direction`` that minimises
    ``mean_source(w ** 2) / 2 - mean_target(w)`` plus the ridge; this is also what is scored.
    """
    n_source, n_target = len(phi_source), len(phi_target)
    n_folds = min(n_folds, n_source, n_target)
    if n_folds < 2:
        return np.inf
    ridges = np.geomspace(
        max(0.1 / min(n_source, n_target), SMALLEST_RIDGE), LARGEST_RIDGE, N_RIDGES
    )
    ridges = np.append(ridges, np.inf)
    source_folds = assign_folds(n_source, n_folds, random_state)
    target_folds = assign_folds(n_target, n_folds, random_state)
    grams, source_sums, target_sums = [], [], []
    for fold in range(n_folds):
        source, target = phi_source[source_folds == fold], phi_target[target_folds == fold]
        grams.append(source.T @ source)
        source_sums.append(source.sum(axis=0))
        target_sums.append(target.sum(axis=0))
    sum_of_squares, sum_of_ratios = np.zeros(len(ridges)), np.zeros(len(ridges))
    for fold in range(n_folds):
        source, target = phi_source[source_folds == fold], phi_target[target_folds == fold]
        n_rest_source, n_rest_target = n_source - len(source), n_target - len(target)
        values, vectors = np.linalg.eigh((sum(grams) - grams[fold]) / n_rest_source)
        gap = (sum(target_sums) - target_sums[fold]) / n_rest_target
        gap = gap - (sum(source_sums) - source_sums[fold]) / n_rest_source
        shrunk = (vectors.T @ gap)[:, None] / (np.maximum(values, 0)[:, None] + ridges)
        directions = vectors @ shrunk
        sum_of_squares += (np.clip(1 + source @ directions, 0, bound) ** 2).sum(axis=0)
        sum_of_ratios += np.clip(1 + target @ directions, 0, bound).sum(axis=0)
    risks = 0.5 * sum_of_squares / n_source - sum_of_ratios / n_target
    return float(ridges[len(risks) - 1 - np.argmin(risks[::-1])])


def _project(values, bound):
    """Return the nearest weights in [0, bound] with a mean of 1: ``clip(values + shift)``."""
    low, high = -values.max(), bound - values.min()
    shift = 1 - values.mean()
    for _ in range(100):
        weights = np.clip(values + shift, 0, bound)
        excess = weights.mean() - 1
        if abs(excess) < 1e-14:
            break
        low, high = (low, shift) if excess > 0 else (shift, high)
        n_free = np.count_nonzero((weights > 0) & (weights < bound))
        shift = shift - excess * len(values) / n_free if n_free else np.inf
        if not low < shift < high:
            shift = 0.5 * (low + high)
    return weights
