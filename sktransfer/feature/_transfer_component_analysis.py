"""TransferComponentAnalysis."""

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state

from sktransfer.feature._base_alignment import BaseAlignment
from sktransfer.feature._column_statistics import column_statistics, divide_by_scale
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["TransferComponentAnalysis"]

AUTO_COMPONENTS = 20
ROWS_FOR_MEDIAN = 1000


class TransferComponentAnalysis(BaseAlignment):
    r"""Find the components of a kernel in which the means of the domains hardly differ.

    Both domains move, by one map: rows are given by components that keep much variance while
    the distance between the means of the domains (the maximum mean discrepancy) is small [1]_:

    .. math::
        \max_W \operatorname{tr}(W^\top K H K W)
        \quad\text{with}\quad W^\top (K L K + \mu I) W = I

    K is the kernel matrix of the rows of both domains, H centres, and L gives the discrepancy. The
    components K W are centred between the means of the domains.

    Parameters
    ----------
    source : SourceDomain or None, default=None
        Source rows. Labels are not used. Without a source there is a warning, and nothing moves.

    n_components : int or "auto", default="auto"
        Number of components. "auto": 20, or half of the columns if there are fewer than 40.

    kernel : {"linear", "rbf"}, default="linear"
        Kernel of the rows. Means of linear components can be made equal however far apart the
        domains are; rows that are far apart are all alike to the rbf kernel, so that there the
        domains should overlap.

    gamma : float > 0 or None, default=None
        Of ``exp(-gamma * distance ** 2)``. None: one over the median squared distance.

    regularization : float > 0, default=1.0
        :math:`\mu`. Small values insist on equal means, large ones on variance; with large ones,
        this is kernel PCA of both domains.

    standardize : bool, default=True
        Whether columns are centred and divided by their standard deviation over both domains,
        each of which counts as one half.

    max_landmarks : int, default=1000
        The rbf kernel is exact up to so many rows of both domains together. Beyond, it is
        approximated (Nyström) from this number of rows, drawn at random, so that time grows with
        the number of rows and not with its cube.

    random_state : int, RandomState instance or None, default=None
        Seed of that draw.

    Attributes
    ----------
    n_components_ : int
        Number of components, at most as many as the kernel matrix has directions.

    gamma_ : float or None
        The gamma that was used, if any.

    objective_ : float
        The value of the maximum above.

    source_ : array of shape (n_source, n_components)
        The aligned rows of the source.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.

    Notes
    -----
    L has rank one, so that the square root of the constraint is known (Sherman and Morrison),
    and one symmetric eigenproblem of the size of the landmarks (of the columns, for the linear
    kernel) is left.

    Domains of the same rows have nothing to correct, and get kernel PCA.

    References
    ----------
    .. [1] Pan, Tsang, Kwok and Yang, "Domain adaptation via transfer component analysis", IEEE
       Transactions on Neural Networks, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import SourceDomain, TransferComponentAnalysis
    >>> rng = np.random.default_rng(0)
    >>> X_source, X_target = rng.normal(size=(300, 4)), rng.normal(size=(200, 4)) + [3, 0, 0, 0]
    >>> alignment = TransferComponentAnalysis(SourceDomain(X_source)).fit(X_target)
    >>> difference = alignment.transform_source().mean(axis=0) - alignment.transform(X_target).mean(
    ...     0
    ... )
    >>> bool(abs(difference).max() < 0.01)
    True
    """

    _keeps_columns = False

    def __init__(
        self,
        source=None,
        *,
        n_components="auto",
        kernel="linear",
        gamma=None,
        regularization=1.0,
        standardize=True,
        max_landmarks=1000,
        random_state=None,
    ):
        super().__init__(source)
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.regularization = regularization
        self.standardize = standardize
        self.max_landmarks = max_landmarks
        self.random_state = random_state

    def _check_parameters(self):
        if not (isinstance(self.n_components, str) and self.n_components == "auto"):
            check_count("n_components", self.n_components)
        check_option("kernel", self.kernel, ("linear", "rbf"))
        if self.gamma is not None:
            check_number("gamma", self.gamma, low=0, low_open=True)
        check_number("regularization", self.regularization, low=0, low_open=True)
        check_option("standardize", self.standardize, (True, False))
        check_count("max_landmarks", self.max_landmarks)
        check_random_state(self.random_state)

    def _fit_maps(self, X_source, X_target, weight, y_source):
        X = np.concatenate([X_source, X_target])
        ones = np.ones(len(X_target))
        self._fit_scaling(X, np.concatenate([weight / weight.sum(), ones / ones.sum()]))
        Z = self._scale(X)
        random_state = check_random_state(self.random_state)
        self._fit_features(Z, random_state)
        difference = np.concatenate([weight / weight.sum(), -ones / ones.sum()])
        directions, self.objective_ = solve_transfer_components(
            self._compute_features(Z),
            np.concatenate([weight, ones]),
            difference,
            self.regularization,
            self._resolve_components(X.shape[1]),
        )
        self.n_components_ = directions.shape[1]
        self._projection = self._projection @ directions
        components = self._compute_features(Z)
        self._center = np.abs(difference) @ components / 2

    def _map_source(self, X):
        return self._compute_features(self._scale(X)) - self._center

    _map_target = _map_source

    def _resolve_components(self, n_columns):
        if self.n_components == "auto":
            return min(AUTO_COMPONENTS, max(1, n_columns // 2))
        return self.n_components

    def _fit_scaling(self, X, weight):
        self._mean, self._column_scale = column_statistics(X, weight)
        if not self.standardize:
            self._mean, self._column_scale = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _scale(self, X):
        return divide_by_scale(X - self._mean, self._column_scale)

    def _fit_features(self, Z, random_state):
        """Fix features whose products are the kernel: ``K = features @ features.T``."""
        self.gamma_ = None
        if self.kernel == "linear":
            self._landmarks, self._projection = None, np.eye(Z.shape[1])
            return
        self.gamma_ = self.gamma
        if self.gamma is None:
            few = Z
            if len(Z) > ROWS_FOR_MEDIAN:
                few = Z[random_state.choice(len(Z), ROWS_FOR_MEDIAN, replace=False)]
            distances = pdist(few, "sqeuclidean")
            median = np.median(distances[distances > 0]) if distances.any() else 1.0
            self.gamma_ = float(1 / median)
        self._landmarks = Z
        if len(Z) > self.max_landmarks:
            drawn = random_state.choice(len(Z), self.max_landmarks, replace=False)
            self._landmarks = Z[np.sort(drawn)]
        values, vectors = np.linalg.eigh(self._compute_kernel(self._landmarks))
        kept = values > 1e-10 * values[-1]
        self._projection = vectors[:, kept] / np.sqrt(values[kept])

    def _compute_features(self, Z):
        return (Z if self._landmarks is None else self._compute_kernel(Z)) @ self._projection

    def _compute_kernel(self, Z):
        return np.exp(-self.gamma_ * euclidean_distances(Z, self._landmarks, squared=True))


def solve_transfer_components(features, weight, difference, mu, n_components):
    """Return the directions of transfer components among features, and the objective.

    Parameters
    ----------
    features : float64 array of shape (n_rows, n_features)
        Rows of both domains; their products are the kernel matrix.
    weight : float64 array of shape (n_rows,)
        A row with a weight of 2 counts as two rows.
    difference : float64 array of shape (n_rows,)
        Its product with the features is the difference of the means of the domains.
    mu : float > 0
    n_components : int

    Returns
    -------
    directions : float64 array of shape (n_features, at most n_components)
        ``features @ directions`` is ``K W``.
    objective : float
    """
    # With features = U S V' (rows times the root of their weight), W = U a. In a, the constraint
    # is mu I + b b' and the objective S V' (features' H features) V S.
    gram = features.T @ (weight[:, None] * features)
    squares, V = np.linalg.eigh(gram)
    kept = squares > 1e-12 * max(squares[-1], np.finfo(np.float64).tiny)
    if not kept.any():
        return np.zeros((features.shape[1], 1)), 0.0
    VS = V[:, kept] * np.sqrt(squares[kept])
    mean = weight @ features / weight.sum()
    scatter = VS.T @ (gram - weight.sum() * np.outer(mean, mean)) @ VS
    b = VS.T @ (difference @ features)
    length = b @ b
    # (mu I + b b')^(-1/2) = (I - shrink b b' / b'b) / sqrt(mu)
    inverse_root = np.eye(len(b)) / np.sqrt(mu)
    if length > 0:
        shrink = 1 - 1 / np.sqrt(1 + length / mu)
        inverse_root -= shrink / np.sqrt(mu) * np.outer(b, b) / length
    values, vectors = np.linalg.eigh(inverse_root @ scatter @ inverse_root)
    values, vectors = values[::-1][:n_components], vectors[:, ::-1][:, :n_components]
    directions = VS @ inverse_root @ vectors
    # The row that is farthest out is on the positive side, whatever the basis of the features.
    components = features @ directions
    farthest = np.abs(components).argmax(axis=0)
    directions *= np.where(components[farthest, np.arange(len(farthest))] < 0, -1.0, 1.0)
    return directions, float(values.sum())
