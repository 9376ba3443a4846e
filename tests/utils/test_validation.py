"""Checks of labels."""

import numpy as np
import pytest

from sktransfer.utils._validation import check_labels


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_labels_of_any_precision_pass_without_a_warning(dtype):
    check_labels(np.array([-1.5, 0, 2], dtype=dtype))


def test_labels_whose_squares_are_infinite():
    with pytest.raises(ValueError, match=r"Got y with values up to 1e\+200"):
        check_labels(np.array([0, -1e200]))
