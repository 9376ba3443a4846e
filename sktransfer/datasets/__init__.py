"""Data sets that need no network: digits, rendered digits, shifted toys, folders of images."""

from sktransfer.datasets._digits import load_digit_images
from sktransfer.datasets._image_folder import load_image_folder
from sktransfer.datasets._rendered_digits import make_rendered_digits
from sktransfer.datasets._shifts import CovariateShift, make_covariate_shift

__all__ = [
    "CovariateShift",
    "load_digit_images",
    "load_image_folder",
    "make_covariate_shift",
    "make_rendered_digits",
]
