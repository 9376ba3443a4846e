"""Alignment and encoding of tables: what holds for any of them."""

import dataclasses
import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer.backbones import NetworkInput, TableInput
from sktransfer.backbones.tables._encoded_rows import EncodedRows

RENAMED = {"age": "a", "sex": "b", "pressure": "c", "stage": "d", "smokes": "e"}


@pytest.fixture(scope="module")
def table(patients):
    return TableInput.learn(patients(200, seed=1)[0])


def test_what_is_known_of_the_columns(patients, table):
    X, _ = patients(200, seed=1)
    assert table.feature_names == tuple(X.columns)
    assert table.encoded_names == ("age", "pressure", "sex", "stage", "smokes")
    assert table.n_numeric == 2
    assert table.cardinalities == (2, 3, 2)
    assert table.n_encoded == 2 + 2 + 3
    assert table.has_names


def test_encoded_rows_are_as_documented(patients, table):
    X, _ = patients(200, seed=1)
    rows = table.prepare(X)
    assert rows.shape == (200, 7)
    assert rows.dtype == np.float32
    assert type(rows) is np.ndarray
    low, high = X["age"].quantile([0.25, 0.75])
    z = (X["age"] - X["age"].median()) / ((high - low) / 1.349)
    expected = (z / np.sqrt(1 + (z / 3) ** 2)).fillna(0)
    np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows[:, 2], X["age"].isna())
    codes = X["sex"].map({"female": 1, "male": 2}).fillna(0)
    np.testing.assert_array_equal(rows[:, 4], codes)
    np.testing.assert_array_equal(rows[:, 5], X["stage"].astype(int))


def test_the_source_decides_once_and_for_all(patients, table):
    """A row is encoded alike, whatever other rows are there."""
    X, _ = patients(50)
    together = table.prepare(X)
    alone = [table.prepare(X.iloc[i : i + 1]) for i in range(len(X))]
    np.testing.assert_array_equal(np.concatenate(alone), together)


@pytest.mark.parametrize("seed", range(5))
def test_permuting_columns_changes_nothing(seed, patients, table):
    X, _ = patients(30, seed)
    order = np.random.default_rng(seed).permutation(X.columns)
    np.testing.assert_array_equal(table.prepare(X[order]), table.prepare(X))
    as_polars = pl.from_pandas(X.astype({"stage": "int64"})[order])
    np.testing.assert_array_equal(table.prepare(as_polars), table.prepare(X))


@pytest.mark.parametrize("seed", range(5))
def test_permuting_the_columns_of_the_source_permutes_what_is_encoded(seed, patients):
    X, _ = patients(100, seed)
    order = np.random.default_rng(seed).permutation(X.columns)
    one, other = TableInput.learn(X), TableInput.learn(X[order])
    place = [one.encoded_names.index(name) for name in other.encoded_names]
    m = one.n_numeric
    columns = [*place[:m], *(m + p for p in place[:m]), *(m + p for p in place[m:])]
    np.testing.assert_array_equal(other.prepare(X), one.prepare(X)[:, columns])


def test_permuting_the_rows_of_the_source_changes_nothing(patients):
    X, _ = patients(100)
    assert TableInput.learn(X) == TableInput.learn(X.sample(frac=1, random_state=0))


def test_names_are_only_names(patients):
    X, _ = patients(50)
    one, other = TableInput.learn(X), TableInput.learn(X.rename(columns=RENAMED))
    np.testing.assert_array_equal(one.prepare(X), other.prepare(X.rename(columns=RENAMED)))


WRITTEN = {
    "int64": lambda codes: codes.astype("int64"),
    "float64": lambda codes: codes.astype("float64"),
    "Int8": lambda codes: codes.astype("Int8"),
    "str": lambda codes: codes.astype(str),
    "text of floats": lambda codes: codes.astype(float).astype(str),
    "category of numbers": lambda codes: codes.astype("category"),
    "category of texts": lambda codes: codes.astype(str).astype("category"),
    "int64[pyarrow]": lambda codes: codes.astype("int64[pyarrow]"),
    "objects of several types": lambda codes: pd.Series(
        [[str, int, float][i % 3](code) for i, code in enumerate(codes)], dtype=object
    ),
}


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", WRITTEN)
def test_the_type_of_keys_does_not_matter(source, target):
    codes = pd.Series(np.random.default_rng(0).integers(-2, 9, 60))
    table = TableInput.learn(pd.DataFrame({"a": WRITTEN[source](codes)}), categorical=["a"])
    known = table.columns[0].categories
    encoded = table.prepare(pd.DataFrame({"a": WRITTEN[target](codes)}))[:, 0]
    np.testing.assert_array_equal([int(known[int(c) - 1]) for c in encoded], codes)


