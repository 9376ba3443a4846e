"""SourceDomain and the checks between two domains."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone

from sktransfer.domain import SourceDomain, check_domains, stack_labels, stack_rows, take_rows

X = np.arange(12.0).reshape(4, 3)
y = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (SourceDomain(X, y), "SourceDomain(4 rows x 3 columns, 2 classes)"),
        (SourceDomain(X), "SourceDomain(4 rows x 3 columns, no labels)"),
        (SourceDomain(X, y / 3), "SourceDomain(4 rows x 3 columns, float labels)"),
        (
            SourceDomain(np.zeros((4, 8, 8, 3)), y, sample_weight=[1, 0, 1, 2]),
            "SourceDomain(4 images of 8x8x3, 2 classes, weighted)",
        ),
        (SourceDomain(pd.DataFrame(X), y), "SourceDomain(4 rows x 3 columns, 2 classes)"),
        (
            SourceDomain(pl.DataFrame(X), list("abab")),
            "SourceDomain(4 rows x 3 columns, 2 classes)",
        ),
    ],
)
def test_repr_is_one_short_line(domain, text):
    assert repr(domain) == text


def test_nothing_takes_it_for_an_array():
    for name in ("__len__", "shape", "__array__", "__iter__", "__getitem__"):
        assert not hasattr(SourceDomain(X, y), name)


def test_cannot_be_changed():
    domain = SourceDomain(X, y, sample_weight=np.ones(4))
    with pytest.raises(AttributeError, match="cannot be changed"):
        domain.X = X
    with pytest.raises(AttributeError, match="cannot be changed"):
        del domain.y
    with pytest.raises(AttributeError):
        domain.other = 1
    for array in (domain.X, domain.y, domain.sample_weight):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    assert X.flags.writeable
    assert np.shares_memory(domain.X, X)


def test_frame_is_shielded_from_later_changes():
    frame = pd.DataFrame(X.copy())
    domain = SourceDomain(frame, y)
    frame.iloc[0, 0] = 99.0
    assert domain.X.iloc[0, 0] == 0.0


def test_copies_are_the_same_object_and_pickles_are_equal():
    domain = SourceDomain(X, y, sample_weight=[1, 2, 3, 4])
    assert clone(domain, safe=False) is copy.deepcopy(domain) is copy.copy(domain) is domain
    loaded = pickle.loads(pickle.dumps(domain))
    assert loaded != domain
    np.testing.assert_array_equal(loaded.X, X)
    np.testing.assert_array_equal(loaded.y, y)
    np.testing.assert_array_equal(loaded.sample_weight, [1, 2, 3, 4])
    assert not loaded.X.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": np.zeros(4)}, ValueError, r"Got X of shape \(4,\), but expected rows and columns"),
        ({"X": np.zeros((0, 3))}, ValueError, "at least one row"),
        ({"X": np.zeros((3, 0))}, ValueError, "one column"),
        ({"X": pd.DataFrame()}, ValueError, "at least one row"),
        ({"X": np.full((4, 3), np.inf)}, ValueError, "infinity"),
        ({"X": np.full((4, 8, 8), np.nan)}, ValueError, "images with NaN"),
        ({"X": X * 1j}, ValueError, "real numbers"),
        ({"X": sparse.csr_array(X)}, TypeError, "sparse.*toarray"),
        ({"y": y[:3]}, ValueError, "Got y of length 3, but expected 4"),
        ({"y": np.zeros((4, 2))}, ValueError, r"y of shape \(4, 2\)"),
        ({"y": [0, 1, np.nan, 1]}, ValueError, "1 missing or infinite label"),
        ({"y": ["a", None, "b", pd.NA]}, ValueError, "2 missing or infinite label"),
        ({"sample_weight": [1, 1, 1]}, ValueError, "sample_weight of length 3, but expected 4"),
        ({"sample_weight": [1, 1, 1, -2]}, ValueError, "minimum of -2"),
        ({"sample_weight": [1, 1, 1, np.nan]}, ValueError, "NaN or infinity"),
        ({"sample_weight": np.zeros(4)}, ValueError, "at least one row that counts"),
        ({"sample_weight": np.full(4, 1e308)}, ValueError, "a sum that is infinite"),
        ({"sample_weight": np.ones((4, 1))}, ValueError, r"shape \(4, 1\)"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        SourceDomain(**{"X": X, "y": y, **arguments})


def test_missing_values_in_tables_are_allowed():
    assert np.isnan(SourceDomain(np.full((4, 3), np.nan), y).X).all()


FRAME = pd.DataFrame(X, columns=["age", "height", "weight"])


@pytest.mark.parametrize(
    ("target", "source", "error", "message"),
    [
        (X, X[:, :2], ValueError, "source with 2 columns and a target with 3 columns"),
        (np.zeros((4, 8, 8)), np.zeros((4, 8, 9)), ValueError, r"\(8, 9\).*\(8, 8\)"),
        (np.zeros((4, 64)), np.zeros((4, 8, 8)), ValueError, r"\(8, 8\).*\(64,\)"),
        (X, FRAME, TypeError, "pandas DataFrame as source and a NumPy array as target"),
        (FRAME, pl.DataFrame(FRAME.to_dict("list")), TypeError, "polars DataFrame as source"),
        (X, X.astype(str), ValueError, "both to be numbers"),
        (FRAME, FRAME.rename(columns={"height": "heights"}), ValueError, "near: 'heights'"),
        (FRAME, FRAME.assign(shoe=1), ValueError, "the source has 'shoe', which the target lacks"),
        (FRAME, FRAME[["age", "weight"]], ValueError, "the source lacks 'height'"),
        (FRAME, FRAME[["weight", "age", "height"]], ValueError, "in the order 'weight', 'age'"),
        (FRAME, FRAME.assign(age="old"), ValueError, "column 'age' with dtype=.* in the source"),
    ],
)
def test_domains_that_do_not_match(target, source, error, message):
    with pytest.raises(error, match=message):
        check_domains(target, SourceDomain(source))


@pytest.mark.parametrize("rows", [X, FRAME, pl.DataFrame(FRAME.to_dict("list"))])
def test_domains_that_match(rows):
    check_domains(rows, SourceDomain(rows))
    both = stack_rows(rows, take_rows(rows, np.array([3, 3])))
    assert type(both) is type(rows)
    np.testing.assert_array_equal(np.asarray(both), X[[0, 1, 2, 3, 3, 3]])


def test_categories_are_united():
    target = pd.DataFrame({"job": pd.Categorical(["nurse", "judge"])})
    source = pd.DataFrame({"job": pd.Categorical(["cook", "nurse", None])}, index=[7, 8, 9])
    both = stack_rows(target, source)
    assert sorted(both["job"].cat.categories) == ["cook", "judge", "nurse"]
    assert both["job"].tolist()[:4] == ["nurse", "judge", "cook", "nurse"]
    assert both["job"].isna().tolist() == [False] * 4 + [True]
    assert both.index.tolist() == list(range(5))
    assert list(target["job"].cat.categories) == ["judge", "nurse"]


def test_enums_are_united():
    target = pl.DataFrame({"job": ["nurse", "judge"]}, schema={"job": pl.Enum(["nurse", "judge"])})
    source = pl.DataFrame({"job": ["cook"]}, schema={"job": pl.Enum(["cook"])})
    both = stack_rows(target, source)
    assert both["job"].to_list() == ["nurse", "judge", "cook"]
    assert both["job"].dtype == pl.Enum(["nurse", "judge", "cook"])


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        (np.array([0, 1]), np.array([1.0, 2.0]), np.array([0, 1, 1, 2])),
        (np.array([0, 1]), np.array([0.5]), np.array([0.0, 1.0, 0.5])),
        (np.array([0, 1], dtype=np.uint8), np.array([300]), np.array([0, 1, 300])),
        (np.array(["a", "b"]), np.array(["long"]), np.array(["a", "b", "long"])),
        (np.array(["a", "b"]), np.array(["c"], dtype=object), np.array(["a", "b", "c"])),
    ],
)
def test_labels_are_stacked_in_the_dtype_of_the_target(target, source, expected):
    both = stack_labels(target, source)
    np.testing.assert_array_equal(both, expected)
    assert both.dtype.kind == expected.dtype.kind


def test_labels_of_different_kinds():
    with pytest.raises(ValueError, match="source labels that are text .* but expected numbers"):
        stack_labels(np.array([0, 1]), np.array(["a"]))


def test_values_whose_squares_overflow_are_refused():
    with pytest.raises(ValueError, match=r"values up to 1e\+300.*scale"):
        SourceDomain(np.full((4, 2), 1e300), [0, 1, 0, 1])
