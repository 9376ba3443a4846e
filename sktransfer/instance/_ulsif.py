"""Weights by a least-squares fit of the density ratio."""

import numpy as np
from sklearn.utils import check_random_state

from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._kernels import (
    WIDTHS,
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

__all__ = ["ULSIF"]

LARGEST_RIDGE = 1e4  # times the number of rows of the smaller domain
N_RIDGES = 9
ROUNDING = 1e-14  # share of the whole below which a difference or an eigenvalue is rounding
RISK_OF_EQUAL_WEIGHTS = -0.5


class ULSIF(BaseWeighting):
    r"""Weight source rows by the density ratio of least squared error.

    Unconstrained least-squares importance fitting [1]_, and its relative form [2]_, fit

    .. math::

        r(x) = \frac{p_{target}(x)}{\alpha \, p_{target}(x) + (1 - \alpha) \, p_{source}(x)}
        \approx \sum_l \theta_l \exp(-\gamma \|x - c_l\|^2)

    by least squares. With the vectors :math:`k(x)` of kernels at the centers :math:`c_l`,

    .. math::

        \theta = (H + \lambda I)^{-1} h, \quad
        H = \alpha \, \overline{k k^\top}_{target} + (1 - \alpha) \, \overline{k k^\top}_{source},
        \quad h = \overline{k}_{target}

    where bars are means over the rows of a domain. A negative ratio counts as 0. Everything has
    a closed form, leave-one-out included, so both :math:`\gamma` and :math:`\lambda` are chosen
    by it.

    Source rows that are farther from the target than all of its rows are from each other have no
    weight, unless as many would be as far by chance. Least squares makes waves there: a negative
    ratio, and beyond it a positive one, for nothing.

    Columns are standardised over both domains, without the rows beyond reach. Time and memory
    grow linearly with the number of rows.

    Parameters
    ----------
    alpha : float in [0, 1], default=0.0
        0 is the plain ratio. The relative ratio is at most :math:`1 / \alpha`, and so varies
        less: 0.1 to 0.5 where some rows would carry too much weight.

    gamma : float, "median" or "auto", default="auto"
        Of the kernel, on standardised columns: ``"median"`` is :math:`1 / (2 m^2)` with the
        median distance :math:`m` between rows; ``"auto"`` tries widths from 0.18 to 1.5 times
        as large, and equal weights.

    ridge : float > 0 or "auto", default="auto"
        :math:`\lambda`; ``"auto"`` tries values from :math:`1 / \min(n_s, n_t)` upwards.

    n_centers : int, default=150
        Number of centers, half of them drawn from each domain. The papers draw from the target
        only; centers in the source let the ratio fall where the target is rare.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : default=None
        See :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Draws the centers.

    Attributes
    ----------
    gamma_, ridge_ : float
        As chosen. A ``gamma_`` of 0 stands for equal weights.

    risk_ : float or None
        Leave-one-out estimate of the squared error, up to a constant; -0.5 are equal weights.
        None where nothing was chosen.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`. ``log_ratio_`` is of the relative ratio, and ``-inf`` for
        rows without weight.

    Notes
    -----
    The squared error of a ratio :math:`r` is, up to a constant,

    .. math::

        \tfrac{\alpha}{2} \, \overline{r^2}_{target}
        + \tfrac{1 - \alpha}{2} \, \overline{r^2}_{source} - \overline{r}_{target}

    Here :math:`r` at a row is that of the fit without this row, and without any other. The paper
    leaves out a row of each domain at a time, in pairs; with one at a time, no pairs need to be
    formed where the domains differ in their numbers of rows, and each row of both counts. Where
    a domain has fewer than two rows, nothing can be left out, and all weights are equal unless
    ``gamma`` and ``ridge`` are given.

    The paper of the plain ratio sets negative :math:`\theta_l` to 0 instead of a negative ratio.
    That costs accuracy: it takes coefficients of both signs to make narrow shapes of wide kernels.

    The error is small where the ratio is large; among rows whose ratio is next to nothing, the
    order of the weights says nothing, and many are 0. Where the order of such rows matters, use
    :class:`KLIEP` or :class:`DomainClassifierWeighting`.

    References
    ----------
    .. [1] Kanamori, Hido and Sugiyama, "A least-squares approach to direct importance
       estimation", Journal of Machine Learning Research, 2009.
    .. [2] Yamada, Suzuki, Kanamori, Hachiya and Sugiyama, "Relative density-ratio estimation
       for robust distribution comparison", NIPS 2011; Neural Computation, 2013.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.instance import ULSIF
    >>> domains = make_covariate_shift(500, 200, random_state=0)
    >>> plain, relative = (ULSIF(alpha=alpha, random_state=0) for alpha in (0.0, 0.5))
    >>> weights = plain.compute_weights(domains.X_source, domains.X_target)
    >>> weights = relative.compute_weights(domains.X_source, domains.X_target)
    >>> plain.effective_sample_size_ < relative.effective_sample_size_
    True
    """

    _compares_rows = True

    def __init__(
        self,
        *,
        alpha=0.0,
        gamma="auto",
        ridge="auto",
        n_centers=150,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.alpha = alpha
        self.gamma = gamma
        self.ridge = ridge
        self.n_centers = n_centers
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        check_number("alpha", self.alpha, low=0, high=1)
        check_gamma(self.gamma, ("auto", "median"))
        if isinstance(self.ridge, str):
            check_option("ridge", self.ridge, ("auto",))
        else:
            check_number("ridge", self.ridge, low=0, low_open=True)
        check_count("n_centers", self.n_centers)
        random_state = check_random_state(self.random_state)
        with few_threads((len(X_source) + len(X_target)) * self.n_centers):
            reach = prepare_rows_within_reach(X_source, X_target, type(self).__name__)
            # Source rows beyond reach have a ratio of 0, and count as such in the mean squares.
            level = self.alpha + (1 - self.alpha) * reach.share
            ratio = self._fit_ratio(reach.rows, self.alpha / level, random_state)
        return reach.in_given_order(log_of(np.maximum(ratio, 0) / level))

    def _fit_ratio(self, rows, alpha, random_state):
        centers = choose_landmarks(rows, self.n_centers, random_state)
        distances = [compute_squared_distances(X, centers) for X in rows[:2]]
        self._choose_parameters(rows, distances, alpha, random_state)
        if self.gamma_ == 0:
            return np.ones(len(rows.source))
        kernels = [compute_kernel(d, self.gamma_) for d in distances]
        return kernels[0] @ _solve(*kernels, alpha, self.ridge_)

    def _choose_parameters(self, rows, distances, alpha, random_state):
        n_least = min(len(rows.source), len(rows.target))
        widths = WIDTHS if self.gamma == "auto" else (1.0,)
        if isinstance(self.gamma, str):
            median = median_squared_distance(rows, random_state)
            gammas = [0.5 / (width**2 * median) for width in widths]
        else:
            gammas = [float(self.gamma)]
        if isinstance(self.ridge, str):
            ridges = np.geomspace(1, LARGEST_RIDGE, N_RIDGES) / n_least
        else:
            ridges = np.array([float(self.ridge)])

        self.gamma_, self.ridge_, self.risk_ = gammas[0], float(ridges[0]), None
        if len(gammas) * len(ridges) == 1:
            return
        self.gamma_, self.ridge_ = 0.0, np.inf
        if n_least < 2:
            return
        self.risk_ = RISK_OF_EQUAL_WEIGHTS
        for gamma in gammas:
            kernels = [compute_kernel(d, gamma) for d in distances]
            risks = _leave_one_out_risks(*kernels, alpha, ridges)
            best = np.argmin(risks)
            if risks[best] < self.risk_:
                self.gamma_, self.ridge_ = gamma, float(ridges[best])
                self.risk_ = float(risks[best])


def _solve(kernel_source, kernel_target, alpha, ridge):
    """Return the coefficients of the ratio."""
    matrix = _mix_second_moments(kernel_source, kernel_target, alpha, 1.0, 1.0)
    values, vectors = _decompose(matrix)
    return vectors @ (vectors.T @ kernel_target.mean(axis=0) / (values + ridge))


def _leave_one_out_risks(kernel_source, kernel_target, alpha, ridges):
    r"""Return the leave-one-out squared error for each ridge, up to a constant.

    Without one source row, whose kernels are :math:`k`, the matrix of the linear system is
    :math:`A - c k k^\top` with :math:`c = (1 - \alpha) / (n_s - 1)`, and so, by Sherman and
    Morrison, the ratio at that row is :math:`g / (1 - c q)` with :math:`g = k^\top A^{-1} h` and
    :math:`q = k^\top A^{-1} k`. The same holds without a target row, with
    :math:`c = \alpha / (n_t - 1)`; there :math:`h` changes too. In the eigenvectors of
    :math:`A`, which do not depend on the ridge, this is a sum over centers.

    Parameters
    ----------
    kernel_source, kernel_target : arrays of shape (n_source, n_centers), (n_target, n_centers)

    alpha : float in [0, 1]

    ridges : array of shape (n_ridges,)

    Returns
    -------
    risks : array of shape (n_ridges,)
    """
    n_source, n_target = len(kernel_source), len(kernel_target)
    mean = kernel_target.mean(axis=0)

    matrix = _mix_second_moments(
        kernel_source, kernel_target, alpha, n_source / (n_source - 1), 1.0
    )
    linear, quadratic = _solve_forms(matrix, kernel_source, mean, ridges)
    at_source = linear / np.maximum(1 - (1 - alpha) / (n_source - 1) * quadratic, ROUNDING)

    matrix = _mix_second_moments(
        kernel_source, kernel_target, alpha, 1.0, n_target / (n_target - 1)
    )
    linear, quadratic = _solve_forms(matrix, kernel_target, mean, ridges)
    at_target = (n_target * linear - quadratic) / (n_target - 1)
    at_target /= np.maximum(1 - alpha / (n_target - 1) * quadratic, ROUNDING)

    at_source, at_target = np.maximum(at_source, 0), np.maximum(at_target, 0)
    squares = alpha * (at_target**2).mean(axis=0) + (1 - alpha) * (at_source**2).mean(axis=0)
    return 0.5 * squares - at_target.mean(axis=0)


def _mix_second_moments(kernel_source, kernel_target, alpha, source_factor, target_factor):
    mixed = kernel_source.T @ kernel_source
    mixed *= (1 - alpha) * source_factor / len(kernel_source)
    if alpha > 0:
        factor = alpha * target_factor / len(kernel_target)
        mixed += factor * (kernel_target.T @ kernel_target)
    return mixed


def _solve_forms(matrix, kernel, mean, ridges):
    """Return ``k' A^-1 mean`` and ``k' A^-1 k`` for each row ``k`` of the kernel and each ridge."""
    values, vectors = _decompose(matrix)
    inverse = 1 / (values[:, None] + ridges)
    rotated = kernel @ vectors
    linear = rotated @ (inverse * (vectors.T @ mean)[:, None])
    return linear, np.square(rotated, out=rotated) @ inverse


def _decompose(matrix):
    """Return eigenvalues and eigenvectors of a positive matrix, those of rounding raised."""
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values, ROUNDING * values[-1]), vectors
