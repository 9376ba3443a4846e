"""The thin contract that the estimators on networks share."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sktransfer.backbones.images._containers import check_is_container
from sktransfer.backbones.images._image_rows import ImageRows, as_image_rows
from sktransfer.backbones.tables._encoded_rows import TableRows
from sktransfer.backbones.tables._table import has_columns
from sktransfer.utils._sklearn import clone_sharing

# Kinds of numbers that are kept as they come; others become float64.
_DTYPES = [np.float64, np.float32, np.uint8]


class BaseNetworkEstimator(BaseEstimator):
    """Estimator on a backbone: checks rows of a table or images, and shares the backbone on clone.

    Subclasses have parameters ``backbone`` and ``image_shape``. ``fit`` sets ``n_features_in_``
    (for images the length of their first axis, as scikit-learn has it) and ``input_shape_``, the
    shape of a row: ``()`` for images that are read one by one, of which any size may follow.
    """

    _shared_parameters = ("backbone",)

    def __sklearn_clone__(self):
        return clone_sharing(self, self._shared_parameters)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        if getattr(getattr(self.backbone, "input", None), "takes_frames", False):
            tags.input_tags.allow_nan = True
            tags.input_tags.categorical = True
            tags.input_tags.string = True
        return tags

    def _check_rows(self, X, y="no_validation", *, first_input=None):
        """Return X as an array of rows, of the shape seen in fit, or `ImageRows`; with y, both.

        Of a table for a backbone that takes frames, encoded rows come back, or `TableRows`.

        Parameters
        ----------
        X : array-like
        y : array-like, default="no_validation"
        first_input : NetworkInput or TableInput, default=None
            What the backbone takes, in fit. None: after it, when X must be as it was in fit.
        """
        check_is_container(X)
        reset = first_input is not None
        if not reset:
            check_is_fitted(self)
        table_input = first_input if reset else self._get_network_input()
        if table_input.takes_frames:
            return self._check_table(X, y, table_input, reset=reset)
        images = as_image_rows(X, **self._image_options())
        if images is not None:
            return self._check_image_rows(images, X, y, reset=reset)
        X = _plain_container(X)
        if not reset:
            shape = _row_shape(X)
            if len(shape) in (2, 3) and shape != self.input_shape_ and self._takes_any_size():
                X = np.asarray(X)
                if self.input_shape_:
                    self._check_kind(X.dtype)
                X = X if X.dtype == np.uint8 else X.astype(np.float32)
                images = ImageRows(list(X), **self._image_options())
                return self._check_image_rows(images, X, y, reset=False)
            self._check_row_shape(shape)
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
        elif self._reads_images():
            self._check_kind(X.dtype)
        return X if y is None else (X, y)

    def _check_kind(self, dtype):
        """Raise if images of bytes follow others, or the other way round."""
        if self._saw_bytes != (dtype == np.uint8):
            raise ValueError(
                f"Got images of dtype {dtype}, but {type(self).__name__} was fitted on images "
                f"{'of dtype uint8' if self._saw_bytes else 'of another dtype than uint8'}; "
                "expected the same, since only uint8 is divided by 255."
            )

    def _check_image_rows(self, images, X, y, *, reset):
        """Return images that are read later, once it is known that they may follow those of fit."""
        if self.backbone is None:
            raise ValueError(
                f"Got X as images, such as {images.describe(0)}, with backbone=None; expected "
                "numbers, rows of a table or image arrays, or a backbone for images."
                if len(images)
                else "Got X with 0 sample(s), but a minimum of 1 is required."
            )
        if len(images) == 0:
            raise ValueError("Got X with 0 sample(s) (images), but a minimum of 1 is required.")
        if not reset and not self._takes_any_size():
            raise ValueError(
                f"Got X as images, but {type(self).__name__} was fitted on rows of shape "
                f"{self.input_shape_}; expected the same."
            )
        is_numbers = isinstance(X, np.ndarray) and X.dtype.kind == "f"
        if not reset and not self._saw_bytes and not is_numbers:
            raise ValueError(
                f"Got X as images, but {type(self).__name__} was fitted on arrays of another dtype "
                "than uint8; expected such arrays, since bytes are divided by 255."
            )
        if reset or not self.input_shape_:
            # The column that stands for all kinds of containers; frames have its name.
            column = X if len(getattr(X, "columns", ())) == 1 else np.zeros((len(images), 1))
            validate_data(self, column, reset=reset, skip_check_array=True)
        if reset:
            self.input_shape_, self._saw_bytes = (), True
        return _add_target(images, y)

    def _check_table(self, X, y, table_input, *, reset):
        """Return encoded rows of a table, with the table if all of its columns are kept."""
        table = table_input.read(X if has_columns(X) else _plain_container(X))
        if not reset:
            table = table.take_columns(getattr(self, "feature_names_in_", None))
        validate_data(self, table.rows, reset=reset, skip_check_array=True)
        if reset:
            self.input_shape_, self._saw_bytes = (self.n_features_in_,), False
        keeps_columns = self._keeps_columns()
        rows = table_input.encode_rows(table, quiet=not reset, about_extra=not keeps_columns)
        return _add_target(TableRows(rows, table.rows) if keeps_columns else rows, y)

    def _keeps_columns(self):
        """Tell whether columns that the backbone does not know are of use."""
        return False

    def _image_options(self):
        """Return how images are read: parameters of estimators that have them."""
        return {
            "n_jobs": getattr(self, "n_jobs", None),
            "on_error": getattr(self, "on_error", "raise"),
        }

    def _takes_any_size(self):
        """Tell whether images of other sizes, or files, may follow what was seen in fit."""
        if len(self.input_shape_) == 1:
            return False
        return not self.input_shape_ or self._get_network_input().find_size() is not None

    def _get_network_input(self):
        """Return how the backbone that was fitted prepares rows."""
        raise NotImplementedError

    def _check_row_shape(self, shape):
        # Before scikit-learn's own check, which for images only knows the first axis of a row.
        if not self.input_shape_:
            raise ValueError(
                f"Got X with rows of shape {shape}, but {type(self).__name__} was fitted on "
                "images; expected images."
            )
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


def _add_target(rows, y):
    """Return rows, with y if there is any."""
    if isinstance(y, str) and y == "no_validation":
        return rows
    check_consistent_length(rows, y)
    return rows, y


def _row_shape(X):
    """Return the shape of a row also of lists and of array-likes that refuse numpy's functions."""
    return (X.shape if hasattr(X, "shape") else np.asarray(X).shape)[1:]


def _plain_container(X):
    """Return X, a torch tensor as an array; refuse what cannot become one, in plain words."""
    if type(X).__module__ == "torch":
        if X.requires_grad:
            raise ValueError("Got X as a tensor that requires grad; pass X.detach().")
        return X.cpu().float().numpy() if X.is_floating_point() else X.cpu().numpy()
    if isinstance(X, list | tuple):
        shapes = {np.shape(row) for row in X}
        if len(shapes) > 1:
            raise ValueError(
                f"Got X with rows of the shapes {sorted(shapes)[:4]}, but expected one shape; "
                "resize images first."
            )
        if len(X) and getattr(X[0], "ndim", 0) > 1:
            # One by one, so that images of bytes stay bytes.
            X = np.stack([np.asarray(_plain_container(row)) for row in X])
    columns = getattr(X, "columns", None)
    if columns is not None and len(set(columns)) < len(columns):
        repeated = sorted({str(c) for c in columns if list(columns).count(c) > 1})
        raise ValueError(f"Got X with repeated columns: {repeated[:4]}; expected each name once.")
    return X
