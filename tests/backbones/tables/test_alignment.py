import warnings

import pytest

from sktransfer import ColumnMismatchWarning
from sktransfer.backbones.tables._alignment import align

KNOWN = ("age", "sex", "stage", "smokes")


def test_by_name():
    found = align(("sex", "city", "age", "stage", "smokes"), 5, KNOWN, True)
    assert found.positions == (2, 0, 3, 4)
    assert found.missing == ()
    assert found.extra == ("city",)


def test_by_position():
    assert align(None, 4, KNOWN, True).positions == (0, 1, 2, 3)
    found = align(("a", "b", "c", "d"), 4, ("x0", "x1", "x2", "x3"), False)
    assert found.positions == (0, 1, 2, 3)
    assert found.by_position


def test_half_of_the_columns_may_be_missing():
    found = align(("age", "sex"), 2, KNOWN, True)
    assert found.positions == (0, 1, None, None)
    assert found.missing == ("stage", "smokes")
    with pytest.raises(ValueError, match="3 of 4 are missing, more than half"):
        align(("age",), 1, KNOWN, True)


@pytest.mark.parametrize("has_names", [True, False])
def test_another_number_of_columns_without_names(has_names):
    with pytest.raises(ValueError, match=r"3 columns.*trained on 4: 'age'"):
        align(None, 3, KNOWN, has_names)


def test_long_lists_are_cut_short():
    known = tuple(f"column {i}" for i in range(100))
    with pytest.raises(ValueError, match=r"'column 7' and 92 more: 100 of 100") as told:
        align(("a",), 1, known, True)
    assert len(str(told.value)) < 500


def test_what_is_said():
    found = align(("Age", "sex", "stage", "smokes"), 4, KNOWN, True)
    with pytest.warns(ColumnMismatchWarning, match=r"'age'.*near: 'Age' for 'age'.*'Age', which"):
        found.warn(KNOWN, about_extra=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        align((*KNOWN, "city"), 5, KNOWN, True).warn(KNOWN, about_extra=False)
        align(KNOWN[::-1], 4, KNOWN, True).warn(KNOWN, about_extra=True)
