"""The contract of the libraries that make networks by name."""

import abc

from sktransfer.utils._optional import import_optional


class Origin(abc.ABC):
    """One network of a library: how it is made, what it wants to be fed, where its weights are.

    Making one looks the name up and raises if the library does not know it.

    Parameters
    ----------
    name : str
        What stands behind the prefix in ``load_backbone("<prefix>/<name>")``.
    revision : str, default=None
        Commit or tag of the weights, where the library has such.
    image_size : (height, width), default=None
        Size of the images that will be given, if it is not the one that the weights want: for
        libraries that can make a network of fixed size for another one.
    """

    # Stands before the slash in a name, and is the name of the library and of our extra.
    prefix = ""

    def __init__(self, name, revision=None, image_size=None):
        self.name = name
        self.revision = revision
        self.image_size = image_size

    @property
    def full_name(self):
        return f"{self.prefix}/{self.name}"

    @abc.abstractmethod
    def fetch_weights(self):
        """Return the paths of the files with the pretrained weights, downloaded if need be."""

    @abc.abstractmethod
    def make(self, tensors=None):
        """Return the network with a recipe on it: with these weights, or with random ones.

        The number of outputs is that of the weights.

        Parameters
        ----------
        tensors : dict of str to Tensor, default=None

        Raises
        ------
        MismatchError
            If they do not fit.
        """

    @abc.abstractmethod
    def make_input(self):
        """Return the `NetworkInput` that the weights were trained with."""

    def find_classes(self, network):
        """Return the labels of the outputs of a network with the pretrained weights, or None."""
        return None

    @classmethod
    @abc.abstractmethod
    def remake(cls, **arguments):
        """Return the network of a recipe, with arbitrary weights. No download."""


def import_library(name):
    """Import a library that sktransfer does not need, or say how it is installed."""
    library = name.partition(".")[0]
    try:
        return import_optional(name, library, f"Networks of {library} need the package {library}")
    except (RuntimeError, OSError) as error:
        # A library that was built for another torch.
        raise ImportError(
            f"The package {library} is installed but cannot be imported ({error}); install "
            "versions of torch and torchvision that belong together."
        ) from error
