"""Rows of two domains on one scale."""

import numpy as np
import pandas as pd
import pytest

from sktransfer.instance._standard_columns import draw_in_order, to_standard_columns


def test_numbers_are_standardised_over_both_domains():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 5
    scale, offset = np.array([1e140, 1e-140, 1.0]), np.array([0.0, 0.0, 1e6])
    columns = np.vstack(to_standard_columns(source * scale + offset, target * scale + offset, ""))
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(columns.std(axis=0), 1)
    plain = np.vstack(to_standard_columns(source, target, ""))
    np.testing.assert_allclose(columns, plain, atol=1e-6)


def test_constant_columns_are_zero():
    source, target = to_standard_columns(np.full((3, 1), 0.1), np.full((2, 1), 0.1), "")
    assert source.tolist() == [[0.0]] * 3 and target.tolist() == [[0.0]] * 2


def test_categories_become_columns():
    source = pd.DataFrame({"a": ["x", "y", None]})
    target = pd.DataFrame({"a": ["z", "x"]})
    source, target = to_standard_columns(source, target, "")
    assert source.shape == (3, 4) and target.shape == (2, 4)
    np.testing.assert_array_equal(source[0], target[1])
    distances = ((source[:, None] - target) ** 2).sum(axis=2)
    assert distances.tolist() == [[2, 0], [2, 2], [2, 2]]


def test_too_many_categories():
    names = pd.DataFrame({"name": [f"person {i}" for i in range(1200)]})
    with pytest.raises(
        ValueError, match="column of 1200 categories, 'name', but KLIEP makes.*group"
    ):
        to_standard_columns(names, names[:3], "KLIEP")


@pytest.mark.parametrize("n_rows", [20, 50, 100])
def test_a_draw_goes_by_the_content_of_the_rows(n_rows):
    columns = np.random.default_rng(0).normal(size=(50, 2))
    order = np.random.default_rng(1).permutation(50)
    drawn = columns[draw_in_order(columns, n_rows, np.random.RandomState(0))]
    again = columns[order][draw_in_order(columns[order], n_rows, np.random.RandomState(0))]
    assert len(drawn) == min(n_rows, 50)
    np.testing.assert_array_equal(drawn, again)
