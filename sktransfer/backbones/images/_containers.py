"""What is no container of rows, said in plain words."""

import collections.abc
import os

from scipy.sparse import issparse

from sktransfer.backbones.images._image_items import is_file, is_pil
from sktransfer.utils._validation import list_options


def check_is_container(X):
    """Raise a TypeError for one path or image, a folder, a dict, and what can only be iterated.

    What else may be no container is left to scikit-learn.
    """
    if is_file(X):
        _refuse_file(X)
    if is_pil(X):
        raise TypeError(f"Got X={X!r}, which is one image; expected a list of images, X=[image].")
    if isinstance(X, collections.abc.Mapping):
        raise TypeError(
            f"Got X as a {type(X).__name__} with the keys {list_options(X, 4)}, but expected rows: "
            "an array, a frame (pandas.DataFrame(X) makes one of columns by name), or a list of "
            "images (list(X.values()))."
        )
    can_be_looked_up = hasattr(X, "__getitem__") or hasattr(X, "__array__") or issparse(X)
    if hasattr(X, "__iter__") and not can_be_looked_up:
        what = type(X).__name__
        raise TypeError(
            f"Got X as a {what}, which can only be iterated, but expected rows that can be looked "
            "up by number: an array, a frame, a list (list(X) makes one), or a map-style Dataset"
            f"{' (X.dataset, whose batches are ours to make)' * hasattr(X, 'dataset')}."
        )


def _refuse_file(X):
    if not isinstance(X, str | os.PathLike):
        raise TypeError(
            f"Got X as {len(X)} bytes, but expected rows; for one image file a list, X=[content]."
        )
    path = os.fspath(X)
    if os.path.isdir(path):
        raise TypeError(
            f"Got X={path!r}, the path of a folder, but expected rows; list the images in it: "
            f"X, y = sktransfer.datasets.load_image_folder({path!r})."
        )
    raise TypeError(
        f"Got X={path!r}, which is one path or text, but expected rows: a list of paths, also of "
        f"one image, X=[{path!r}]."
    )
