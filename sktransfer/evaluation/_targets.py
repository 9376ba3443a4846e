"""What is to be predicted, as numbers: classes one-hot, or columns of numbers."""

import dataclasses

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target

from sktransfer.utils._validation import check_labels, check_option

TASKS = ("auto", "classification", "regression")


@dataclasses.dataclass(frozen=True)
class Targets:
    """The labels of the rows.

    Parameters
    ----------
    columns : float64 ndarray of shape (n, n_classes) or (n, n_outputs)
        0 and 1 for classes; numbers as they came.
    codes : ndarray of int of shape (n,) or None
        Position of the class of each row; None for numbers.
    """

    columns: np.ndarray
    codes: np.ndarray | None = None

    @property
    def are_classes(self):
        return self.codes is not None

    def measure_chance(self):
        """Return what predictions without features reach: the share of the largest class, or 0."""
        return float(self.columns.mean(axis=0).max()) if self.are_classes else 0.0


def read_targets(y, task="auto"):
    """Check labels and turn them into `Targets`.

    Parameters
    ----------
    y : array-like of shape (n,), or (n, n_outputs) for numbers
    task : {"auto", "classification", "regression"}
        "auto": numbers if some are not whole, else classes.

    Raises
    ------
    ValueError
        For missing labels, for less than two classes, and for numbers that are all equal.
    """
    check_option("task", task, TASKS)
    if y is None:
        raise ValueError("Got y=None, but transferability is about labels; expected one per row.")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 1:
        check_labels(y)
    kind = type_of_target(y, input_name="y")
    if task == "regression" or (task == "auto" and kind.startswith("continuous")):
        return _read_numbers(y)
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            f"Got y of the kind {kind!r} and shape {y.shape} with task={task!r}, but expected one "
            "class per row; use task='regression' if these are numbers, or 0/1 columns to be taken "
            "as numbers."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"Got y with the one class {classes[:1].tolist()}, but expected at least two."
        )
    return Targets(np.eye(len(classes))[codes], codes)


def _read_numbers(y):
    numbers = check_array(y, dtype=np.float64, ensure_2d=False, allow_nd=False, input_name="y")
    numbers = numbers.reshape(len(numbers), -1)
    if (np.ptp(numbers, axis=0) == 0).any():
        raise ValueError("Got y with a column of equal numbers, but expected numbers that vary.")
    return Targets(numbers)