def test_chosen_categories(patients):
    X, _ = patients(30)
    assert TableInput.learn(X, categorical=["age"]).n_numeric == 1
    assert TableInput.learn(X.to_numpy(), categorical=[0, 2, 3]).n_numeric == 0
    with pytest.raises(ValueError, match=r"no column 'agee'.*Did you mean 'age'"):
        TableInput.learn(X, categorical=["agee"])
    with pytest.raises(ValueError, match="no column 7"):
        TableInput.learn(X.to_numpy(), categorical=[7])
    for value in ("all", None, 3):
        with pytest.raises((TypeError, ValueError), match="expected 'auto' or a sequence"):
            TableInput.learn(X, categorical=value)


def test_many_texts_that_come_again_are_categories():
    values = [f"city {i % 80}" for i in range(400)]
    assert TableInput.learn(pd.DataFrame({"a": values})).cardinalities == (80,)


def test_many_texts_that_are_numbers_are_numbers():
    X = pd.DataFrame({"a": [f"{i / 7:.3f}" for i in range(100)]})
    assert TableInput.learn(X).n_numeric == 1


def test_arrays_have_no_names():
    X = np.arange(12.0).reshape(4, 3)
    table = TableInput.learn(X)
    assert table.feature_names == ("x0", "x1", "x2")
    assert not table.has_names
    assert table == TableInput.learn(pd.DataFrame(X))
    with pytest.warns(UserWarning, match="which the source had not: they count by position"):
        table.prepare(pd.DataFrame(X, columns=list("abc")))


def test_encoded_rows_are_not_encoded_again(patients, table):
    X, _ = patients(20)
    rows = table.encode_rows(X)
    assert isinstance(rows, EncodedRows)
    assert table.encode_rows(rows) is rows
    np.testing.assert_array_equal(table.prepare(rows[3:5]), table.prepare(X)[3:5])
    np.testing.assert_array_equal(table.prepare(pickle.loads(pickle.dumps(rows))), rows)


def test_plain_data_and_back(patients, table):
    X, _ = patients(20)
    again = TableInput.from_data(json.loads(json.dumps(table.as_data())))
    assert again == table
    assert hash(again) == hash(table)
    assert repr(again) == repr(table)
    np.testing.assert_array_equal(again.prepare(X), table.prepare(X))
    assert pickle.loads(pickle.dumps(table)) == table


def test_plain_data_of_others(table):
    data = table.as_data()
    with pytest.raises(ValueError, match=r"version 2, but .* up to 1; update sktransfer"):
        TableInput.from_data(data | {"version": 2})
    for broken in (
        {k: v for k, v in data.items() if k != "columns"},
        data | {"columns": [{"name": "a"}]},
        data | {"columns": [{"name": "a", "center": 0, "scale": -1}]},
        data | {"columns": [{"name": "a", "center": float("nan"), "scale": 1}]},
        data | {"columns": 3},
    ):
        with pytest.raises(ValueError, match="description of columns that cannot be read"):
            TableInput.from_data(broken)


def test_any_difference_shows_in_the_repr(patients, table):
    """By which backbones, and so their cached rows, are told apart."""
    X, _ = patients(200, seed=1)
    others = [
        TableInput.learn(X.assign(age=X["age"] + 1)),
        TableInput.learn(X.assign(age=X["age"] * 2)),
        TableInput.learn(X.rename(columns={"age": "years"})),
        TableInput.learn(X.assign(sex=X["sex"].str.upper())),
        TableInput.learn(X[X.columns[::-1]]),
        dataclasses.replace(table, has_names=False),
    ]
    assert len({repr(t) for t in [table, *others]}) == 7
    assert len({*others, table}) == 7


def test_it_cannot_be_changed(table):
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.columns = ()


def test_it_answers_what_a_network_input_answers(table):
    """Whoever asks one may ask the other."""
    asked = [name for name in dir(NetworkInput) if not name.startswith("_")]
    own = {"mean", "std", "resize", "crop", "interpolation", "channels_last"}
    of_images = {"check_row", "fit_images", "arrange_images"}
    assert {name for name in asked if not hasattr(table, name)} <= own | of_images
