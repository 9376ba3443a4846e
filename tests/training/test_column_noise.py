import numpy as np
import pytest
import torch

from sktransfer.training import SCARF
from sktransfer.training._column_noise import EncodedColumns, RowNoise

COLUMNS = EncodedColumns(n_numeric=2, n_categorical=1)


def make_rows(n, seed=0):
    """Return rows of which each value tells its column: 1-2, 3-4, and codes from 5 on."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(size=(n, 2)) + [1, 3]
    codes = rng.integers(5, 9, size=(n, 1))
    return torch.as_tensor(np.hstack([numbers, np.zeros((n, 2)), codes]), dtype=torch.float32)


def test_dropped_values_look_like_missing_ones():
    rows = make_rows(4000)
    noisy = COLUMNS.drop(rows, 0.25)
    for number, missing in ((0, 2), (1, 3)):
        is_dropped = noisy[:, missing] == 1
        assert is_dropped.float().mean() == pytest.approx(0.25, abs=0.03)
        assert (noisy[is_dropped, number] == 0).all()
        assert torch.equal(noisy[~is_dropped, number], rows[~is_dropped, number])
    assert (noisy[:, 4] == 0).float().mean() == pytest.approx(0.25, abs=0.03)


def test_corrupted_values_come_from_the_same_column_of_other_rows():
    rows, donors = make_rows(200), make_rows(50, seed=1)
    corrupted = COLUMNS.corrupt(rows, donors, 0.67)
    replaced = torch.stack([corrupted[:, i] != rows[:, i] for i in (0, 1, 4)], dim=1)
    # Two of three columns; a category may be replaced by itself.
    assert set(replaced.sum(1).tolist()) <= {1, 2}
    assert replaced[:, :2].any(0).all()
    for place, i in enumerate((0, 1, 4)):
        assert torch.isin(corrupted[replaced[:, place], i], donors[:, i]).all()


def test_a_number_is_replaced_together_with_whether_it_is_missing():
    rows = make_rows(100)
    donors = rows.clone()
    donors[:, :2], donors[:, 2:4] = 0, 1
    corrupted = COLUMNS.corrupt(rows, donors, 1.0)
    assert (corrupted[:, :2] == 0).all()
    assert (corrupted[:, 2:4] == 1).all()


def test_with_scarf_rows_come_with_their_copies():
    rows = make_rows(20).numpy()
    pairs = RowNoise(COLUMNS, 0.0, SCARF(corruption=0.4), rows)(rows)
    assert pairs.shape == (20, 2, 5)
    assert np.array_equal(pairs[:, 0], rows)
    assert not np.array_equal(pairs[:, 1], rows)
    assert torch.equal(RowNoise(COLUMNS, 0.0, None, rows)(rows), torch.as_tensor(rows))


def test_tables_of_one_kind_of_columns():
    for columns in (EncodedColumns(3, 0), EncodedColumns(0, 6)):
        rows = torch.ones(10, 6)
        assert columns.drop(rows, 0.5).shape == (10, 6)
        assert torch.equal(columns.corrupt(rows, rows, 0.5), rows)
