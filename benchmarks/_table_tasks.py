"""Tables with a source and a target, for ``table_quality.py``.

A set is a function of ``data``, a folder with ``load.py`` or None, and a seed, and gives a
`TableTask`. Frames come as they are: categories as such, missing values missing.
"""

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
from _transfer_tasks import import_loader
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

N_SOURCE = 3000  # most rows of the source
N_TEST = 1000  # most rows of the target that are predicted
# Fewer test rows than these would measure nothing.
LEAST_TEST = 50
LEAST_PER_CLASS = 2
HOSPITALS = {"hungary": "hungarian", "switzerland": "switzerland", "va": "va"}
HEART_CATEGORIES = ("cp", "restecg", "slope", "thal")
HEART = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang"] + [
    "oldpeak",
    "slope",
    "ca",
    "thal",
]


class TableTask(NamedTuple):
    """Rows of a source with labels, and rows of a target, most of whose labels are held back."""

    X_source: pd.DataFrame
    y_source: np.ndarray
    X: pd.DataFrame
    y: np.ndarray
    relation: str = "same label"

    @property
    def has_same_label(self):
        return self.relation == "same label"

    def can_draw(self, n):
        return len(self.y) - n >= LEAST_TEST

    def draw(self, n, seed):
        """Return n labelled rows and their labels, test rows and their labels.

        The test rows of a seed do not depend on n, and fewer rows are among more. No class has
        fewer than two labelled rows, and all have test rows.
        """
        rng = np.random.default_rng(seed)
        n_most = max(size for size in (10, 30, 100, 300) if self.can_draw(size))
        n_test = min(N_TEST, len(self.y) - n_most)
        classes = np.unique(self.y)
        for _ in range(10_000):
            order = rng.permutation(len(self.y))
            first, test = order[:10], order[-n_test:]
            seen = [np.sum(self.y[first] == label) for label in classes]
            if min(seen) >= LEAST_PER_CLASS and np.isin(classes, self.y[test]).all():
                chosen = order[:n]
                return self.X.iloc[chosen], self.y[chosen], self.X.iloc[test], self.y[test]
        raise RuntimeError("No draw has two rows of each class.")


# Heart disease in other hospitals than Cleveland's


def load_heart(data, seed, *, hospital):
    load = import_loader(data)
    X_source, y_source = load.heart("cleveland")
    X, y = load.heart(HOSPITALS[hospital])
    return TableTask(_make_heart_frame(X_source), y_source, _make_heart_frame(X), y)


def _make_heart_frame(X):
    frame = pd.DataFrame(X, columns=HEART)
    for name in HEART_CATEGORIES:
        codes = frame[name].astype("Int64").astype("string")
        frame[name] = codes.astype(object).where(codes.notna(), None).astype("category")
    return frame


# Census rows: other people, another label


def load_adult(data, seed, *, split):
    table = _read_adult(data)
    X, income = table.drop(columns="income"), (table["income"] == ">50K").to_numpy().astype(int)
    if split == "country":
        is_source = (X["native_country"] == "United-States").to_numpy()
        is_target = ~is_source & X["native_country"].notna().to_numpy()
    else:
        is_source = (X["sex"] == "Male").to_numpy()
        is_target = ~is_source
    return _cut((X[is_source], income[is_source]), (X[is_target], income[is_target]), seed)


def load_adult_married(data, seed):
    """Source: who earns more. Target: who is married."""
    table = _read_adult(data)
    income = (table["income"] == ">50K").to_numpy().astype(int)
    married = table["marital_status"].str.startswith("Married").to_numpy().astype(int)
    X = table.drop(columns=["income", "marital_status", "relationship"])
    return _cut_in_two(X, income, married, seed)


def load_adult_occupation(data, seed):
    """Source: which of 14 occupations. Target: who earns more."""
    table = _read_adult(data)
    table = table[table["occupation"].notna() & (table["occupation"] != "Armed-Forces")]
    income = (table["income"] == ">50K").to_numpy().astype(int)
    X = table.drop(columns=["income", "occupation"])
    return _cut_in_two(X, table["occupation"].to_numpy().astype(str), income, seed)


def _read_adult(data):
    load = import_loader(data)
    table = pd.concat([load.adult("train"), load.adult("test")], ignore_index=True)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            column = table[name].astype(object).str.strip().str.rstrip(".")
            table[name] = column.where(column != "?", None)
    is_word = [name for name in table if table[name].dtype == object and name != "income"]
    return table.astype(dict.fromkeys(is_word, "category"))


def _cut(source, target, seed, relation="same label"):
    """Keep as many rows as the benchmark has time for."""
    rng = np.random.default_rng(1000 + seed)
    some = rng.permutation(len(source[1]))[:N_SOURCE]
    others = np.random.default_rng(7).permutation(len(target[1]))[: 3 * N_TEST]
    return TableTask(
        _take(source[0], some),
        source[1][some],
        _take(target[0], others),
        target[1][others],
        relation,
    )


