"""Real and rendered digits."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sktransfer.datasets import load_digit_images, make_rendered_digits


def test_real_digits():
    X, y = load_digit_images()
    assert X.shape == (1797, 8, 8)
    assert X.dtype == np.float32
    assert (X.min(), X.max()) == (0, 16)
    assert set(y) == set(range(10))


@pytest.mark.parametrize("size", [8, 16])
def test_rendered_digits(size):
    pytest.importorskip("matplotlib")
    X, y = make_rendered_digits(45, size=size, random_state=0)
    assert X.shape == (45, size, size)
    assert X.dtype == np.float32
    assert X.min() == 0 and X.max() == 16
    assert sorted(np.bincount(y)) == [4] * 5 + [5] * 5
    again, y_again = make_rendered_digits(45, size=size, random_state=0)
    np.testing.assert_array_equal(again, X)
    np.testing.assert_array_equal(y_again, y)
    assert (X.reshape(45, -1).max(axis=1) > 4).all()


def test_rendered_digits_resemble_real_ones():
    pytest.importorskip("matplotlib")
    X, y = make_rendered_digits(1000, random_state=0)
    X_real, y_real = load_digit_images()
    learner = LogisticRegression(max_iter=500).fit(X.reshape(1000, -1) / 16, y)
    assert learner.score(X_real.reshape(len(X_real), -1) / 16, y_real) > 0.5


def test_bad_parameters():
    with pytest.raises(ValueError, match="Got n_samples=0"):
        make_rendered_digits(0)
    with pytest.raises(ValueError, match="Got size=2"):
        make_rendered_digits(size=2)
