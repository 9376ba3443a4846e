"""Gains between paired losses."""

import math

import numpy as np
import pytest

from sktransfer.utils._gain import Gain, compare_losses


def test_a_gain_reads_well():
    assert str(Gain(0.1234, 0.05)) == "+0.123 ± 0.050"


def test_gain_is_paired_and_weighted():
    losses, others = np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 6.0])
    assert compare_losses(losses, others, np.ones(3)) == (1.0, 0.0)
    assert compare_losses(others, losses, np.ones(3)) == (-1.0, 0.0)
    gain = compare_losses(np.zeros(4), np.array([0.0, 2.0, 0.0, 2.0]), np.array([0.0, 2, 0, 2]))
    assert gain.mean == 2
    assert gain.standard_error == pytest.approx(np.std([0, 4, 0, 4], ddof=1) / 2)


def test_one_row_tells_nothing():
    assert compare_losses(np.zeros(1), np.ones(1), np.ones(1)) == (1.0, math.inf)


@pytest.mark.parametrize("scale", [1e-150, 1e200])
def test_losses_of_any_scale(scale):
    losses, others, weights = np.array([1.0, 2.0, 4.0]), np.array([2.0, 1.0, 7.0]), np.ones(3)
    gain = compare_losses(losses, others, weights)
    scaled = compare_losses(losses * scale, others * scale, weights)
    assert scaled == pytest.approx((gain.mean * scale, gain.standard_error * scale))