def _cut_in_two(X, y_source, y_target, seed):
    half = np.random.default_rng(3).random(len(X)) < 0.5
    return _cut(
        (X[half], y_source[half]), (X[~half], y_target[~half]), seed, "other label, real data"
    )


# Tables of scikit-learn


def load_breast_cancer_by_texture(data, seed):
    """Source: the 60 percent of rows with the coarsest texture. Target: the others."""
    return _split_by_column(load_breast_cancer(as_frame=True), "mean texture", 0.4)


def load_wine_by_ash(data, seed):
    """Source: the half of the wines with more ash. Target: the others. Three classes."""
    return _split_by_column(load_wine(as_frame=True), "ash", 0.5)


def _take(X, rows):
    """Return rows of a frame, with the categories that are among them."""
    X = X.iloc[rows].reset_index(drop=True)
    words = X.select_dtypes("category").columns
    return X.assign(**{name: X[name].cat.remove_unused_categories() for name in words})


def _split_by_column(bunch, name, quantile):
    X, y = bunch.data, bunch.target.to_numpy()
    is_target = (X[name] < X[name].quantile(quantile)).to_numpy()
    return TableTask(
        X[~is_target].reset_index(drop=True),
        y[~is_target],
        X[is_target].reset_index(drop=True),
        y[is_target],
    )


def load_digits_by_class(data, seed):
    """Source: the digits 0 to 4. Target: 5 to 9."""
    bunch = load_digits(as_frame=True)
    X, y = bunch.data, bunch.target.to_numpy()
    is_source = y < 5
    return TableTask(
        X[is_source].reset_index(drop=True),
        y[is_source],
        X[~is_source].reset_index(drop=True),
        y[~is_source],
        "other label, other classes",
    )


# A synthetic family


def make_synthetic(data, seed, *, concept):
    """Rows of 15 numbers and a category, labels by six hidden features that are not linear.

    "same": the target has the rule of the source. "related": the source has eight classes, each
    with scores of its own on the hidden features; the target has two, with other scores on the
    same features. "unrelated": the features of the target are others. The rows of the target are
    shifted in five columns, 5 percent of the values are missing, and one category in eight is
    unknown to the source.
    """
    rule = np.random.default_rng(11)
    hidden, other = (rule.normal(size=(15, 6)) * (rule.random((15, 6)) < 0.3) for _ in range(2))
    class_scores, scores = rule.normal(size=(6, 8)), rule.normal(size=6)
    effects = rule.normal(size=8)

    def make_rows(n, rng, shift, n_categories):
        numbers = rng.normal(size=(n, 15))
        numbers[:, :5] += shift
        category = rng.integers(n_categories, size=n)
        return numbers, category

    def compute_features(rows, directions):
        numbers, category = rows
        values = np.tanh(numbers @ directions + 0.8 * effects[category][:, None])
        return np.concatenate([values[:, :2], 2 * values[:, 2:] ** 2], axis=1)

    def label(features, rng):
        centred = features - np.mean(features, axis=0)
        values = 3.0 * centred @ scores
        return (values + rng.logistic(scale=0.4, size=len(values)) > 0).astype(int)

    def as_frame(rows, rng):
        numbers, category = rows
        frame = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(15)])
        frame = frame.mask(rng.random(frame.shape) < 0.05)
        frame["group"] = pd.Categorical([f"g{code}" for code in category])
        return frame

    rng, target_rng = np.random.default_rng(1000 + seed), np.random.default_rng(17)
    source_rows = make_rows(N_SOURCE, rng, 0.0, 7)
    rows = make_rows(3 * N_TEST, target_rng, 0.5, 8)
    source_features = compute_features(source_rows, hidden)
    if concept == "related":
        values = 6 * (source_features - source_features.mean(axis=0)) @ class_scores
        y_source = (values + rng.gumbel(size=values.shape)).argmax(axis=1)
    else:
        y_source = label(source_features, rng)
    features = compute_features(rows, other if concept == "unrelated" else hidden)
    y = label(features, target_rng)
    relation = {
        "same": "same label",
        "related": "other label, related",
        "unrelated": "same label",
    }[concept]
    return TableTask(as_frame(source_rows, rng), y_source, as_frame(rows, target_rng), y, relation)


def _of_heart(hospital):
    return functools.partial(load_heart, hospital=hospital)


SETS = {
    "heart > hungary": _of_heart("hungary"),
    "heart > switzerland": _of_heart("switzerland"),
    "heart > va": _of_heart("va"),
    "breast cancer": load_breast_cancer_by_texture,
    "wine": load_wine_by_ash,
    "digits 0-4 > 5-9": load_digits_by_class,
    "synthetic, same": functools.partial(make_synthetic, concept="same"),
    "synthetic, related": functools.partial(make_synthetic, concept="related"),
    "synthetic, unrelated": functools.partial(make_synthetic, concept="unrelated"),
    "adult US > other": functools.partial(load_adult, split="country"),
    "adult men > women": functools.partial(load_adult, split="sex"),
    "adult income > married": load_adult_married,
    "adult occupation > income": load_adult_occupation,
}
