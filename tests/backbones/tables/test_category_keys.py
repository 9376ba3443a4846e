from decimal import Decimal

import numpy as np
import pytest

from sktransfer.backbones.tables._category_keys import index_keys, make_key


@pytest.mark.parametrize(
    "value", [1, 1.0, "1", "1.0", "1.", " 1 ", np.int8(1), np.float32(1), Decimal(1), b"1", "1.000"]
)
def test_one_is_one_however_it_is_written(value):
    assert make_key(value) == "1"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        ("-0", "0"),
        (-3.0, "-3"),
        (1.5, "1.5"),
        ("1.5", "1.5"),
        (np.float64(0.1), "0.1"),
        (10**20, "100000000000000000000"),
        (True, "True"),
        (np.False_, "False"),
        ("  Male ", "Male"),
        ("male", "male"),
        ("Ärzte", "Ärzte"),
        (("a", 1), "('a', 1)"),
    ],
)
def test_key(value, key):
    assert make_key(value) == key


@pytest.mark.parametrize("text", ["007", "01234", "1e5", "1,5", "+1", "0x1", "١", "1_0"])
def test_texts_that_only_look_like_numbers_stay_texts(text):
    """Postal codes lose nothing."""
    assert make_key(text) == text


def test_codes_begin_at_one():
    assert index_keys(("a", "b")) == {"a": 1, "b": 2}


def test_truth_values_and_zero_and_one_are_the_same():
    for keys in (("False", "True"), ("0", "1")):
        codes = index_keys(keys)
        for written in ("True", "true", "1"):
            assert codes[written] == 2
        for written in ("False", "false", "0"):
            assert codes[written] == 1


def test_a_category_that_is_there_is_no_alias():
    codes = index_keys(("1", "True"))
    assert (codes["1"], codes["True"]) == (1, 2)
