"""Images as rows that are read when they are needed: files, PIL images, arrays of many sizes."""

import contextlib
import uuid
import warnings

import joblib
import numpy as np
import torch

from sktransfer.backbones.images._image_items import (
    WrongTypeError,
    digest_image,
    explain,
    is_absent,
    is_file,
    is_image,
    is_labelled,
    is_path,
    is_pixels,
    name_image,
    read_file,
    read_pixels,
)
from sktransfer.backbones.images._reading import Reading, threads
from sktransfer.exceptions import MissingImageError, UnreadableImageError

# Failed rows that a warning names.
_NAMED = 3


# Items of a Dataset that are drawn twice, to see whether they are the same again.
_DRAWN_TWICE = 8


class _ChangedError(ValueError):
    """An image is not what it was."""


class ImageRows:
    """Images, one per row, each read when it is needed and not kept.

    Estimators make these of what they are given. Made by hand, it is an X that scikit-learn can
    split where it cannot split the original, such as a `torch.utils.data.Dataset`, and one that
    says in how many threads to read, where an estimator does not.

    Parameters
    ----------
    images : sequence or torch.utils.data.Dataset
        Each a path, the bytes of a file, a PIL image, an array or a tensor: (height, width), or
        with channels first or last, of uint8 or floats. Items of a Dataset may be pairs, of which
        the first counts.
    n_jobs : int, default=None
        Threads that read images, or processes that read files within
        ``joblib.parallel_config(backend="loky")``; see joblib for None and negative numbers.
        Estimators whose own ``n_jobs`` is None, or that have none, go by this one.
    on_error : {"raise", "nan"}, default="raise"
        Whether an image that cannot be read is an error, or left out by `prepare` and `decode`.
        Estimators go by their own ``on_error``, and raise where they have none.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.backbones import ImageRows, NetworkInput
    >>> images = ImageRows([np.zeros((30, 40, 3), np.uint8), np.zeros((60, 50, 3), np.uint8)])
    >>> images.shape
    (2,)
    >>> images.prepare(NetworkInput(channels=3, resize=32, crop=32)).shape
    (2, 3, 32, 32)
    """

    ndim = 1
    dtype = np.dtype(object)

    def __init__(self, images, *, n_jobs=None, on_error="raise"):
        if isinstance(images, str | bytes) or not hasattr(images, "__len__"):
            raise TypeError(
                f"Got images={images!r}, but expected a list of images, or a Dataset that has a "
                "length; for one image a list of one."
            )
        self._images = images if _is_dataset(images) else _to_object_array(images)
        self._numbers = np.arange(len(images))
        self.n_jobs, self.on_error = n_jobs, on_error
        # Digests of what may be something else when it is read again: files, items of a Dataset.
        self._seen = {}

    def __len__(self):
        return len(self._numbers)

    @property
    def shape(self):
        return (len(self),)

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return self._get(self._numbers[rows])
        return self._replace(_numbers=self._numbers[rows])

    def __array__(self, dtype=None, copy=None):
        return _to_object_array([self._get(number) for number in self._numbers])

    def __repr__(self):
        return f"ImageRows({len(self)} images)"

    def with_options(self, *, n_jobs, on_error):
        """Return the same rows, read in another way; of None, in as many threads as before."""
        n_jobs = self.n_jobs if n_jobs is None else n_jobs
        return self._replace(n_jobs=n_jobs, on_error=on_error, _seen={})

    def find_readable(self, network_input):
        """Return the first image that can be read, as rows that say so if it cannot be any more.

        Raises
        ------
        ValueError
            If none can.
        """
        rows = self.with_options(n_jobs=None, on_error="raise")
        if self.on_error == "raise":
            return rows[:1]
        for i in range(len(rows)):
            try:
                rows[i : i + 1].prepare(network_input)
            except UnreadableImageError as error:
                last = error
            else:
                return rows[i : i + 1]
        raise ValueError(f"Got X with no image that can be read. {last}") from last

    def prepare(self, network_input):
        """Return all images as the network takes them: (n, channels, height, width), float32."""
        batches = self.read([np.arange(len(self))], network_input)
        return next(iter(batches))

    def decode(self, network_input):
        """Return all images at their final size, before they are normalised.

        Returns
        -------
        images : ndarray of shape (n, channels, height, width)
            uint8 if all images are of bytes, else float32.

        Raises
        ------
        ValueError
            Also if a Dataset gives other images when some are drawn again.
        """
        if _is_dataset(self._images):
            self[:_DRAWN_TWICE].digests()
        reading = Reading(self, [np.arange(len(self))], network_input, ImageRows._decode)
        (images,) = reading
        # As such a network has its rows given.
        return np.moveaxis(images, 1, -1) if network_input.channels_last else images

    def read(self, batches, network_input):
        """Read and prepare batches of rows, the next ones while one is used.

        Parameters
        ----------
        batches : list of int arrays
        network_input : NetworkInput

        Returns
        -------
        reading : Reading
        """
        return Reading(self, batches, network_input, ImageRows._prepare)

    def digests(self):
        """Return a digest per row of what would be read: of a file its bytes, not its name.

        A row that is not there has one that no other row has.
        """
        with threads(self.count_jobs()) as pool:
            return list(pool.map(self._digest, range(len(self))))

    def describe(self, row):
        """Return how messages call a row, such as "row 3 ('cat.jpg')"."""
        number = self._numbers[row]
        name = None if _is_dataset(self._images) else name_image(self._images[number])
        return f"row {number}" if name is None else f"row {number} ({name})"

    def warn_of_unread(self, unread):
        """Say which rows could not be read, if there are any.

        Parameters
        ----------
        unread : int array
            Rows.
        """
        if len(unread):
            named = ", ".join(self.describe(row) for row in unread[:_NAMED])
            more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
            warnings.warn(
                f"Got {len(unread)} of {len(self)} images that cannot be read, whose features are "
                f"NaN: {named}{more}. on_error='raise' says why.",
                UserWarning,
                stacklevel=2,
            )

    def are_files(self):
        """Tell whether all images that are there are paths or bytes of files."""
        if _is_dataset(self._images):
            return False
        images = (self._images[number] for number in self._numbers)
        return all(is_file(image) or is_absent(image) for image in images)

    def take_along(self, rows):
        """Return some rows without all the others, to be sent elsewhere."""
        numbers = self._numbers[rows]
        return self._replace(
            _images={number: self._images[number] for number in numbers},
            _numbers=numbers,
            _seen={number: self._seen[number] for number in numbers if number in self._seen},
        )

    def _replace(self, **changes):
        rows = object.__new__(type(self))
        rows.__dict__.update(self.__dict__, **changes)
        return rows

    def count_jobs(self):
        """Return how many threads or processes read."""
        return max(1, min(joblib.effective_n_jobs(self.n_jobs), len(self)))

    def _get(self, number):
        image = self._images[int(number)]
        is_pair = isinstance(image, tuple | list) and _is_dataset(self._images)
        return image[0] if is_pair and len(image) else image

    def _digest(self, row):
        number = self._numbers[row]
        self._seen.pop(number, None)
        try:
            with self._explaining(row):
                image = self._get(number)
                digest = digest_image(image)
        except UnreadableImageError:
            if self.on_error == "raise":
                raise
            return uuid.uuid4().bytes
        if is_path(image) or _is_dataset(self._images):
            self._seen[number] = digest
        return digest

    def _prepare(self, row, network_input):
        """Return one image as the network takes it, (1, channels, height, width)."""
        images = self._decode(row, network_input)
        arranged = network_input.arrange_images(images)
        return network_input.normalise(arranged, out=arranged)

    def _decode(self, row, network_input):
        """Return one image at its final size, (1, channels, height, width)."""
        with self._explaining(row):
            # Of a file its bytes, so that what is compared is what is decoded.
            image = read_file(self._get(self._numbers[row]))
            self._check_unchanged(row, image)
            pixels = read_pixels(image, network_input)
        try:
            images = network_input.fit_images(pixels[np.newaxis])
            network_input.check_row(images.shape[1:], images.shape)
        except ValueError as error:
            raise ValueError(f"{error} (In {self.describe(row)}.)") from error
        return images

    def _check_unchanged(self, row, image):
        """Raise if an image is not what it was when its digest was asked for."""
        seen = self._seen.get(self._numbers[row])
        if seen is None or digest_image(image) == seen:
            return
        if not _is_dataset(self._images):
            raise _ChangedError(
                f"Got X with a file that changed while it was read, in {self.describe(row)}; "
                "expected files that stay as they are until the call has ended; call again."
            )
        raise _ChangedError(
            f"Got a Dataset that gives another image each time for {self.describe(row)}, but "
            "expected the same; leave random transforms out. Estimators that train the network "
            "have augment=... for them; features of images as they happen to be need cache=False."
        )

    @contextlib.contextmanager
    def _explaining(self, row):
        """Name the row and its file in whatever is raised."""
        try:
            yield
        except (WrongTypeError, _ChangedError, ImportError, MemoryError):
            raise
        except Warning as error:
            # Where warnings are errors: of Pillow, which names no file.
            error.add_note(f"(In {self.describe(row)}.)")
            raise
        except Exception as error:
            kind = (
                MissingImageError if isinstance(error, FileNotFoundError) else UnreadableImageError
            )
            raise kind(
                f"Got X with an image that cannot be read in {self.describe(row)}: "
                f"{explain(error)}."
            ) from error


