"""Tasks with much source and few labels of the target, for ``instance_quality.py``.

A family of tasks is a function of ``data``, a folder with ``load.py`` or None, and returns names
with functions of a seed, each of which draws a ``Task``.
"""

import importlib.util
import itertools
from typing import NamedTuple

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

N_LABELS = 20
N_TEST = 4000  # most rows of the target that are predicted
N_SOURCE = 2000  # most rows of the source


class Task(NamedTuple):
    """Rows of a source, few labelled rows of a target, and others of it to be predicted."""

    X_source: np.ndarray
    y_source: np.ndarray
    X_target: np.ndarray
    y_target: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


# Synthetic scenarios: 1,000 rows of the source, ten columns


def make_synthetic(data=None):
    return {
        "covariate shift": draw_covariate_shift,
        "rotated concept": draw_rotated_concept,
        "half of source wrong": draw_half_wrong,
        "40 % flips": draw_flips,
        "opposite concept": draw_opposite,
    }


def draw_covariate_shift(seed):
    """One curved rule for both domains; the target is shifted along two of the columns."""
    rng = np.random.default_rng(seed)

    def label(X):
        return (X[:, 0] + X[:, 1] ** 2 - 1 + 0.25 * rng.logistic(size=len(X)) > 0).astype(int)

    X_source, X_target, X_test = _draw_rows(rng, shift=[0.75, 1.0])
    return Task(X_source, label(X_source), X_target, label(X_target), X_test, label(X_test))


def draw_rotated_concept(seed):
    """The direction that decides is turned by 75 degrees, and the rows are shifted a little."""
    rng = np.random.default_rng(seed)
    X_source, X_target, X_test = _draw_rows(rng, shift=[0.0, 0.0, 1.0])
    turn = np.deg2rad(75)
    target, aside = np.eye(10)[0], np.eye(10)[1]
    source = np.cos(turn) * target + np.sin(turn) * aside
    return _label_linearly(rng, (X_source, X_target, X_test), source, target)


def draw_half_wrong(seed):
    """One half of the source, which a column tells from the other, has opposite labels."""
    rng = np.random.default_rng(seed)
    rows = _draw_rows(rng)
    task = _label_linearly(rng, rows, np.eye(10)[0], np.eye(10)[0])
    wrong = task.X_source[:, 1] < 0
    return task._replace(y_source=np.where(wrong, 1 - task.y_source, task.y_source))


def draw_flips(seed):
    """Labels of the source are wrong in 40 percent of its rows, at random."""
    rng = np.random.default_rng(seed)
    rows = _draw_rows(rng)
    task = _label_linearly(rng, rows, np.eye(10)[0], np.eye(10)[0])
    wrong = rng.random(len(task.y_source)) < 0.4
    return task._replace(y_source=np.where(wrong, 1 - task.y_source, task.y_source))


def draw_opposite(seed):
    """All labels of the source are the wrong way round."""
    rng = np.random.default_rng(seed)
    rows = _draw_rows(rng)
    return _label_linearly(rng, rows, -np.eye(10)[0], np.eye(10)[0])


def _draw_rows(rng, shift=()):
    mean = np.pad(np.asarray(shift, dtype=float), (0, 10 - len(shift)))
    sizes, means = (1000, N_LABELS, N_TEST), (0, mean, mean)
    return [rng.normal(size=(n, 10)) + m for n, m in zip(sizes, means, strict=True)]


def _label_linearly(rng, rows, source, target):
    X_source, X_target, X_test = rows

    def label(X, direction):
        return (X @ direction + 0.2 * rng.logistic(size=len(X)) > 0).astype(int)

    labels = [label(X, w) for X, w in zip(rows, (source, target, target), strict=True)]
    # A target of one class could not be learned alone.
    while len(np.unique(labels[1])) < 2:
        labels[1] = label(X_target, target)
    return Task(X_source, labels[0], X_target, labels[1], X_test, labels[2])


# Real data


