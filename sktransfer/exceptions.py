"""Warnings and errors of sktransfer: mostly where transfer goes on, but may not be worth it."""

__all__ = [
    "ChannelConversionWarning",
    "ColumnMismatchWarning",
    "LowOverlapWarning",
    "MissingImageError",
    "NegativeTransferWarning",
    "RowCacheWarning",
    "UnreadableImageError",
]


class ChannelConversionWarning(UserWarning):
    """Images have other channels than the network takes: grey or alpha for colour, say.

    The channel is repeated, the three are mixed to grey, alpha becomes a white background. Said
    once in a process for each number of channels and `NetworkInput`, whatever the backbone.
    """


class ColumnMismatchWarning(UserWarning):
    """The columns of a table are not those that a network of tables was trained on.

    Some are missing, or are not used, or hold other categories, or numbers of another scale. With
    ``warnings.simplefilter("error", ColumnMismatchWarning)`` this is an error.
    """


class LowOverlapWarning(UserWarning):
    """The source and target domains hardly overlap.

    Few source rows carry nearly all of the weight, or a classifier tells the two domains
    apart almost without error. Weights then say little about the target.
    """


class NegativeTransferWarning(UserWarning):
    """Transfer was compared with not transferring on held-out target rows, and lost."""


class RowCacheWarning(UserWarning):
    """The row cache does less than it was asked for: rows go through the network again.

    Because a file or folder cannot be used, or because the network gives a row other activations
    in another pass.
    """


class UnreadableImageError(ValueError):
    """An image among the rows cannot be read: it is damaged, or no image."""


class MissingImageError(FileNotFoundError, UnreadableImageError):
    """There is no file under the path of an image among the rows."""