def as_image_rows(X, *, n_jobs=None, on_error="raise"):
    """Return X as `ImageRows` if it is images that cannot form one array as they are, else None.

    These are a Dataset, or one column, list or frame of paths, bytes of files or PIL images, or
    arrays of differing sizes.
    """
    if isinstance(X, ImageRows):
        return X.with_options(n_jobs=n_jobs, on_error=on_error)
    if _is_dataset(X) and not (hasattr(X, "__len__") and hasattr(X, "__getitem__")):
        raise TypeError(
            f"Got X={X!r}, a {type(X).__name__}, but expected rows that can be looked up by "
            "number: a Dataset with __len__ and __getitem__."
        )
    if not _is_dataset(X):
        X = _find_images(_list_column(X))
    return None if X is None else ImageRows(X, n_jobs=n_jobs, on_error=on_error)


def _is_dataset(X):
    return isinstance(X, torch.utils.data.Dataset)


def _list_column(X):
    """Return the values of the only column of X, or None if it has others or holds numbers."""
    if isinstance(X, list | tuple):
        return X
    if isinstance(X, np.ndarray):
        is_column = X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)
        return X.ravel() if is_column and X.dtype.kind in "OUT" else None
    library = type(X).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return None
    if len(X.shape) == 2:
        if X.shape[1] != 1:
            return None
        X = X.iloc[:, 0] if library == "pandas" else X.to_series(0)
    is_numeric = X.dtype.is_numeric() if library == "polars" else X.dtype.kind in "biufc"
    # No list: arrays in it that are alike are still no rows that scikit-learn can stack.
    return None if is_numeric else _to_object_array(X.to_list())


def _find_images(values):
    """Return the images among values, or None if these are not images to be read one by one."""
    if values is None:
        return None
    first = next((value for value in values if not is_absent(value)), None)
    if first is None:
        return None
    if is_labelled(first):
        # Items of a Dataset, of which scikit-learn made a list.
        values, first = [value[0] for value in values], first[0]
    elif is_pixels(first) and isinstance(values, list | tuple):
        alike = all(is_pixels(v) and tuple(v.shape) == tuple(first.shape) for v in values)
        # Bytes among floats would become floats, which are not divided by 255.
        one_kind = alike and len({str(v.dtype).endswith("uint8") for v in values}) == 1
        return None if one_kind else _check_types(values)
    return _check_types(values) if is_image(first) else None


def _check_types(images):
    for row, image in enumerate(images):
        if not (is_image(image) or is_absent(image)):
            raise TypeError(
                f"Got X with {image!r} in row {row}, but expected an image: a path, the bytes of a "
                "file, a PIL image or an array (height, width), or with channels."
            )
    return images


def _to_object_array(images):
    array = np.empty(len(images), dtype=object)
    for i, image in enumerate(images):
        array[i] = image
    return array
