"""LogME: how likely the labels are under a Bayesian linear model of the features."""

import numpy as np
from scipy.optimize import minimize_scalar

from sktransfer.evaluation._principal_axes import PrincipalAxes, standardize
from sktransfer.evaluation._transferability_method import TransferabilityMethod
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_option

# Ratios of noise to signal that are tried, of the largest squared singular value: the range, and
# the numbers of a first search.
_LOWEST, _HIGHEST, _N_TRIED = 1e-12, 1e6, 91


class LogME(TransferabilityMethod):
    r"""Logarithm of the maximum evidence of a linear model, per row [1]_.

    Each column of y, of 0 and 1 for classes, is taken as :math:`y = F w + \varepsilon` with
    :math:`w \sim N(0, \alpha^{-1} I)` and :math:`\varepsilon \sim N(0, \beta^{-1} I)`. The score
    is the mean over the columns of

    .. math:: \max_{\alpha, \beta} \frac{1}{n} \log N(y \mid 0, \beta^{-1} I + \alpha^{-1} F F^\top)

    Parameters
    ----------
    center : bool, default=True
        Give the model an intercept: features and labels are centred, and n is one less. False is
        the model of the paper, whose score changes when a constant is added to the features.

    Notes
    -----
    With the ratio :math:`t = \alpha / \beta` fixed, the best :math:`\beta` is known in closed
    form, and what is left is the maximum of a function of one number, which is searched for on a
    grid and then to the end. So the result is the maximum, whatever the scale of the features.
    The iteration of the authors' code starts at :math:`\alpha = \beta = 1`, is stopped after
    eleven steps and adds constants of 1e-5, which makes its values depend on that scale; and where
    n < d it leaves out the d - n singular values that are zero, each of which adds
    :math:`-\frac{1}{2} \log \alpha` to the evidence, so that its values depend on d.

    Numbers are standardised, so that their unit does not matter. Values can be compared between
    features of the same rows only; they are no accuracies and have no zero. Of labels that the
    features fit without error the evidence is infinite; it is held finite by a least ratio.

    References
    ----------
    .. [1] K. You, Y. Liu, J. Wang and M. Long, "LogME: Practical assessment of pre-trained models
       for transfer learning", ICML 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktransfer.evaluation import LogME
    >>> X, y = load_iris(return_X_y=True)
    >>> LogME().score(X, y) > LogME().score(X[:, :1], y)
    True
    """

    def __init__(self, *, center=True):
        self.center = center

    def _check_parameters(self):
        check_option("center", self.center, (True, False))

    def _score(self, F, targets):
        columns, n = targets.columns, len(F)
        if not targets.are_classes:
            columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        if self.center:
            features, columns, n = standardize(F), columns - columns.mean(axis=0), n - 1
        else:
            features = F / (np.abs(F).max() or 1.0)
        with few_threads(F.size):
            axes = PrincipalAxes(features)
            explained = axes.project(columns) ** 2 / axes.squares[:, None]
        totals = (columns**2).sum(axis=0)
        evidences = [
            _maximize_evidence(axes.squares, c, total, n)
            for c, total in zip(explained.T, totals, strict=True)
        ]
        return float(np.mean(evidences) / n)


def _maximize_evidence(squares, explained, total, n):
    """Return the maximum of the log evidence over the variances of signal and noise.

    Parameters
    ----------
    squares : ndarray of shape (k,)
        Squared singular values of the features that are not zero.
    explained : ndarray of shape (k,)
        Squared length of y along each left singular vector.
    total : float
        Squared length of y.
    n : int
        Number of rows, less what centring takes.
    """
    # Without features.
    nothing = _evidence(np.log(total / n), 0.0, n)
    if not len(squares):
        return nothing
    rest = max(total - explained.sum(), 0.0) if len(squares) < n else 0.0

    def compute(log_t):
        ratios = squares / np.exp(np.asarray(log_t))[..., None]
        noise = ((explained / (1 + ratios)).sum(axis=-1) + rest) / n
        return _evidence(np.log(noise), np.log1p(ratios).sum(axis=-1), n)

    tried = np.log(squares.max()) + np.linspace(np.log(_LOWEST), np.log(_HIGHEST), _N_TRIED)
    values = compute(tried)
    best = int(np.argmax(values))
    around = tried[max(best - 1, 0)], tried[min(best + 1, _N_TRIED - 1)]
    found = minimize_scalar(
        lambda log_t: -compute(log_t), bounds=around, method="bounded", options={"xatol": 1e-9}
    )
    return max(nothing, float(values[best]), -float(found.fun))


def _evidence(log_noise, log_determinant, n):
    return -0.5 * (n * (np.log(2 * np.pi) + log_noise + 1) + log_determinant)
