import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from sktransfer.backbones.tables._column import Column, Kind

KINDS = [
    ([1, 2.5, None], Kind.NUMBERS),
    ([Decimal("1.5"), Fraction(1, 2), np.float32(1)], Kind.NUMBERS),
    ([True, 2], Kind.NUMBERS),
    ([True, None, np.False_], Kind.CATEGORIES),
    (["a", 1, None], Kind.TEXTS),
    ([b"a"], Kind.TEXTS),
    ([None, np.nan, pd.NA, pd.NaT, "", "  "], Kind.EMPTY),
    ([datetime.date(2020, 1, 1), None], Kind.TIMES),
    ([datetime.time(1), "a"], Kind.TIMES),
    ([pd.Period("2020")], Kind.TIMES),
    ([np.timedelta64(1, "D")], Kind.TIMES),
    ([[1], None], Kind.NESTED),
    ([{"a": 1}], Kind.NESTED),
    ([(1, 2)], Kind.NESTED),
    ([np.zeros(2)], Kind.NESTED),
    ([object()], Kind.NESTED),
    ([1j], Kind.COMPLEX),
]


@pytest.mark.parametrize(("values", "kind"), KINDS, ids=repr)
def test_kind_of_objects(values, kind):
    assert Column.of_objects(values).kind is kind


def test_numbers_among_objects():
    column = Column.of_objects([1, None, 2.5, Decimal("0.5"), pd.NA])
    np.testing.assert_array_equal(column.numbers, [1, np.nan, 2.5, 0.5, np.nan])


def test_codes_of_objects():
    column = Column.of_objects(["b", None, "a", "b", float("nan"), float("nan"), ""])
    assert [None if c < 0 else column.distinct[c] for c in column.codes] == [
        *("b", None, "a", "b"),
        *(None, None, None),
    ]


def test_categories_that_no_row_has_are_left_out():
    column = Column.of_categories([2, -1, 0, 2], ["a", "b", "c"])
    assert column.distinct == ["a", "c"]
    assert column.codes.tolist() == [1, -1, 0, 1]


def test_numbers_as_categories():
    column = Column.of_numbers([3, np.nan, 1, 3]).as_categories()
    assert column.distinct == [1.0, 3.0]
    assert column.codes.tolist() == [1, -1, 0, 1]
