"""Warnings and errors of sktransfer: mostly where transfer goes on, but may not be worth it."""

__all__ = [
    "LowOverlapWarning",
    "MissingImageError",
    "NegativeTransferWarning",
    "UnreadableImageError",
]


class LowOverlapWarning(UserWarning):
    """The source and target domains hardly overlap.

    Few source rows carry nearly all of the weight, or a classifier tells the two domains
    apart almost without error. Weights then say little about the target.
    """


class NegativeTransferWarning(UserWarning):
    """Transfer was compared with not transferring on held-out target rows, and lost."""


class UnreadableImageError(ValueError):
    """An image among the rows cannot be read: it is damaged, or no image."""


class MissingImageError(FileNotFoundError, UnreadableImageError):
    """There is no file under the path of an image among the rows."""
