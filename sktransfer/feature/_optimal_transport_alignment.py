"""OptimalTransportAlignment."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import euclidean_distances

from sktransfer.feature._base_alignment import BaseAlignment
from sktransfer.feature._column_statistics import as_share, column_statistics, divide_by_scale
from sktransfer.utils._optional import import_optional
from sktransfer.utils._validation import check_number, check_option

__all__ = ["OptimalTransportAlignment"]

ROUNDS = 10  # of the class penalty, each of which is one transport problem
MOST_ITERATIONS = 1000
PRECISION = 1e-6  # of the masses, at which the iterations stop
LARGEST_MISS = 0.01  # share of the mass that may be in the wrong place without a warning
FLOOR = 1e-3  # shares of a class are at least this for the penalty, whose slope is infinite at 0


class OptimalTransportAlignment(BaseAlignment):
    r"""Carry each source row to the target rows that the cheapest transport assigns to it.

    The source moves, the target stays as it is. A plan that moves the mass of all source rows to
    that of all target rows, at the cost of squared distances, is found by the library POT; each
    source row goes to the mean of the target rows that it is assigned to [1]_. The plan
    minimises

    .. math::
        \langle \gamma, C \rangle + \lambda \sum_{ij} \gamma_{ij} \log \gamma_{ij}
        + \eta \sum_j b_j \sum_c \sqrt{s_{cj}}

    with :math:`s_{cj}` the share of class *c* in what target row *j*, of mass :math:`b_j`,
    receives: the last term is smallest where each target row receives from one class only.

    Needs the extra ``pip install "sktransfer[alignment]"``.

    Parameters
    ----------
    source : SourceDomain or None, default=None
        Source rows. Their ``sample_weight`` is their mass. Without a source there is a warning,
        and nothing moves.

    regularization : float >= 0, default=0.1
        :math:`\lambda`, in units of the mean cost. Larger values spread each row over more
        target rows, and so draw all rows towards the mean; 0 solves the problem without, exactly.

    class_regularization : float >= 0, default=0.2
        :math:`\eta`, in units of the mean cost, where the source has labels; they are taken for
        classes unless they are floats. Needs ``regularization > 0``. 0 ignores the labels.

    standardize : bool, default=True
        Whether distances are those of columns divided by their standard deviation over both
        domains, each of which counts as one half.

    Attributes
    ----------
    source_ : array of shape (n_source, n_columns)
        The aligned rows of the source.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.

    Notes
    -----
    A row that was not in the source moves as the nearest row that was. The plan has
    ``n_source * n_target`` entries and is not kept. With one target row there is nothing to
    choose from: then the mean alone moves.

    References
    ----------
    .. [1] Courty, Flamary, Tuia and Rakotomamonjy, "Optimal transport for domain adaptation",
       IEEE Transactions on Pattern Analysis and Machine Intelligence, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import OptimalTransportAlignment, SourceDomain
    >>> source = SourceDomain([[0.0], [1.0], [2.0]])
    >>> alignment = OptimalTransportAlignment(source, regularization=0)
    >>> alignment.fit([[14.0], [10.0], [12.0]]).transform_source()
    array([[10.],
           [12.],
           [14.]])
    """

    def __init__(
        self, source=None, *, regularization=0.1, class_regularization=0.2, standardize=True
    ):
        super().__init__(source)
        self.regularization = regularization
        self.class_regularization = class_regularization
        self.standardize = standardize

    def _check_parameters(self):
        check_number("regularization", self.regularization, low=0)
        check_number("class_regularization", self.class_regularization, low=0)
        check_option("standardize", self.standardize, (True, False))

    def _fit_maps(self, X_source, X_target, weight, y_source):
        ones = np.ones(len(X_target))
        a, b = as_share(weight), as_share(ones)
        self._scale = np.ones(X_source.shape[1])
        if self.standardize:
            both = np.concatenate([X_source, X_target])
            _, self._scale = column_statistics(both, np.concatenate([a, b]))
        self._rows = divide_by_scale(X_source, self._scale)
        if len(X_target) == 1:
            self._moves = np.broadcast_to(X_target[0] - a @ X_source, X_source.shape)
            return
        cost = euclidean_distances(self._rows, divide_by_scale(X_target, self._scale), squared=True)
        cost /= cost.mean() or 1.0
        labels = self._get_classes(y_source)
        plan = compute_plan(a, b, cost, self.regularization, labels, self.class_regularization)
        plan /= plan.sum(axis=1, keepdims=True)
        self._moves = plan @ X_target - X_source

    def _map_source(self, X):
        nearest = pairwise_distances_argmin(divide_by_scale(X, self._scale), self._rows)
        return X + self._moves[nearest]

    def _forget_source_rows(self):
        self._rows = self._moves = None

    def _get_classes(self, y_source):
        if y_source is None or y_source.dtype.kind == "f" or not self.class_regularization:
            return None
        if not self.regularization:
            raise ValueError(
                f"Got regularization=0 with class_regularization={self.class_regularization!r}, "
                "but expected regularization > 0, without which the classes cannot be kept apart; "
                "or pass class_regularization=0."
            )
        return np.unique(y_source, return_inverse=True)[1]


def compute_plan(a, b, cost, regularization=0.0, labels=None, class_regularization=0.0):
    """Return the transport plan between the masses ``a`` and ``b``, whose sums are both 1.

    Parameters
    ----------
    a, b : float64 arrays of shape (n_source,) and (n_target,)
    cost : float64 array of shape (n_source, n_target)
    regularization : float >= 0
    labels : integer array of shape (n_source,), default=None
        Numbers of the classes from 0; with them, ``regularization`` is positive.
    class_regularization : float >= 0

    Returns
    -------
    plan : float64 array of shape (n_source, n_target)
    """
    need = "OptimalTransportAlignment needs the library POT"
    pot = import_optional("ot", "alignment", need)  # codespell:ignore ot
    if not regularization:
        return pot.emd(a, b, cost, numItermax=10_000_000)
    plan, prices, missed = _sinkhorn(pot, a, b, cost, regularization)
    # The penalty is concave: each round replaces it by its tangent at the last plan.
    members = None if labels is None else np.eye(labels.max() + 1)[labels]
    for _ in range(0 if labels is None else ROUNDS):
        share = members.T @ plan / b
        slope = 0.5 / np.sqrt(share + FLOOR)
        penalized = cost + class_regularization * slope[labels]
        plan, prices, missed = _sinkhorn(pot, a, b, penalized, regularization, prices)
    if missed > LARGEST_MISS:
        warnings.warn(
            f"The transport plan misses the target by {missed:.1%} of the mass after "
            f"{MOST_ITERATIONS} iterations; raise regularization={regularization!r}.",
            ConvergenceWarning,
            stacklevel=5,
        )
    return plan


def _sinkhorn(pot, a, b, cost, regularization, prices=0.0):
    """Return the plan, its prices, and the share of the mass that is in the wrong place.

    Prices are one number a target row, from which a similar problem may start: taking a number
    from each row and each column of the cost leaves the plan the same.
    """
    options = {
        "numItermax": MOST_ITERATIONS,
        "stopThr": PRECISION * np.linalg.norm(b),
        "log": True,
        "warn": False,
    }
    # Then there is a zero in each row and column, and exp(-reduced / regularization) has sums.
    of_rows = (cost - prices).min(axis=1, keepdims=True)
    prices = (cost - of_rows).min(axis=0)
    reduced = cost - of_rows - prices
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it failed is seen below
        plan, log = pot.bregman.sinkhorn_knopp(a, b, reduced, regularization, **options)
        log_v = np.log(log["v"])
    if not _miss(plan, b) <= LARGEST_MISS:
        # Several times slower, and nothing under- or overflows.
        plan, log = pot.bregman.sinkhorn_log(a, b, reduced, regularization, **options)
        log_v = log["log_v"]
    return plan, prices + regularization * log_v, _miss(plan, b)


def _miss(plan, b):
    """Return the share of mass in the wrong place, or NaN where the plan is no plan."""
    return np.abs(plan.sum(axis=0) - b).sum() / 2
