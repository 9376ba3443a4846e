"""What a source is labelled with, told from the labels: classes, several labels, or numbers."""

import dataclasses

import numpy as np

from sktransfer.training._objectives import Multiclass, Multilabel, Objective, Regression
from sktransfer.utils._validation import check_labels, check_option

TASKS = ("auto", "classification", "multilabel", "regression")
# Whole numbers of so many values may be classes, or may be counts, years or amounts.
_MOST_WHOLE_NUMBERS = 30


@dataclasses.dataclass(frozen=True)
class SourceTarget:
    """Labels of a source as numbers, and how to read outputs that were trained on them.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    objective : Objective
    targets : ndarray of shape (n, n_outputs), float32
    classes : ndarray of shape (n_outputs,) or None
        Labels of the outputs, of classes only.
    mean, scale : ndarray of shape (n_outputs,)
        Numbers were standardised by these, zero and one for everything else.
    """

    task: str
    objective: Objective
    targets: np.ndarray
    classes: np.ndarray | None
    mean: np.ndarray
    scale: np.ndarray


def read_source_target(y, task="auto", sample_weight=None):
    """Turn labels into a `SourceTarget`.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_outputs)
    task : {"auto", "classification", "multilabel", "regression"}
    sample_weight : ndarray of shape (n,), default=None
        Numbers are standardised with these.

    Raises
    ------
    ValueError
        For labels that are missing, that are all alike, or whose kind cannot be told.
    """
    check_option("task", task, TASKS)
    y = _as_array(y)
    if task == "auto":
        task = _find_task(y)
    return _READERS[task](y, sample_weight)


def _as_array(y):
    y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if y.dtype.kind == "U":
        y = y.astype(object)
    if y.ndim not in (1, 2) or 0 in y.shape[1:]:
        raise ValueError(
            f"Got y_source of shape {y.shape}, but expected (n,), or (n, n_outputs) for several "
            "labels or numbers per row."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.ndim == 1:
        check_labels(y)
        return y
    try:
        y = y.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Got y_source of shape {y.shape} with labels that are no numbers ({error}), but "
            "expected 0 and 1 for labels that a row lacks and has, or real numbers, none of them "
            "missing. For one class per row pass one column."
        ) from error
    if not np.isfinite(y).all():
        raise ValueError(
            "Got y_source with missing or infinite values, but expected a number for each row and "
            "column; remove those rows."
        )
    return y


def _find_task(y):
    if y.ndim == 2:
        return "multilabel" if np.isin(y, (0, 1)).all() else "regression"
    if y.dtype.kind not in "iuf":
        return "classification"
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        return "regression"
    n_values = len(np.unique(y))
    if n_values > _MOST_WHOLE_NUMBERS:
        raise ValueError(
            f"Got y_source with {n_values} different whole numbers, which may be classes or "
            "amounts; say which: task='classification' or task='regression'."
        )
    return "classification"


def _read_classes(y, sample_weight):
    if y.ndim == 2:
        raise ValueError(
            f"Got task='classification' with y_source of shape {y.shape}, but expected one class "
            "per row, shape (n,); or task='multilabel'."
        )
    classes, encoded = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"Got y_source with one class, {classes.tolist()[:1]}, but expected at least two "
            "classes with rows of a weight > 0; y_source=None learns from X_source alone."
        )
    objective = Multiclass(len(classes))
    return _unscaled("classification", objective, objective.encode(encoded), classes)


def _read_labels(y, sample_weight):
    y = y.reshape(len(y), -1)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"Got task='multilabel' with values such as {np.unique(y)[:5].tolist()}, but expected "
            "0 and 1 for labels that a row lacks and has."
        )
    y = y.astype(np.float32)
    if (y == y[0]).all():
        raise ValueError(
            "Got y_source whose labels are the same in every row, but expected at least one label "
            "that some rows have and others lack."
        )
    objective = Multilabel(y.shape[1])
    return _unscaled("multilabel", objective, objective.encode(y), None)


def _read_numbers(y, sample_weight):
    try:
        y = y.astype(np.float64).reshape(len(y), -1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Got task='regression' with labels that are no numbers: {error}."
        ) from error
    mean = np.average(y, axis=0, weights=sample_weight)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=sample_weight))
    varies = scale > 1e-12 * np.abs(mean)
    if not varies.any():
        raise ValueError(
            f"Got y_source with one value, {y[0].tolist()}, in every row, but expected values that "
            "differ."
        )
    scale = np.where(varies, scale, 1.0)
    objective = Regression(y.shape[1])
    targets = objective.encode((y - mean) / scale)
    return SourceTarget("regression", objective, targets, None, mean, scale)


def _unscaled(task, objective, targets, classes):
    n_outputs = targets.shape[1]
    return SourceTarget(task, objective, targets, classes, np.zeros(n_outputs), np.ones(n_outputs))


_READERS = {
    "classification": _read_classes,
    "multilabel": _read_labels,
    "regression": _read_numbers,
}
