"""scikit-learn's handwritten digits, as images."""

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["load_digit_images"]


def load_digit_images():
    """Load scikit-learn's handwritten digits as grey images.

    Returns
    -------
    X : float32 array of shape (1797, 8, 8)
        Images with values from 0 (paper) to 16 (ink).

    y : integer array of shape (1797,)
        The digits, 0 to 9.

    Examples
    --------
    >>> from sktransfer.datasets import load_digit_images
    >>> X, y = load_digit_images()
    >>> X.shape
    (1797, 8, 8)
    """
    digits = load_digits()
    return digits.images.astype(np.float32), digits.target
