import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer.training._objectives import Multiclass, Multilabel, Regression
from sktransfer.training._source_target import read_source_target


@pytest.mark.parametrize(
    ("y", "kind", "classes"),
    [
        (["b", "a", "b"], Multiclass, ["a", "b"]),
        (pd.Series(["b", "a", "b"], dtype="category"), Multiclass, ["a", "b"]),
        (pd.Series(["b", "a", "b"], dtype="string"), Multiclass, ["a", "b"]),
        (pl.Series(["b", "a", "b"]), Multiclass, ["a", "b"]),
        (pd.Series([3, 1, 3], dtype="Int64"), Multiclass, [1, 3]),
        ([True, False, True], Multiclass, [False, True]),
        ([0.0, 2.0, 2.0], Multiclass, [0, 2]),
        ([[1], [0], [1]], Multiclass, [0, 1]),
        ([[1, 0], [0, 0], [1, 1]], Multilabel, None),
        (pd.DataFrame({"a": [True, False, True], "b": [False, False, True]}), Multilabel, None),
        ([0.5, 2.0, 2.0], Regression, None),
        ([[1.0, 7.0], [0.0, 3.0], [2.0, 5.0]], Regression, None),
    ],
)
def test_the_kind_of_labels_is_told_by_their_values(y, kind, classes):
    target = read_source_target(y)
    assert isinstance(target.objective, kind)
    assert target.targets.shape == (3, target.objective.n_outputs)
    found = None if target.classes is None else target.classes.tolist()
    assert found == classes


def test_numbers_are_standardised_with_the_weights_of_rows():
    weight = np.array([1.0, 1.0, 2.0])
    target = read_source_target([0.5, 1.5, 4.0], sample_weight=weight)
    assert np.average(target.targets[:, 0], weights=weight) == pytest.approx(0, abs=1e-6)
    assert np.average(target.targets[:, 0] ** 2, weights=weight) == pytest.approx(1, rel=1e-6)
    restored = target.targets * target.scale + target.mean
    assert restored.ravel() == pytest.approx([0.5, 1.5, 4.0])


def test_many_whole_numbers_need_a_word_of_what_they_are():
    age = np.arange(40)
    with pytest.raises(ValueError, match="40 different whole numbers.*task='regression'"):
        read_source_target(age)
    assert isinstance(read_source_target(age, "regression").objective, Regression)
    assert len(read_source_target(age, "classification").classes) == 40


def test_a_constant_output_beside_one_that_varies_stays_as_it_is():
    target = read_source_target([[1.5, 7.0], [0.5, 7.0]])
    assert target.scale.tolist() == [0.5, 1.0]
    assert (target.targets[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        ([1, 1, 1], "auto", "one class"),
        (["a", "a"], "auto", "one class"),
        ([1.5, np.nan], "auto", "1 missing or infinite"),
        ([1.5, np.inf], "auto", "1 missing or infinite"),
        (["a", None], "auto", "1 missing"),
        (pd.Series([1, pd.NA], dtype="Int64"), "auto", "1 missing"),
        (np.array(["a", 1], dtype=object), "auto", "of one type"),
        ([[1.0, np.nan], [0.5, 2.0]], "auto", "missing or infinite"),
        ([["a", "b"], ["c", "d"]], "auto", "no numbers"),
        ([[1, 0], [1, 0]], "auto", "the same in every row"),
        ([2.5, 2.5], "auto", "one value"),
        ([["x"], [None]], "regression", "missing"),
        (["x", "y"], "regression", "no numbers"),
        ([[1, 2], [0, 1]], "multilabel", "0 and 1"),
        ([[1, 0], [0, 1]], "classification", "one class per row"),
        (np.zeros((2, 2, 2)), "auto", "of shape"),
        (np.zeros((2, 0)), "auto", "of shape"),
        ([0, 1], "classes", "task='classes'"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(y, task, message):
    with pytest.raises(ValueError, match=message):
        read_source_target(y, task)
