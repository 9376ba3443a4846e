"""What a fitted scikit-learn estimator says of a row, as features."""

import functools

import numpy as np
import scipy.sparse
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sktransfer.backbones.tables._row_embeddings import has_embeddings, read_embeddings
from sktransfer.base import BaseNetworkEstimator
from sktransfer.feature._fitted_columns import FittedColumns
from sktransfer.feature._source import FeatureSource
from sktransfer.utils._validation import list_options

# What an estimator calls impossible, it has only not seen.
_SMALLEST_PROBABILITY = 1e-4
# By one of these an estimator of another library, which need not inherit from ours, is known.
_SAYINGS = ("predict_proba", "decision_function", "predict")


def is_estimator(backbone):
    """Tell whether this is an estimator that counts by what it predicts, not by its network."""
    if isinstance(backbone, FrozenEstimator):
        return True
    is_network = isinstance(backbone, BaseNetworkEstimator) or hasattr(backbone, "backbone_")
    if isinstance(backbone, type) or is_network or hasattr(backbone, "state_dict"):
        return False
    has_methods = hasattr(backbone, "fit") and hasattr(backbone, "get_params")
    return has_methods or any(hasattr(backbone, name) for name in _SAYINGS)


class EstimatorSource(FeatureSource):
    """Scores, probabilities, predictions or transformed rows of a fitted estimator.

    The rows reach it as they come: it brings its own preprocessing along. Only the columns of
    frames are brought into the order in which it was fitted.

    Parameters
    ----------
    estimator : fitted estimator
        It is never fitted again. Of an estimator that is not scikit-learn's, ``predict_proba``,
        ``decision_function`` or ``predict`` is enough, and ``classes_`` for the names.
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
        except (TypeError, AttributeError):
            # Not of scikit-learn: whether it is fitted shows when it is used.
            pass
        self._gives_embeddings = False
        self._compute = getattr(self, f"_compute_{output}")()
        self._known = FittedColumns(estimator)
        # What kind of column one is that X lacks, the estimator does not tell: it shows.
        self._kinds_of_missing = ("number", "category")
        self.layers = (output,)
        self._is_multilabel = False

    def check(self, estimator, X, *, reset):
        """Return X as it came; remember or compare number and names of its columns."""
        if not reset:
            check_is_fitted(estimator)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        if reset:
            estimator.input_shape_ = tuple((X.shape if hasattr(X, "shape") else np.shape(X))[1:])
            self._known.check(X, keeps_extra=estimator.mode == "concat")
        return X

    def prepare(self, X):
        """Find the names of the columns."""
        if self.output != "features" and hasattr(self.backbone, "predict"):
            predicted = np.shape(self._ask(self.backbone.predict, X))
            # A column of classes is one as well, so the width has to be that of the labels.
            self._is_multilabel = len(predicted) == 2 and predicted[1] > 1
        (block,) = self.compute(X, n_rows=None)
        self.columns, self.dtypes = [list(self._name_columns(block.shape[1]))], [block.dtype]

    def compute(self, X, *, n_rows, verbose=0):
        """Return one block."""
        block = self._ask(self._compute, X)
        block = block.toarray() if scipy.sparse.issparse(block) else np.asarray(block)
        block = block[:, None] if block.ndim == 1 else block
        if block.dtype.kind not in "fiub":
            raise ValueError(
                f"Got backbone={self.backbone!r}, whose {self.output} are of dtype {block.dtype}, "
                "but expected numbers; choose another output."
            )
        if block.dtype.kind != "f":
            block = block.astype(np.float64)
        return [block]

    def _ask(self, method, X):
        """Return what a method says of X, whose columns come as the estimator knows them."""
        missing = self._known.find_missing(X)
        if not missing:
            return method(self._known.align(X))
        reason = None
        for kind in self._kinds_of_missing:
            try:
                said = method(self._known.align(X, missing_as=kind))
            except Exception as error:  # of whatever type the estimator likes
                reason = reason or error
            else:
                self._kinds_of_missing = (kind,)
                return said
        raise ValueError(
            f"Got X without the columns {list_options(missing)}; filled with missing values, they "
            f"made {self._known.owner} raise an error: {reason} Expected an estimator that takes "
            "missing values there, such as HistGradientBoostingClassifier or a pipeline with an "
            "imputer; or add these columns to X, with values that it knows."
        ) from reason

    def check_caching(self, X, n_rows):
        """Raise, since the row cache is of networks alone."""
        raise ValueError(
            f"Got backbone={self.backbone!r}, but precompute fills the row cache, which holds "
            "activations of networks; leave precompute out."
        )

    def _compute_features(self):
        if hasattr(self.backbone, "transform"):
            return self.backbone.transform
        model = getattr(self.backbone, "estimator", self.backbone)
        if has_embeddings(model):
            self._gives_embeddings = True
            return functools.partial(read_embeddings, model)
        if self._predicts_numbers():
            return self.backbone.predict
        raise self._lacks("transform", "'logits' or 'proba'")

    def _compute_proba(self):
        if not hasattr(self.backbone, "predict_proba"):
            raise self._lacks("predict_proba", self._name_other_outputs())
        return self._predict_proba

    def _compute_logits(self):
        if not self._predicts_numbers():
            if hasattr(self.backbone, "decision_function"):
                return self.backbone.decision_function
            if hasattr(self.backbone, "predict_proba"):
                return self._predict_log_odds
        raise self._lacks("decision_function or predict_proba", self._name_other_outputs())

    def _predicts_numbers(self):
        """Tell whether predictions are numbers: of a regressor, or of what knows no classes."""
        if not hasattr(self.backbone, "predict"):
            return False
        kind = _find_kind(self.backbone)
        if kind not in (None, "ranker"):
            return kind == "regressor"
        names = ("predict_proba", "decision_function", "classes_", "transform")
        return not any(hasattr(self.backbone, name) for name in names)

    def _lacks(self, method, outputs):
        return ValueError(
            f"Got output={self.output!r}, but {self.backbone!r} has no {method}; expected "
            f"output={outputs}."
        )

    def _name_other_outputs(self):
        if self._predicts_numbers() or hasattr(self.backbone, "transform"):
            return "'features'"
        return "'logits'"

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
        if self._gives_embeddings:
            return [f"embedding_{i}" for i in range(width)]
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


def _find_kind(estimator):
    """Return "classifier", "regressor", ..., or None where that is not said."""
    try:
        return get_tags(estimator).estimator_type
    except (TypeError, AttributeError):
        # Not of scikit-learn.
        return getattr(estimator, "_estimator_type", None)


def _log_odds(proba):
    logs = np.log(np.clip(proba, _SMALLEST_PROBABILITY, 1))
    if proba.shape[1] == 2:
        return logs[:, 1:] - logs[:, :1]
    return logs - logs.mean(axis=1, keepdims=True)
