"""Rows of features along their principal axes, as far as the scores need them."""

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.linalg.lapack import dormqr, dsytrd, dsytrd_lwork


def standardize(F):
    """Return features with the mean zero and a mean squared norm of one, by one factor for all.

    Parameters
    ----------
    F : float64 ndarray of shape (n, d)

    Returns
    -------
    features : float64 ndarray of shape (n, d)
        Zeros if all rows are equal.
    """
    # First by the largest value, so that no square overflows.
    largest = np.abs(F).max()
    features = F / largest if largest > 0 else F.copy()
    features -= features.mean(axis=0)
    total = np.einsum("ij,ij->", features, features)
    # What rounding leaves of equal rows is no variance.
    if total <= features.size * np.finfo(float).eps ** 2:
        return np.zeros_like(features)
    return features / np.sqrt(total / len(features))


class PrincipalAxes:
    """Features F along the axes in which they vary, from the smaller of their Gram matrices.

    The Gram matrix is made tridiagonal, whose eigenvectors are found fast, and they are only
    multiplied with what is asked for. That takes less than the singular value decomposition by
    far, and gives its squared values to about 1e-15 of the largest.

    Parameters
    ----------
    features : float64 ndarray of shape (n, d)

    Attributes
    ----------
    squares : ndarray of shape (k,)
        The squared singular values that are not zero, k at most min(n, d).
    """

    def __init__(self, features):
        self._features = features
        n, d = features.shape
        self._is_wide = n < d
        gram = features @ features.T if self._is_wide else features.T @ features
        # With the work space that LAPACK asks for it is twice as fast.
        work, _ = dsytrd_lwork(len(gram), lower=1)
        packed, diagonal, beside, self._tau, _ = dsytrd(gram, lower=1, lwork=int(work))
        self._reflectors = np.asfortranarray(packed[1:, :-1])
        squares, vectors = eigh_tridiagonal(diagonal, beside)
        kept = squares > max(n, d) * np.finfo(float).eps * max(squares[-1], 0)
        self.squares, self._vectors = squares[kept], vectors[:, kept]

    def project(self, columns):
        """Return ``rows().T @ columns``, of shape (k, n_columns), without the rows."""
        if self._is_wide:
            lengths = np.sqrt(self.squares)[:, None]
            return lengths * (self._vectors.T @ self._reflect(columns, transpose=True))
        return self._vectors.T @ self._reflect(self._features.T @ columns, transpose=True)

    def rows(self):
        """Return the coordinates of the rows, of shape (n, k)."""
        axes = self._reflect(self._vectors, transpose=False)
        return axes * np.sqrt(self.squares) if self._is_wide else self._features @ axes

    def _reflect(self, columns, transpose):
        """Multiply with the orthogonal matrix that made the Gram matrix tridiagonal."""
        result = np.array(columns, dtype=np.float64, order="F")
        if len(self._tau):
            arguments = "L", "T" if transpose else "N", self._reflectors, self._tau
            rest = np.asfortranarray(result[1:])
            _, work, _ = dormqr(*arguments, rest, -1)
            result[1:], _, _ = dormqr(*arguments, rest, int(work[0]))
        return result
