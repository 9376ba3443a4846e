"""The thin contract that the estimators on networks share."""

import os

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from sktransfer.utils._sklearn import clone_sharing

# Kinds of numbers that are kept as they come; others become float64.
_DTYPES = [np.float64, np.float32, np.uint8]


class BaseNetworkEstimator(BaseEstimator):
    """Estimator on a backbone: checks rows of a table or images, and shares the backbone on clone.

    Subclasses have parameters ``backbone`` and ``image_shape``. ``fit`` sets ``n_features_in_``
    (for images the length of their first axis, as scikit-learn has it) and ``input_shape_``, the
    shape of a row.
    """

    _shared_parameters = ("backbone",)

    def __sklearn_clone__(self):
        return clone_sharing(self, self._shared_parameters)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _check_rows(self, X, y="no_validation", *, reset):
        """Return X as an array of rows, of the shape seen in fit; with y, both."""
        X = _plain_container(X)
        if not reset:
            check_is_fitted(self)
            self._check_row_shape(X)
        options = {"multi_output": True} if getattr(y, "ndim", 1) == 2 else {}
        checked = validate_data(self, X, y, reset=reset, dtype=_DTYPES, allow_nd=True, **options)
        X, y = checked if isinstance(checked, tuple) else (checked, None)
        if X.ndim > 4:
            raise ValueError(
                f"Got X of shape {X.shape}, but expected at most 4 dimensions: rows of a table, "
                "or images (n, height, width), with or without an axis of channels."
            )
        self._check_range(X)
        if reset:
            self.input_shape_ = X.shape[1:]
            self._saw_bytes = X.dtype == np.uint8
        elif self._saw_bytes != (X.dtype == np.uint8) and self._reads_images():
            raise ValueError(
                f"Got images of dtype {X.dtype}, but {type(self).__name__} was fitted on images "
                f"{'of dtype uint8' if self._saw_bytes else 'of another dtype than uint8'}; "
                "expected the same, since only uint8 is divided by 255."
            )
        return X if y is None else (X, y)

    def _check_row_shape(self, X):
        # Before scikit-learn's own check, which for images only knows the first axis of a row.
        shape = _row_shape(X)
        involves_images = len(shape) > 1 or len(self.input_shape_) > 1
        if involves_images and shape != self.input_shape_:
            raise ValueError(
                f"Got X with rows of shape {shape}, but {type(self).__name__} was fitted on rows "
                f"of shape {self.input_shape_}; expected the same."
            )

    def _reads_images(self):
        return len(self.input_shape_) > 1 or self.image_shape is not None

    def _check_range(self, X):
        """Raise if float64 values do not fit the float32 of a network."""
        if X.dtype != np.float64:
            return
        # Without a copy, since X may be mapped to memory that it does not fit into.
        largest = max(X.max(initial=0), -X.min(initial=0))
        if largest > np.finfo(np.float32).max:
            raise ValueError(
                f"Got X with values up to {largest:g}, but expected values that fit "
                "float32; scale the features first."
            )


def _row_shape(X):
    """Return the shape of a row also of lists and of array-likes that refuse numpy's functions."""
    return (X.shape if hasattr(X, "shape") else np.asarray(X).shape)[1:]


def _plain_container(X):
    """Return X, a torch tensor as an array; refuse what cannot become one, in plain words."""
    if type(X).__module__ == "torch":
        if X.requires_grad:
            raise ValueError("Got X as a tensor that requires grad; pass X.detach().")
        return X.cpu().float().numpy() if X.is_floating_point() else X.cpu().numpy()
    if _is_texts(X):
        raise ValueError(
            f"Got X as {len(X)} texts, such as {str(X[0])!r}, but expected numbers: rows of a "
            "table, or images; read files into arrays first, np.asarray(PIL.Image.open(path))."
        )
    if isinstance(X, list | tuple):
        shapes = {np.shape(row) for row in X}
        if len(shapes) > 1:
            raise ValueError(
                f"Got X with rows of the shapes {sorted(shapes)[:4]}, but expected one shape; "
                "resize images first."
            )
    columns = getattr(X, "columns", None)
    if columns is not None and len(set(columns)) < len(columns):
        repeated = sorted({str(c) for c in columns if list(columns).count(c) > 1})
        raise ValueError(f"Got X with repeated columns: {repeated[:4]}; expected each name once.")
    return X


def _is_texts(X):
    """Tell whether X is one text or path per row, such as the names of image files."""
    is_sequence = isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.ndim == 1)
    return is_sequence and len(X) > 0 and all(isinstance(row, str | os.PathLike) for row in X)
