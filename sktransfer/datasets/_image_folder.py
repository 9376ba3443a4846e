"""A folder of images, with one sub-folder per class."""

import os

import numpy as np

__all__ = ["load_image_folder"]

EXTENSIONS = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
# Classes or files that a message names.
NAMED = 4


def load_image_folder(path, *, classes=None, extensions=EXTENSIONS, recursive=False):
    """List the images of a folder that has one sub-folder per class.

    Nothing is read: estimators on networks take the paths, and read each image when they need it.
    Links to files and folders are followed; names that begin with a dot, and files with another
    extension, are left out.

    Parameters
    ----------
    path : str or path-like
        The folder.

    classes : sequence of str, default=None
        Names of the sub-folders to take; None: all of them.

    extensions : sequence of str, default=those of common image files
        Endings of image files, in capitals or not. The default has those of BMP, GIF, JPEG, PNG,
        PBM, PGM, PPM, TIFF and WebP.

    recursive : bool, default=False
        Whether images in folders within that of a class belong to the class. Otherwise such a
        folder is an error, since it may be a class as well.

    Returns
    -------
    paths : ndarray of str, of shape (n_images,)
        Sorted by class, then by name; they begin with ``path`` as it was given.

    labels : ndarray of str, of shape (n_images,)
        The names of the sub-folders.

    Raises
    ------
    ValueError
        If there is no class, or a class without images.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sktransfer.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
    ...         file = pathlib.Path(folder, name)
    ...         file.parent.mkdir(exist_ok=True)
    ...         file.touch()
    ...     paths, labels = load_image_folder(folder)
    >>> labels.tolist()
    ['cat', 'cat', 'dog']
    """
    path = os.path.expanduser(os.fspath(path))
    if not os.path.isdir(path):
        raise NotADirectoryError(f"Got path={path!r}, but there is no such folder.")
    endings = _check_extensions(extensions)
    found = {
        name: _list_images(os.path.join(path, name), endings, recursive)
        for name in _choose_classes(path, classes, endings)
    }
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise ValueError(
            f"Got path={path!r} with the classes {_name_some(empty)}, which hold no file that ends "
            f"in {', '.join(endings)}; expected images in each; remove these folders, or name "
            "the others in classes=..."
        )
    paths = [file for files in found.values() for file in files]
    labels = [name for name, files in found.items() for _ in files]
    return np.array(paths), np.array(labels)


def _check_extensions(extensions):
    extensions = (extensions,) if isinstance(extensions, str) else tuple(extensions)
    if not extensions or not all(isinstance(e, str) and e.strip(".") for e in extensions):
        raise ValueError(
            f"Got extensions={extensions!r}, but expected endings of files, such as ('.jpg',)."
        )
    return tuple(f".{extension.lstrip('.').lower()}" for extension in extensions)


def _choose_classes(path, classes, endings):
    """Return the names of the sub-folders to take, sorted."""
    folders, files = _list_entries(path)
    if classes is not None:
        classes = [classes] if isinstance(classes, str) else [str(name) for name in classes]
        unknown = sorted(set(classes) - set(folders))
        if unknown or not classes:
            raise ValueError(
                f"Got classes={classes!r}, but expected names of sub-folders of {path!r}: "
                f"{_name_some(folders)}."
            )
        return sorted(set(classes))
    if not folders:
        n_images = sum(name.lower().endswith(endings) for name in files)
        raise ValueError(
            f"Got path={path!r} with {n_images} images and no sub-folder; expected one sub-folder "
            "per class, with its images in it."
        )
    return folders


def _list_images(folder, endings, recursive, seen=()):
    """Return the paths of the images of a class."""
    folders, files = _list_entries(folder)
    if folders and not recursive:
        raise ValueError(
            f"Got the class folder {folder!r} with folders in it: {_name_some(folders)}; pass "
            "recursive=True if the images in them belong to the class."
        )
    images = [os.path.join(folder, name) for name in files if name.lower().endswith(endings)]
    # Links may lead back to where they are.
    seen = {*seen, os.path.realpath(folder)}
    for inner in (os.path.join(folder, name) for name in folders):
        if os.path.realpath(inner) not in seen:
            images += _list_images(inner, endings, recursive, seen)
    return images


def _list_entries(folder):
    """Return the sorted names of the folders and of the other entries, but for hidden ones."""
    with os.scandir(folder) as scanned:
        entries = sorted(
            (entry for entry in scanned if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    return (
        [entry.name for entry in entries if entry.is_dir()],
        [entry.name for entry in entries if not entry.is_dir()],
    )


def _name_some(names):
    shown = ", ".join(repr(name) for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
