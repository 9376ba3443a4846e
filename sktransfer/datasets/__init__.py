"""Data sets that need no network: digits as images, rendered digits, shifted toys."""

from sktransfer.datasets._digits import load_digit_images
from sktransfer.datasets._rendered_digits import make_rendered_digits
from sktransfer.datasets._shifts import CovariateShift, make_covariate_shift

__all__ = ["CovariateShift", "load_digit_images", "make_covariate_shift", "make_rendered_digits"]
