"""Weights from kernel densities of both domains."""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state, gen_batches

from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._calibration import fit_line, log_loss
from sktransfer.instance._standard_columns import draw_in_order, to_standard_columns
from sktransfer.utils._threads import single_threaded_algebra
from sktransfer.utils._validation import check_count, check_number

__all__ = ["KernelDensityWeighting"]

FACTORS = 2.0 ** np.arange(-1.5, 3.1, 0.5)  # of Scott's bandwidth; wide ones fare best, calibrated
ROWS_TO_CHOOSE = 1000  # of each domain, on which bandwidths are compared
MOST_OF_TARGET = 0.95  # share of the target rows whose log ratios are believed
DISTANCES = 4_000_000  # held at a time


class KernelDensityWeighting(BaseWeighting):
    r"""Weight source rows by the ratio of two kernel densities.

    Both densities are sums of Gaussian kernels of one bandwidth,

    .. math:: \log w(x) = \log \hat p_{target}(x) - \log \hat p_{source}(x)

    and the density of a domain at one of its own rows leaves out that row. All is computed with
    logarithms, so that many columns give no 0 / 0. Columns are standardised over both domains;
    each category becomes a column.

    A bandwidth that suits a density is too narrow for a ratio, which falls apart where both are
    small. So the bandwidth is the one whose ratio tells the domains apart best, and the ratio
    is calibrated: its logarithm is shrunk or stretched to fit the domains.

    Parameters
    ----------
    bandwidth : float > 0 or "auto", default="auto"
        Standard deviation of the kernels, in standard deviations of the columns. "auto" takes
        the multiple of Scott's rule [1]_, ``n ** (-1 / (d + 4))``, from 0.35 to 8, with the
        least leave-one-out log loss on up to 1000 rows of each domain.

    calibrate : bool, default=True
        Whether to shrink or stretch the log ratio to fit the domains, and to bound it by the
        95th percentile of its values at target rows. Without it, it is the plain ratio of the
        densities.

    max_rows : int, default=10_000
        Most rows of each domain that carry kernels, at least 2; ``random_state`` draws them
        where there are more. The cost grows with this number times the number of source rows.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : Backbone, str, path, torch.nn.Module, fitted estimator or None, default=None
        Network in whose activations the rows are compared, see :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws; not used where there are no more than ``max_rows`` rows in a domain
        and the bandwidth is given, or no more than 1000.

    Attributes
    ----------
    bandwidth_ : float or None
        The bandwidth, with "auto" resolved. None where a domain has a single row, so that none
        can be left out; all weights are equal then.

    log_loss_ : float or None
        Leave-one-out log loss of the ratio as odds of the domains.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`.

    References
    ----------
    .. [1] Scott, "Multivariate Density Estimation", Wiley, 1992.

    Examples
    --------
    >>> from sktransfer.datasets import make_covariate_shift
    >>> from sktransfer.instance import KernelDensityWeighting
    >>> domains = make_covariate_shift(300, 200, random_state=0)
    >>> weights = KernelDensityWeighting().compute_weights(domains.X_source, domains.X_target)
    >>> weights.shape
    (300,)
    """

    def __init__(
        self,
        *,
        bandwidth="auto",
        calibrate=True,
        max_rows=10_000,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.bandwidth = bandwidth
        self.calibrate = calibrate
        self.max_rows = max_rows
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target):
        if self.bandwidth != "auto":
            check_number("bandwidth", self.bandwidth, low=0, low_open=True)
        check_count("max_rows", self.max_rows, low=2)
        random_state = check_random_state(self.random_state)
        source, target = to_standard_columns(X_source, X_target, type(self).__name__)
        self.bandwidth_ = self.log_loss_ = None
        if min(len(source), len(target)) < 2:
            return np.zeros(len(source))

        with single_threaded_algebra():
            drawn = draw_in_order(source, self.max_rows, random_state)
            in_target = draw_in_order(target, self.max_rows, random_state)
            self.bandwidth_ = self._choose_bandwidth(source[drawn], target[in_target], random_state)
            densities = _Densities(source[drawn], target[in_target], self.bandwidth_)
            log_ratio = np.empty(len(source))
            log_ratio[drawn] = densities.log_ratio_of_source()
            if len(drawn) < len(source):
                others = np.setdiff1d(np.arange(len(source)), drawn)
                log_ratio[others] = densities.log_ratio(source[others])
            fit = _Fit(log_ratio[drawn], densities.log_ratio_of_target(), self.calibrate)
        self.log_loss_, self.domain_auc_ = fit.log_loss, fit.auc
        return fit.apply(log_ratio)

    def _choose_bandwidth(self, source, target, random_state):
        if self.bandwidth != "auto":
            return float(self.bandwidth)
        few_source = source[draw_in_order(source, ROWS_TO_CHOOSE, random_state)]
        few_target = target[draw_in_order(target, ROWS_TO_CHOOSE, random_state)]
        losses = []
        for bandwidth in FACTORS * _scott(few_source, few_target):
            densities = _Densities(few_source, few_target, bandwidth)
            ratios = densities.log_ratio_of_source(), densities.log_ratio_of_target()
            losses.append(_Fit(*ratios, self.calibrate).log_loss)
        # Of equally good ones the widest, which varies least.
        best = len(losses) - 1 - int(np.argmin(losses[::-1]))
        return float(FACTORS[best] * _scott(source, target))


