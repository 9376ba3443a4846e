"""GroupLassoSelector."""

import numbers
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from sktransfer.domain import check_domain_rows
from sktransfer.feature._column_statistics import column_statistics, divide_by_scale
from sktransfer.feature._group_lasso import MOST_STEPS, GroupLasso
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._threads import single_threaded_algebra
from sktransfer.utils._validation import check_number, check_option

__all__ = ["GroupLassoSelector"]

ROUNDING = 1e-10  # of gradients that would be zero, in units of standardised columns and targets


class GroupLassoSelector(SelectorMixin, BaseEstimator):
    r"""Select the features on which a linear head with few features relies.

    Made for the features of many layers of a network, as in Head2Toe [1]_: put it between
    ``FeatureTransferTransformer(layers=[...])`` and a classifier. Columns are standardised, and
    a linear head is fitted to the target with a penalty on the norm of all coefficients of a
    feature, so that a feature is used for all classes or for none [2]_:

    .. math:: \min_{C, c} \frac{1}{n} \sum_i \ell(C^\top z_i + c, y_i) + \alpha \sum_j \|C_j\|_2

    The score of a feature is the norm of its coefficients.

    Parameters
    ----------
    n_features_to_select : float in (0, 1] or int, default=0.1
        Share of the features to keep (at least one), or their number. Worth a search.

    alpha : float in (0, 1), default=0.05
        Strength of the penalty, as a share of the least one at which no feature is used: larger
        values score fewer features, and sooner one of several that tell the same.

    task : {"auto", "classification", "regression"}, default="auto"
        What y is. "auto": regression if y holds numbers that are not integers, else
        classification.

    block_sizes : sequence of int or None, default=None
        Numbers of columns of consecutive blocks, such as those of layers, that add up to all
        columns. Each block is divided by one number, so that within it columns that vary more
        count more. None: each column is a block of its own.

    tol : float > 0, default=1e-3
        How exactly the head is fitted, relative to the largest gradient at the start.

    Attributes
    ----------
    scores_ : float64 array of shape (n_features,)
        Norm of the coefficients of each feature.

    ranking_ : integer array of shape (n_features,)
        1 for the best feature. Features with a score of zero are ranked by how near they are to
        being used (the norm of the gradient), and features that tie in both by their position.

    n_features_ : int
        Number of selected features.

    alpha_max_ : float
        The least penalty at which no feature is used; the penalty is ``alpha * alpha_max_``.

    n_iter_ : int
        Number of steps that fitted the head.

    n_features_in_, feature_names_in_
        Number of columns in ``fit``, and their names where there are names.

    Notes
    -----
    The head is fitted to the rows of ``fit`` only, so in a Pipeline each fold of a
    cross-validation selects by itself. Columns that are constant score zero and come last.

    The name is that of the method: any features will do, not only those of layers.

    References
    ----------
    .. [1] Evci, Dumoulin, Larochelle and Mozer, "Head2Toe: Utilizing intermediate
       representations for better transfer learning", ICML 2022.
    .. [2] Yuan and Lin, "Model selection and estimation in regression with grouped variables",
       Journal of the Royal Statistical Society B, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import FeatureTransferTransformer, GroupLassoSelector
    >>> X, y = load_digits(return_X_y=True)
    >>> layers = ["stem", "stage1", "stage2", "stage3", "penultimate"]
    >>> classifier = make_pipeline(
    ...     FeatureTransferTransformer("glyphs", layers=layers, image_shape=(8, 8)),
    ...     GroupLassoSelector(0.25),
    ...     LogisticRegression(max_iter=1000),
    ... )
    >>> classifier.fit(X[:100], y[:100]).score(X[200:500], y[200:500]) > 0.9
    True
    """

    def __init__(
        self,
        n_features_to_select=0.1,
        *,
        alpha=0.05,
        task="auto",
        block_sizes=None,
        tol=1e-3,
    ):
        self.n_features_to_select = n_features_to_select
        self.alpha = alpha
        self.task = task
        self.block_sizes = block_sizes
        self.tol = tol

    def fit(self, X, y, sample_weight=None):
        """Score and rank the features.

        Parameters
        ----------
        X : array or DataFrame of shape (n_rows, n_features)
            Rows of features.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Classes, 0/1 labels (several columns) or numbers.
        sample_weight : array-like of shape (n_rows,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, ensure_min_samples=2
        )
        check_domain_rows(X)
        sample_weight = check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        counts = sample_weight > 0
        X, weight = X[counts].astype(np.float64), sample_weight[counts]
        targets, link = self._encode(y[counts], weight)
        n_selected = self._resolve_count(X.shape[1])
        with single_threaded_algebra():
            scores, gradient_norms = self._score(
                self._standardize(X, weight), targets, weight, link
            )
        self.scores_ = scores
        # Stable, so that ties go to the first. Rounded, so that rounding errors make no order.
        order = np.lexsort((-_round(gradient_norms), -_round(scores)))
        self.ranking_ = np.empty(len(order), dtype=int)
        self.ranking_[order] = np.arange(1, len(order) + 1)
        self.n_features_ = n_selected
        return self

    def _score(self, Z, targets, weight, link):
        problem = GroupLasso(Z, targets, weight, link)
        self.alpha_max_, self.n_iter_ = problem.alpha_max, 0
        if problem.alpha_max < ROUNDING:
            return np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
        coefficients, gradient, self.n_iter_ = problem.solve(
            self.alpha * problem.alpha_max, self.tol
        )
        if self.n_iter_ == MOST_STEPS:
            warnings.warn(
                f"The head is not as exact as asked after {MOST_STEPS} steps; raise "
                f"tol={self.tol!r} or alpha={self.alpha!r}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return np.linalg.norm(coefficients, axis=1), np.linalg.norm(gradient, axis=1)

    def _standardize(self, X, weight):
        mean, scale = column_statistics(X, weight)
        scale = np.nan_to_num(scale)  # of one row, which says nothing of any column
        Z = X - mean
        Z[:, scale == 0] = 0
        if self.block_sizes is not None:
            sizes = np.asarray(self.block_sizes)
            starts = np.cumsum(sizes) - sizes
            squares = np.add.reduceat(scale**2, starts) / sizes
            scale = np.repeat(np.sqrt(squares), sizes)
        return divide_by_scale(Z, scale)

    def _encode(self, y, weight):
        """Return targets as columns of numbers, and the link of the head."""
        kind = type_of_target(y, input_name="y")
        if self.task == "regression" or (self.task == "auto" and kind.startswith("continuous")):
            targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
            mean, scale = column_statistics(targets, weight)
            return divide_by_scale(targets - mean, np.nan_to_num(scale)), "identity"
        if kind == "multilabel-indicator":
            return np.asarray(y, dtype=np.float64), "sigmoid"
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Got y of the kind {kind!r}, but expected classes or 0/1 labels; pass "
                "task='regression' if they are numbers. Unknown label type: " + kind
            )
        classes, codes = np.unique(y, return_inverse=True)
        return np.eye(len(classes))[codes.ravel()], "softmax"

    def _check_parameters(self):
        check_option("task", self.task, ("auto", "classification", "regression"))
        check_number("alpha", self.alpha, low=0, high=1, low_open=True)
        check_number("tol", self.tol, low=0, low_open=True)
        wanted = self.n_features_to_select
        if not isinstance(wanted, numbers.Real) or isinstance(wanted, bool):
            raise TypeError(
                f"Got n_features_to_select={wanted!r}, but expected a share in (0, 1] or a number "
                "of features."
            )
        is_count = isinstance(wanted, numbers.Integral)
        if not (wanted >= 1 if is_count else 0 < wanted <= 1):
            raise ValueError(
                f"Got n_features_to_select={wanted!r}, but expected a float in (0, 1] or an "
                "integer >= 1."
            )

    def _resolve_count(self, n_features):
        if self.block_sizes is not None:
            sizes = np.asarray(self.block_sizes)
            is_list_of_counts = sizes.ndim == 1 and sizes.dtype.kind in "iu" and (sizes > 0).all()
            if not is_list_of_counts or sizes.sum() != n_features:
                raise ValueError(
                    f"Got block_sizes={self.block_sizes!r}, but expected positive integers that "
                    f"add up to {n_features}, the number of columns."
                )
        wanted = self.n_features_to_select
        if not isinstance(wanted, numbers.Integral):
            return max(1, round(wanted * n_features))
        if wanted > n_features:
            raise ValueError(
                f"Got n_features_to_select={wanted}, but expected at most {n_features}, the "
                "number of columns."
            )
        return int(wanted)

    def _get_support_mask(self):
        check_is_fitted(self)
        return self.ranking_ <= self.n_features_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _round(values):
    largest = values.max()
    return np.round(values / largest, 9) if largest > 0 else values
