import itertools

import pytest

from sktransfer.training import GradualUnfreezing
from sktransfer.training._batches import count_batches
from sktransfer.training._schedules import WarmupCosine, choose_batch_size, choose_epochs


def test_rates_rise_then_fall_to_zero():
    schedule = WarmupCosine(100)
    factors = [schedule(step) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0.0)
    assert WarmupCosine(1)(0) == 1.0


@pytest.mark.parametrize(("n_rows", "batch_size"), [(5, 8), (100, 12), (5000, 32)])
def test_the_budget_is_in_steps(n_rows, batch_size):
    assert choose_batch_size(n_rows) == batch_size
    n_batches = count_batches(n_rows, batch_size)
    steps = choose_epochs(n_batches) * n_batches
    assert 200 <= steps <= 2000 + n_rows / batch_size + 1


def test_blocks_begin_to_move_from_the_head_downwards():
    steps = [GradualUnfreezing(0.6).first_step(depth, 3, 100) for depth in (-1, 0, 1, 2)]
    assert steps == [0, 20, 40, 60]
    with pytest.raises(ValueError, match="Got until=2, but expected a number >= 0 and <= 1"):
        GradualUnfreezing(2)
