"""What a fitted scikit-learn estimator says of a row, as features."""

import numpy as np
import scipy.sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from sktransfer.base import BaseNetworkEstimator
from sktransfer.feature._source import FeatureSource

# What an estimator calls impossible, it has only not seen.
_SMALLEST_PROBABILITY = 1e-4


def is_estimator(backbone):
    """Tell whether this is an estimator that counts by what it predicts, not by its network."""
    if isinstance(backbone, FrozenEstimator):
        return True
    is_network = isinstance(backbone, BaseNetworkEstimator) or hasattr(backbone, "backbone_")
    has_methods = hasattr(backbone, "fit") and hasattr(backbone, "get_params")
    return has_methods and not isinstance(backbone, type) and not is_network


class EstimatorSource(FeatureSource):
    """Scores, probabilities, predictions or transformed rows of a fitted estimator.

    The rows reach it as they come: it brings its own preprocessing along.

    Parameters
    ----------
    estimator : fitted estimator
        It is never fitted again.
    output : {"features", "logits", "proba"}

    Raises
    ------
    ValueError
        If the estimator is not fitted or lacks the method.
    """

    def __init__(self, estimator, output):
        self.backbone, self.output = estimator, output
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            inner = getattr(estimator, "estimator", estimator)
            raise ValueError(
                f"Got backbone={estimator!r}, which is not fitted; fit it to the source first, "
                f"backbone=FrozenEstimator({type(inner).__name__}(...).fit(X_source, y_source)) "
                "with FrozenEstimator from sklearn.frozen. Frozen it stays fitted where a grid "
                "search clones it."
            ) from error
        self._compute = getattr(self, f"_compute_{output}")()
        self.layers = (output,)
        self._is_multilabel = False

    def check(self, estimator, X, *, reset):
        """Return X as it came; remember or compare number and names of its columns."""
        if not reset:
            check_is_fitted(estimator)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if reset:
            estimator.input_shape_ = tuple((X.shape if hasattr(X, "shape") else np.shape(X))[1:])
        return X

    def prepare(self, X):
        """Find the names of the columns."""
        if self.output != "features" and hasattr(self.backbone, "predict"):
            self._is_multilabel = np.ndim(self.backbone.predict(X)) == 2
        (block,) = self.compute(X, n_rows=None)
        self.columns, self.dtypes = [list(self._name_columns(block.shape[1]))], [block.dtype]

    def compute(self, X, *, n_rows, verbose=0):
        """Return one block."""
        block = self._compute(X)
        block = block.toarray() if scipy.sparse.issparse(block) else np.asarray(block)
        block = block[:, None] if block.ndim == 1 else block
        if block.dtype.kind != "f":
            block = block.astype(np.float64)
        return [block]

    def check_caching(self, X, n_rows):
        """Raise, since the row cache is of networks alone."""
        raise ValueError(
            f"Got backbone={self.backbone!r}, but precompute fills the row cache, which holds "
            "activations of networks; leave precompute out."
        )

    def _compute_features(self):
        if hasattr(self.backbone, "transform"):
            return self.backbone.transform
        if is_regressor(self.backbone):
            return self.backbone.predict
        raise self._lacks("transform", "'logits' or 'proba'")

    def _compute_proba(self):
        if not hasattr(self.backbone, "predict_proba"):
            raise self._lacks("predict_proba", self._name_other_outputs())
        return self._predict_proba

    def _compute_logits(self):
        if not is_regressor(self.backbone):
            if hasattr(self.backbone, "decision_function"):
                return self.backbone.decision_function
            if hasattr(self.backbone, "predict_proba"):
                return self._predict_log_odds
        raise self._lacks("decision_function or predict_proba", self._name_other_outputs())

    def _lacks(self, method, outputs):
        return ValueError(
            f"Got output={self.output!r}, but {self.backbone!r} has no {method}; expected "
            f"output={outputs}."
        )

    def _name_other_outputs(self):
        if hasattr(self.backbone, "decision_function") and is_classifier(self.backbone):
            return "'logits'"
        return "'features'"

    def _predict_proba(self, X):
        proba = self.backbone.predict_proba(X)
        # One array for each output.
        return np.hstack(proba) if isinstance(proba, list) else proba

    def _predict_log_odds(self, X):
        """Return log-probabilities less their mean; for two classes the log-odds of the second.

        For labels that do not exclude each other, the log-odds of each.
        """
        proba = self.backbone.predict_proba(X)
        if isinstance(proba, list):
            return np.hstack([_log_odds(p) for p in proba])
        if self._is_multilabel:
            labels = np.stack([1 - proba, proba], axis=2)
            return np.hstack([_log_odds(labels[:, i]) for i in range(labels.shape[1])])
        return _log_odds(proba)

    def _name_columns(self, width):
        if self.output == "features":
            return self._name_features(width)
        word = {"logits": "logit", "proba": "proba"}[self.output]
        return [f"{word}_{name}" for name in self._name_classes(width)]

    def _name_features(self, width):
        if not hasattr(self.backbone, "transform"):
            return ["prediction"] if width == 1 else [f"prediction_{i}" for i in range(width)]
        try:
            names = [str(name) for name in self.backbone.get_feature_names_out()]
        except (AttributeError, ValueError):
            names = []
        return names if len(names) == width else [f"features_{i}" for i in range(width)]

    def _name_classes(self, width):
        classes = getattr(self.backbone, "classes_", None)
        if isinstance(classes, list):
            per_output = [c[1:] if self.output == "logits" and len(c) == 2 else c for c in classes]
            names = [f"{i}_{c}" for i, group in enumerate(per_output) for c in group]
        else:
            names = [] if classes is None else list(classes)
            names = names[1:] if len(names) == 2 and width == 1 else names
        # One against one, for instance, has a column for each pair of classes.
        return names if len(names) == width else range(width)


def _log_odds(proba):
    logs = np.log(np.clip(proba, _SMALLEST_PROBABILITY, 1))
    if proba.shape[1] == 2:
        return logs[:, 1:] - logs[:, :1]
    return logs - logs.mean(axis=1, keepdims=True)