def _scott(source, target):
    return min(len(source), len(target)) ** (-1 / (source.shape[1] + 4))


class _Fit:
    """A line from the log ratio of kernel densities to log odds that fit the domains.

    Where both densities are small, their ratio may be anything. So what is larger than nearly
    all that target rows have is taken for as large as that.
    """

    def __init__(self, log_ratio_of_source, log_ratio_of_target, calibrate):
        n_source, n_target = len(log_ratio_of_source), len(log_ratio_of_target)
        self.prior = np.log(n_target / n_source)
        self.ceiling = np.quantile(log_ratio_of_target, MOST_OF_TARGET) if calibrate else np.inf
        raw = np.append(log_ratio_of_target, log_ratio_of_source)
        is_target = np.arange(len(raw)) < n_target
        log_odds = np.minimum(raw, self.ceiling) + self.prior
        self.slope, self.intercept = fit_line(log_odds, is_target) if calibrate else (1.0, 0.0)
        self.log_loss = log_loss(self.slope * log_odds + self.intercept, is_target)
        self.auc = float(roc_auc_score(is_target, raw))

    def apply(self, log_ratio):
        """Return the calibrated log ratio of rows of either domain."""
        log_odds = np.minimum(log_ratio, self.ceiling) + self.prior
        return self.slope * log_odds + self.intercept - self.prior


class _Densities:
    """The kernel densities of two domains, up to the same constant."""

    def __init__(self, source, target, bandwidth):
        self.source, self.target, self.bandwidth = source, target, bandwidth

    def log_ratio(self, rows):
        """Return the log ratio at rows that carry no kernel."""
        return self._log_density(rows, self.target) - self._log_density(rows, self.source)

    def log_ratio_of_source(self):
        own = self._log_density(self.source, self.source, leave_out=True)
        return self._log_density(self.source, self.target) - own

    def log_ratio_of_target(self):
        own = self._log_density(self.target, self.target, leave_out=True)
        return own - self._log_density(self.target, self.source)

    def _log_density(self, rows, centres, leave_out=False):
        log_density = np.empty(len(rows))
        squares = (centres**2).sum(axis=1)
        for batch in gen_batches(len(rows), max(1, DISTANCES // len(centres))):
            some = rows[batch]
            exponents = some @ centres.T
            exponents -= 0.5 * squares
            exponents -= 0.5 * (some**2).sum(axis=1)[:, None]
            # Rounding must not make a row nearer than itself.
            np.minimum(exponents, 0, out=exponents)
            exponents /= self.bandwidth**2
            if leave_out:
                exponents[np.arange(len(some)), np.arange(batch.start, batch.stop)] = -np.inf
            log_density[batch] = _log_sum_exp(exponents)
        return log_density - np.log(len(centres) - leave_out)


def _log_sum_exp(exponents):
    """Return the logarithms of the sums of rows, in place of ``exponents``."""
    largest = exponents.max(axis=1)
    exponents -= largest[:, None]
    np.exp(exponents, out=exponents)
    return largest + np.log(exponents.sum(axis=1))
