import numpy as np
import pytest

from sktransfer.training._holding_out import hold_out


def split(n, share=0.2, rows=None, seed=0, **options):
    rows = np.arange(n, dtype=np.float32)[:, None] if rows is None else rows
    training, held_out = hold_out(rows, share, seed, **options)
    assert sorted([*training, *held_out]) == list(range(n))
    return training, held_out


def test_each_class_gives_its_share():
    label = np.repeat([0, 1, 2], [100, 50, 10])
    _, held_out = split(160, classes=label)
    assert np.bincount(label[held_out]).tolist() == pytest.approx([20, 10, 2], abs=1)
    assert len(held_out) == 32


@pytest.mark.parametrize("seed", range(5))
def test_no_class_is_held_out_as_a_whole(seed):
    label = np.repeat(np.arange(40), [1, 2] * 20)
    training, held_out = split(len(label), share=0.5, seed=seed, classes=label)
    assert set(label[training]) == set(range(40))
    assert len(held_out)


def test_equal_rows_stay_together():
    rows = np.repeat(np.arange(30.0), 3)[:, None]
    training, held_out = split(90, rows=rows)
    assert not np.isin(rows[held_out], rows[training]).any()
    assert len(held_out) == 18


def test_a_seed_decides():
    first, again, other = (split(100, seed=seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_few_rows_or_no_share_hold_out_none():
    assert len(split(2, share=0.15)[1]) == 0
    assert len(split(40, share=0.0)[1]) == 0


def test_low_and_high_numbers_give_their_share():
    numbers = np.random.default_rng(0).normal(size=200)
    for seed in range(20):
        _, held_out = split(200, seed=seed, numbers=numbers)
        assert np.median(numbers[held_out]) == pytest.approx(np.median(numbers), abs=0.1)