def make_heart(data):
    """Heart disease in another hospital than Cleveland's, 13 columns with missing values."""
    load = import_loader(data)
    source = load.heart("cleveland")
    return {
        f"heart cleveland > {hospital}": _draw_from(source, load.heart(hospital))
        for hospital in ("hungarian", "switzerland", "va")
    }


def make_adult(data):
    """Income above 50,000 dollars in another group than the source's; categories and unknowns."""
    import pandas as pd

    load = import_loader(data)
    table = pd.concat([load.adult("train"), load.adult("test")], ignore_index=True)
    table = table.map(lambda value: value.strip() if isinstance(value, str) else value)
    table = table.replace("?", np.nan)
    income = table.columns[-1]
    y = table[income].astype(str).str.contains(">50K").to_numpy().astype(int)
    X = table.drop(columns=income)
    country = next(name for name in X.columns if "country" in name.lower())
    sex = next(name for name in X.columns if name.lower() in ("sex", "gender"))
    is_us = (X[country] == "United-States").to_numpy()
    is_man = (X[sex] == "Male").to_numpy()
    known = X[country].notna().to_numpy()
    return {
        "adult US > other": _draw_from(
            (X[is_us].drop(columns=country), y[is_us]),
            (X[~is_us & known].drop(columns=country), y[~is_us & known]),
            n_labels=40,
        ),
        "adult men > women": _draw_from(
            (X[is_man].drop(columns=sex), y[is_man]),
            (X[~is_man].drop(columns=sex), y[~is_man]),
            n_labels=40,
        ),
    }


def make_office(data):
    """Ten objects in pictures of four origins, 800 visual words; three labels per class."""
    load = import_loader(data)
    names = ("caltech", "amazon", "webcam", "dslr")
    domains = {name: load.office_caltech_surf(name, zscore=False) for name in names}
    domains = {name: (X / X.sum(axis=1, keepdims=True), y) for name, (X, y) in domains.items()}
    return {
        f"office {source[0]} > {target[0]}".upper(): _draw_from(
            domains[source], domains[target], per_class=3
        )
        for source, target in itertools.permutations(names, 2)
    }


FAMILIES = {
    "synthetic": make_synthetic,
    "heart": make_heart,
    "adult": make_adult,
    "office": make_office,
}


def import_loader(data):
    if data is None or not (data / "load.py").exists():
        raise FileNotFoundError(f"no load.py in {data}")
    spec = importlib.util.spec_from_file_location("load", data / "load.py")
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    return load


def _draw_from(source, target, n_labels=N_LABELS, per_class=None):
    """Return a function that draws labelled rows of the target and prepares all rows alike.

    Missing values, categories and scales are dealt with before any method gets the rows, from the
    source and the labelled rows of the target, so that methods differ in nothing else.
    """

    def draw(seed):
        rng = np.random.default_rng(seed)
        (X_source, y_source), (X, y) = source, target
        rows = rng.permutation(len(y))
        if per_class:
            train = np.concatenate([rows[y[rows] == label][:per_class] for label in np.unique(y)])
        else:
            train = rows[:n_labels]
            while min(np.bincount(y[train], minlength=2)) < 2:
                train = rng.permutation(len(y))[:n_labels]
        test = rng.permutation(np.setdiff1d(rows, train))[:N_TEST]
        some = rng.permutation(len(y_source))[:N_SOURCE]
        parts = [_take(X_source, some), _take(X, train), _take(X, test)]
        return Task(*_interleave(_prepare(*parts), (y_source[some], y[train], y[test])))

    return draw


def _take(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _interleave(arrays, labels):
    return itertools.chain.from_iterable(zip(arrays, labels, strict=True))


def _prepare(X_source, X_target, X_test):
    import pandas as pd

    frames = [pd.DataFrame(X) for X in (X_source, X_target, X_test)]
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    categories = OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist")
    prepare = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    prepare.fit(pd.concat(frames[:2], ignore_index=True))
    return [prepare.transform(frame).astype(np.float64) for frame in frames]
