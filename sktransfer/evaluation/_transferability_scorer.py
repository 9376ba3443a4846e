"""transferability_scorer: the scores for searches of scikit-learn."""

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sktransfer.evaluation._methods import resolve_method


def transferability_scorer(method="knn", *, task="auto"):
    """Make a scorer that scores the features of a transformer, for ``GridSearchCV`` and the like.

    Parameters
    ----------
    method : str or TransferabilityMethod, default="knn"
        See `transferability_score`.
    task : {"auto", "classification", "regression"}, default="auto"

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` scores what ``estimator.transform(X)`` gives, or, of a pipeline
        whose last step has no ``transform``, what that step is given. It can be pickled.

    Notes
    -----
    A transformer that learns nothing from labels, and a score that leaves each row out by itself,
    need no folds: with ``cv=[(rows, rows)]`` all rows are scored, once. Folds are needed where a
    step is fitted to y.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sktransfer import FeatureTransferTransformer, transferability_scorer
    >>> from sktransfer.datasets import load_digit_images
    >>> X, y = load_digit_images()
    >>> X, y, rows = X[:100], y[:100], np.arange(100)
    >>> search = GridSearchCV(
    ...     FeatureTransferTransformer("glyphs"),
    ...     {"layers": ["stem", "stage2", "penultimate"]},
    ...     scoring=transferability_scorer("knn"),
    ...     cv=[(rows, rows)],
    ... )
    >>> search.fit(X, y).best_params_
    {'layers': 'penultimate'}
    """
    return TransferabilityScorer(resolve_method(method), task=task)


class TransferabilityScorer(BaseEstimator):
    """What `transferability_scorer` makes."""

    def __init__(self, method, *, task="auto"):
        self.method = method
        self.task = task

    def __call__(self, estimator, X, y):
        """Return the score of a fitted estimator's features."""
        return self.method.score(_transform(estimator, X), y, task=self.task)


def _transform(estimator, X):
    if hasattr(estimator, "transform"):
        return estimator.transform(X)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        return estimator[:-1].transform(X)
    raise TypeError(
        f"Got estimator={estimator!r}, but expected one with transform, or a pipeline in which "
        "features come before the last step."
    )
