"""A linear model whose coefficients vanish feature by feature."""

import numpy as np
from scipy.sparse.linalg import svds
from scipy.special import expit, softmax

__all__ = ["LINKS", "GroupLasso"]

MOST_STEPS = 5000
FEW = 500  # rows or columns up to which all eigenvalues are computed


# What the model expects given its scores, and how much that can change with them at most. The
# gradient of each loss (squares, cross-entropies) is what is expected less what was seen.
LINKS = {
    "identity": (lambda scores: scores, 1.0),
    "softmax": (lambda scores: softmax(scores, axis=1), 0.5),
    "sigmoid": (expit, 0.25),
}


class GroupLasso:
    r"""Minimise the mean loss plus the norms of the rows of the coefficients.

    .. math:: \frac{1}{\sum_i w_i} \sum_i w_i \ell(C^\top x_i + c, t_i) + \alpha \sum_j \|C_j\|_2

    with an intercept *c* that is free. Solved by accelerated proximal gradient steps (Beck and
    Teboulle, 2009), whose momentum starts anew where they overshoot (O'Donoghue and Candès, 2015).

    Parameters
    ----------
    X : float64 array of shape (n_rows, n_features)
    targets : float64 array of shape (n_rows, n_outputs)
        Numbers, or 0 and 1 for classes and labels; each class has a row.
    weight : float64 array of shape (n_rows,)
    link : {"identity", "softmax", "sigmoid"}
    """

    def __init__(self, X, targets, weight, link):
        self.X = X
        self.targets = targets
        self.share = weight / weight.sum()
        self.expect, curvature = LINKS[link]
        # 1 is for the column of ones that the intercept stands for.
        self.step = 1 / (curvature * (_largest_eigenvalue(X, self.share) + 1))
        self.start = np.vstack(
            [self._best_intercept(link), np.zeros((X.shape[1], targets.shape[1]))]
        )
        #: The least alpha at which all coefficients are zero.
        self.alpha_max = float(np.linalg.norm(self._gradient(self.start)[1:], axis=1).max())

    def solve(self, alpha, tolerance=1e-4):
        """Return the coefficients, the gradient of the mean loss there, and the number of steps.

        Steps end where no entry of the optimality conditions is missed by more than
        ``tolerance * alpha_max``.
        """
        current = extrapolated = self.start
        momentum = 1.0
        for n_steps in range(1, MOST_STEPS + 1):
            following = self._descend(extrapolated, self._gradient(extrapolated), alpha)
            moved = following - current
            if np.vdot(extrapolated - following, moved) > 0:
                momentum = 1.0
            increased = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            extrapolated = following + (momentum - 1) / increased * moved
            current, momentum = following, increased
            if n_steps % 10 == 0:
                gradient = self._gradient(current)
                missed = np.abs(self._descend(current, gradient, alpha) - current).max() / self.step
                if missed <= tolerance * self.alpha_max:
                    break
        return current[1:], self._gradient(current)[1:], n_steps

    def _gradient(self, parameters):
        slopes = self.expect(parameters[0] + self.X @ parameters[1:]) - self.targets
        slopes *= self.share[:, None]
        return np.vstack([slopes.sum(axis=0), self.X.T @ slopes])

    def _descend(self, parameters, gradient, alpha):
        """Take one step down the gradient, and shorten each row of the coefficients."""
        stepped = parameters - self.step * gradient
        norms = np.linalg.norm(stepped[1:], axis=1, keepdims=True)
        kept = 1 - self.step * alpha / np.maximum(norms, np.finfo(np.float64).tiny)
        stepped[1:] *= np.maximum(kept, 0)
        return stepped

    def _best_intercept(self, link):
        mean = self.share @ self.targets
        if link == "identity":
            return mean
        # Bounded, since a label may be the same in all rows.
        mean = np.clip(mean, 1e-6, 1 - 1e-6)
        if link == "sigmoid":
            return np.log(mean / (1 - mean))
        return np.log(mean) - np.log(mean).mean()


def _largest_eigenvalue(X, share):
    """Return the largest eigenvalue of ``X' diag(share) X``, or slightly more."""
    weighted = X * np.sqrt(share)[:, None]
    if min(X.shape) <= FEW:
        gram = weighted @ weighted.T if len(X) < X.shape[1] else weighted.T @ weighted
        return float(np.linalg.eigvalsh(gram)[-1])
    start = np.random.default_rng(0).normal(size=min(X.shape))
    singular = svds(weighted, k=1, v0=start, tol=1e-3, return_singular_vectors=False)
    return float(1.01 * singular[0] ** 2)
