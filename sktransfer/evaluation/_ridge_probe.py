"""RidgeProbe: the accuracy of a linear head, each row left out, without refitting it."""

import numpy as np

from sktransfer.evaluation._leave_one_out_probe import LeaveOneOutProbe
from sktransfer.evaluation._principal_axes import PrincipalAxes, standardize

_TINY = 1e-12


class RidgeProbe(LeaveOneOutProbe):
    r"""Leave-one-out accuracy of a ridge classifier, or R² of ridge regression, in closed form.

    The residual of a row that is left out is :math:`e_i / (1 - h_i)`, with its residual in the fit
    to all rows and its leverage [1]_; the intercept, which is not penalised, is part of the
    leverage. Classes are fitted as columns of 0 and 1, of which the largest wins. The penalty is
    the one with the least squared leave-one-out error.

    Parameters
    ----------
    alphas : sequence of float, default=None
        Penalties for features that are centred and have a mean squared norm of one, for the mean
        of the squared errors. None: twenty-five from 1e-7 to 10.

    Notes
    -----
    The penalty is chosen by the rows that are scored, by one number for all of them, which
    flatters little.

    References
    ----------
    .. [1] D. M. Allen, "The relationship between variable selection and data augmentation and a
       method for prediction", Technometrics 16(1), 1974.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktransfer.evaluation import RidgeProbe
    >>> X, y = load_iris(return_X_y=True)
    >>> round(RidgeProbe().score(X, y), 2)
    0.84
    """

    def __init__(self, alphas=None):
        self.alphas = alphas

    def _check_parameters(self):
        if self.alphas is None:
            return
        alphas = np.asarray(self.alphas)
        is_numbers = alphas.ndim == 1 and alphas.dtype.kind in "iuf" and alphas.size
        if not (is_numbers and np.isfinite(alphas).all() and (alphas > 0).all()):
            raise ValueError(
                f"Got alphas={self.alphas!r}, but expected a sequence of numbers > 0, or None."
            )

    def _predict(self, F, targets):
        alphas = np.logspace(-7, 1, 25) if self.alphas is None else np.asarray(self.alphas)
        features = standardize(F)
        # Of the mean squared error, hence times the number of rows.
        return predict_left_out(features, targets.columns, alphas * len(features))


def predict_left_out(features, columns, alphas):
    """Return what ridge regression without a row predicts for it, at the best penalty.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Centred.
    columns : ndarray of shape (n, n_columns)
    alphas : sequence of float
        Penalties on the squared norm of the coefficients, beside the sum of squared errors.

    Returns
    -------
    predictions : ndarray of shape (n, n_columns)
    """
    axes = PrincipalAxes(features)
    rows, squares = axes.rows(), axes.squares
    mean = columns.mean(axis=0)
    projected = axes.project(columns - mean)
    squared_rows = rows**2
    best, least = None, np.inf
    for alpha in alphas:
        leverages = 1 / len(rows) + squared_rows @ (1 / (squares + alpha))
        fitted = mean + rows @ (projected / (squares + alpha)[:, None])
        residuals = (columns - fitted) / np.maximum(1 - leverages, _TINY)[:, None]
        error = (residuals**2).sum()
        if error < least:
            best, least = columns - residuals, error
    return best
