import numpy as np
import pytest

from sktransfer.backbones.tables._column import Column
from sktransfer.backbones.tables._number_column import NumberColumn


def learn(values):
    return NumberColumn.learn("a", Column.of_numbers(values))


def test_the_scale_is_robust():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, 10_000)
    values[:100] = 1e9
    column = learn(values)
    assert column.center == pytest.approx(5, abs=0.1)
    assert column.scale == pytest.approx(2, abs=0.1)


def test_a_column_that_is_mostly_constant():
    column = learn([0.0] * 90 + [10.0] * 10)
    assert (column.center, column.scale) == (0, 5)


def test_a_constant_column_and_one_of_no_values():
    assert learn([3.0, 3.0, np.nan]).scale == 1
    column = learn([np.nan, np.nan])
    numbers, is_missing = column.encode(Column.of_numbers([1.0, np.nan]))
    assert numbers.tolist() == [0, 0]
    assert is_missing.all()


def test_huge_and_tiny_numbers():
    for values in ([-1.7e308, 1.7e308, 0, 1e300], [0, 5e-324, 1e-323, 2e-323], [1e308] * 4):
        column = learn(values)
        numbers, _ = column.encode(Column.of_numbers(values))
        assert np.isfinite(numbers).all()
        assert np.abs(numbers).max() <= 3


def test_encoding_keeps_the_order():
    column = learn(np.arange(100.0))
    numbers, _ = column.encode(Column.of_numbers(np.linspace(-300, 400, 50)))
    assert (np.diff(numbers) > 0).all()


def test_measured_in_units_of_the_source():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, 1000)
    column = learn(values)
    center, spread = column.measure(Column.of_numbers(values * 10), at_least=10)
    assert center == pytest.approx(22.5, abs=1)
    assert spread == pytest.approx(10, abs=0.01)
    assert column.measure(Column.of_numbers(values[:9]), at_least=10) is None


def test_numbers_as_text():
    column = learn([1.0, 2.0, 3.0])
    numbers, is_missing = column.encode(Column.of_objects(["2", " 2.0 ", "nan", None, "2e0"]))
    assert numbers.tolist() == [0] * 5
    assert is_missing.tolist() == [False, False, True, True, False]
