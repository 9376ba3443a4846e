"""Classifiers to choose from where the user names none."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)

__all__ = ["list_classifiers"]

MAX_CATEGORIES = 255  # of HistGradientBoostingClassifier
MAX_COLUMNS_FOR_PRODUCTS = 20
MAX_INDICATORS = 30  # of the categories of a column, in logistic regression; rarer ones share one


class ColumnTolerantBoosting(HistGradientBoostingClassifier):
    """Gradient boosting that ignores columns without any value, where scikit-learn's fails.

    A rarely measured column may be empty in one fold only, so it cannot be dropped beforehand.
    """

    def fit(self, X, y, sample_weight=None):
        """Fit with empty columns as constants, on which no tree splits."""
        X = np.where(np.isnan(X).all(axis=0), 0.0, X)
        return super().fit(X, y, sample_weight)


def list_classifiers(matrix, is_category, random_state):
    """Return the candidates that suit the columns, the simplest first.

    Parameters
    ----------
    matrix : float64 array of shape (n_rows, n_columns)
        Rows as `as_matrix` gives them.

    is_category : boolean array of shape (n_columns,)

    random_state : RandomState instance
        Seeds gradient boosting, which is the last candidate.
    """
    n_values = np.array([np.unique(c[~np.isnan(c)]).size for c in matrix.T[is_category]])
    categorical = is_category.copy()
    categorical[is_category] = n_values <= MAX_CATEGORIES
    boosting = ColumnTolerantBoosting(
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        categorical_features=np.flatnonzero(categorical).tolist() or None,
        random_state=random_state.randint(2**31 - 1),
    )
    numbers = np.flatnonzero(~is_category)
    expansions = [[]]
    if len(numbers) > MAX_COLUMNS_FOR_PRODUCTS:
        expansions.append([FunctionTransformer(_append_squares), StandardScaler()])
    elif len(numbers):
        products = PolynomialFeatures(degree=2, include_bias=False)
        expansions.append([products, StandardScaler()])
    return [
        make_pipeline(
            *_prepare_columns(matrix, is_category, [StandardScaler(), *expansion]),
            LogisticRegression(C=C, max_iter=1000),
        )
        for expansion in expansions
        for C in (0.01, 1.0)
    ] + [boosting]


def _prepare_columns(matrix, is_category, of_numbers):
    """Return steps that send numbers through ``of_numbers``, and fill in what is missing."""
    is_missing = np.isnan(matrix).any(axis=0)
    if not (is_category.any() or is_missing.any()):
        return of_numbers
    # Columns may be empty in some folds, and have other categories in others.
    filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *of_numbers)
    indicators = OneHotEncoder(
        handle_unknown="ignore", max_categories=MAX_INDICATORS, sparse_output=False
    )
    blocks = [
        ("numbers", filled, np.flatnonzero(~is_category)),
        ("missing", MissingIndicator(features="all"), np.flatnonzero(~is_category & is_missing)),
        ("categories", indicators, np.flatnonzero(is_category)),
    ]
    return [ColumnTransformer([block for block in blocks if len(block[-1])])]


def _append_squares(X):
    return np.hstack([X, X**2])
