"""HScore: how much of the features' variance lies between the classes, shrunken."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from sktransfer.evaluation._principal_axes import PrincipalAxes, standardize
from sktransfer.evaluation._transferability_method import TransferabilityMethod
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_number


class HScore(TransferabilityMethod):
    r"""Shrunken H-score: variance between classes relative to all variance [1]_, [2]_.

    .. math:: H = \operatorname{tr}\left(\Sigma_\alpha^{-1} (1 - \alpha) \Sigma_B \right), \quad
       \Sigma_\alpha = (1 - \alpha) \Sigma + \alpha \frac{\operatorname{tr} \Sigma}{d} I

    with the covariance :math:`\Sigma` of the features and :math:`\Sigma_B` that of the means of
    the classes. The share :math:`\alpha` is that of Ledoit and Wolf [3]_. The score lies between
    0 and the number of classes less one.

    For numbers, the means of the classes are replaced by the linear regression of the features on
    y, which for classes as columns of 0 and 1 are their means; the largest score is the number of
    columns.

    Parameters
    ----------
    shrinkage : "auto" or float in [0, 1], default="auto"
        "auto": Ledoit and Wolf's. 0 is the score of [1]_, which tends to its largest value as d
        approaches n, whatever the features are.

    Notes
    -----
    Values of targets with another number of classes cannot be compared. Features that are white,
    all of one variance and uncorrelated, as after whitening, cannot be told from noise by this
    share: it tends to 1, and the score to 0. Score features as the network gives them.

    References
    ----------
    .. [1] Y. Bao et al., "An information-theoretic approach to transferability in task transfer
       learning", ICIP 2019.
    .. [2] S. Ibrahim, N. Ponomareva and R. Mazumder, "Newer is not always better: Rethinking
       transferability metrics, their peculiarities, stability and performance", ECML PKDD 2022.
    .. [3] O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
       matrices", Journal of Multivariate Analysis 88(2), 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.evaluation import HScore
    >>> rng = np.random.default_rng(0)
    >>> noise, y = rng.normal(size=(200, 512)), np.arange(200) % 10
    >>> round(HScore(shrinkage=0.0).score(noise, y), 2)
    9.0
    >>> HScore().score(noise, y) < 0.5
    True
    """

    def __init__(self, *, shrinkage="auto"):
        self.shrinkage = shrinkage

    def _check_parameters(self):
        if not (isinstance(self.shrinkage, str) and self.shrinkage == "auto"):
            check_number("shrinkage", self.shrinkage, low=0, high=1)

    def _score(self, F, targets):
        features = standardize(F)
        if not features.any():
            return 0.0
        between = _orthonormalize(targets.columns - targets.columns.mean(axis=0))
        with few_threads(F.size):
            if self.shrinkage == 0:
                return _score_raw(features, between)
            return _score_shrunken(features, between, self.shrinkage)


def _score_raw(features, between):
    """Return the score with the pseudo-inverse of the covariance."""
    axes = PrincipalAxes(features)
    return float((axes.project(between) ** 2 / axes.squares[:, None]).sum())


def _score_shrunken(features, between, shrinkage):
    n, d = features.shape
    is_wide = n < d
    gram = features @ features.T if is_wide else features.T @ features
    if shrinkage == "auto":
        shrinkage = measure_shrinkage(features, gram)
    projected = features.T @ between
    # The mean squared norm of the features is one, so the trace of their covariance is, too.
    matrix = gram * ((1 - shrinkage) / n)
    matrix[np.diag_indices(len(matrix))] += shrinkage / d
    factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    if is_wide:
        # F (a I + F'F)^-1 F' = (a I + FF')^-1 FF'
        product = gram @ between
        ratio = np.vdot(between, cho_solve(factor, product))
    else:
        ratio = np.vdot(projected, cho_solve(factor, projected))
    return float((1 - shrinkage) * ratio / n)


def measure_shrinkage(features, gram):
    """Return the share of the identity in the covariance by Ledoit and Wolf.

    The same number as `sklearn.covariance.ledoit_wolf_shrinkage` gives, which multiplies matrices
    of the size of the features two times more: the fourth moments only need the norms of rows.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Centred.
    gram : ndarray
        The product of the features with themselves, over rows or over columns.
    """
    n, d = features.shape
    norms = np.einsum("ij,ij->i", features, features)
    mean = norms.sum() / n / d
    squared = np.vdot(gram, gram) / n**2
    distance = (squared - d * mean**2) / d
    noise = (np.vdot(norms, norms) / n - squared) / (n * d)
    # Of one column, say, whose covariance is the identity already, rounding leaves a distance.
    if noise <= 0 or distance <= 1e-14 * mean**2:
        return 0.0
    return float(min(noise / distance, 1.0))


def _orthonormalize(columns):
    """Return an orthonormal basis of what the columns span."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, singular > singular[0] * 1e-10]
