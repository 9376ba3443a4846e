"""From the rows of an array to what a network takes."""

import dataclasses
import math

import numpy as np

from sktransfer.backbones._pixel_average import PixelAverage
from sktransfer.backbones.images._channels import COLOUR, GREY, are_convertible, convert_channels
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.backbones.images._resize import as_pair, final_size, resize_images
from sktransfer.utils._validation import check_count, check_number, check_option

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclasses.dataclass(frozen=True)
class NetworkInput:
    """What a network wants to be fed, and how rows of an array are turned into it.

    Parameters
    ----------
    channels : int or None, default=None
        Number of image channels that the network takes; 0 if it takes vectors; None if unknown,
        and then arrays are passed on as they come.
    min_size : int, default=1
        Smallest height and width of an image, in pixels.
    mean, std : tuple of float, default=None
        Per channel (or one value for all): the images become ``(image - mean) / std``, after
        images of dtype uint8 have been divided by 255.
    resize : int or (height, width), default=None
        Size in pixels that images get first: an integer is for the shorter side, the other one
        keeps the proportion. None leaves them as they are.
    crop : int or (height, width), default=None
        Size of the part in the middle that is then cut out; smaller images get black borders.
        None keeps all. Images that have this size from the start are not resized.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
        How images are resized; all but "nearest" average what becomes one pixel.
    channels_last : bool or None, default=None
        Whether the channels are the last axis of images (height, width, channels), or the first.
        None tells by the lengths of the axes: ``channels`` where that is known. Set it where that
        cannot tell, as for rows of shape (3, 32, 3).

    Notes
    -----
    Grey images fit a network of three channels, and colour images a network of one: the channel is
    repeated, or the three are mixed to luma (ITU-R BT.601), as image libraries do, before mean and
    standard deviation are applied. A first convolution then computes on a grey image what one
    computes whose weights are summed over the channels.

    The last of two or four channels is the opacity (floats from 0 to 1): such images come before a
    white background, unless the network takes two or four channels; then images without it get an
    opaque one.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.backbones import NetworkInput
    >>> NetworkInput(channels=1).prepare(np.zeros((5, 64)), image_shape=(8, 8)).shape
    (5, 1, 8, 8)
    """

    channels: int | None = None
    min_size: int = 1
    mean: tuple | None = None
    std: tuple | None = None
    resize: int | tuple | None = None
    crop: int | tuple | None = None
    interpolation: str = "bilinear"
    channels_last: bool | None = None

    # Whether X may be a frame of columns of any type, see `TableInput`.
    takes_frames = False

    def __post_init__(self):
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None:
                value = tuple(np.atleast_1d(value).tolist())
                for number in value:
                    check_number(name, number)
                object.__setattr__(self, name, value)
        if self.channels is not None:
            check_count("channels", self.channels, low=0)
        check_count("min_size", self.min_size)
        for name in ("mean", "std"):
            self._check_per_channel(name, getattr(self, name))
        if self.std is not None and not all(v > 0 for v in self.std):
            raise ValueError(f"Got std={self.std!r}, but expected numbers > 0.")
        for name in ("resize", "crop"):
            object.__setattr__(self, name, _check_size(name, getattr(self, name)))
        check_option("interpolation", self.interpolation, INTERPOLATIONS)
        if self.channels_last is not None:
            check_option("channels_last", self.channels_last, (True, False))

    def _check_per_channel(self, name, values):
        if values is None or (len(values) == 1 and self.channels != 0):
            return
        if self.channels == 0:
            raise ValueError(f"Got {name}={values!r} with channels=0, but vectors have none.")
        if len(values) != self.channels:
            raise ValueError(
                f"Got {name}={values!r} with channels={self.channels!r}, but expected one value, "
                "or as many as there are channels."
            )

    def find_size(self):
        """Return (height, width) of prepared images if it is the same for all, else None."""
        if self.crop is not None:
            return as_pair(self.crop)
        return self.resize if isinstance(self.resize, tuple) else None

    def check(self, shape, image_shape=None):
        """Raise unless rows of this shape, read as ``image_shape``, fit the network."""
        if len(shape) == 1:
            self._check_images_to_read(image_shape)
            return
        self.check_row(self._row_shape(shape, image_shape), shape)

    def check_row(self, row_shape, shape):
        """Raise unless a row of this shape, of an image channels first, fits the network."""
        if self.channels is None:
            return
        if self.channels == 0:
            if len(row_shape) != 1:
                raise ValueError(
                    f"Got X with rows of shape {shape[1:]}, but the network takes vectors; "
                    "expected a 2-D X."
                )
            return
        if len(row_shape) == 1:
            raise ValueError(
                f"Got X with {row_shape[0]} columns, but the network takes images"
                f"{_guess_image_shape(row_shape[0], self.channels)}"
            )
        channels, *size = row_shape
        if channels != self.channels and not are_convertible(channels, self.channels):
            way_out = _guess_conversion(self.channels, channels)
            raise ValueError(
                f"Got X with images of {channels} channel(s) (rows of shape {shape[1:]}), but the "
                f"network takes {self.channels} channel(s){way_out}"
            )
        size = final_size(size, self.resize, self.crop)
        if min(size) < self.min_size:
            raise ValueError(
                f"Got X with images of {size[0]} x {size[1]} pixels, but the network takes images "
                f"of at least {self.min_size} x {self.min_size}."
            )

    def _check_images_to_read(self, image_shape):
        """Raise unless images of which nothing is known yet may fit the network."""
        if self.channels == 0:
            raise ValueError(
                "Got X as images, but the network takes vectors; expected a 2-D X of numbers."
            )
        if image_shape is not None:
            raise ValueError(
                f"Got image_shape={image_shape!r} with images that have a shape of their own; "
                "leave image_shape out."
            )

    def as_data(self):
        """Return all that it says as plain data, for `from_data`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_data(cls, data):
        """Make a `NetworkInput` of what `as_data` returned."""
        return cls(**data)

    def encode_rows(self, X):
        """Return X as it is: its rows can be prepared a few at a time."""
        return X

    def make_plain_network(self):
        """Return a network without weights that gives rows as a linear model takes them."""
        return PixelAverage()

    def cast(self, inputs, dtype):
        """Return a tensor of prepared rows in the precision of the network."""
        return inputs.to(dtype)

    def prepare(self, X, image_shape=None):
        """Return the rows as float32: (n, d) vectors or (n, channels, height, width) images."""
        if isinstance(X, ImageRows):
            return X.prepare(self)
        rows = self.arrange(X, image_shape)
        # What was arranged as images is a copy, which may be changed.
        return self.normalise(rows, out=rows)

    def arrange(self, X, image_shape=None):
        """Return the rows as float32, images channels first, before they are normalised."""
        rows = self.lay_out(X, image_shape)
        if rows.ndim == 2:
            return np.ascontiguousarray(rows, dtype=np.float32)
        return self.arrange_images(self.fit_images(rows))

    def fit_images(self, images):
        """Return images of the channels and the size that the network takes, uint8 if they are.

        Parameters
        ----------
        images : ndarray of shape (n, channels, height, width)
        """
        # Grey is repeated in the end, so that it is resized once.
        is_grey = self.channels == COLOUR and images.shape[1] < COLOUR
        images = convert_channels(images, GREY if is_grey else self.channels)
        images = resize_images(images, self.resize, self.crop, self.interpolation)
        return convert_channels(images, self.channels)

    def arrange_images(self, images):
        """Return images as a float32 copy, bytes divided by 255."""
        arranged = np.array(images, dtype=np.float32, order="C")
        if images.dtype == np.uint8:
            arranged *= np.float32(1 / 255)
        return arranged

    def count_foreign_channels(self, shape, image_shape=None):
        """Return the number of channels of such rows where it has to be changed, else None."""
        # Files of a folder are grey and coloured as they come: each is converted on its own.
        row_shape = () if len(shape) == 1 else self._row_shape(shape, image_shape)
        is_image = len(row_shape) == 3
        return row_shape[0] if is_image and are_convertible(row_shape[0], self.channels) else None

    def lay_out(self, X, image_shape=None):
        """Return the rows as they are, images with channels first."""
        _, order = self._layout(X.shape, image_shape)
        if order is None:
            return X
        images = X.reshape(len(X), *order.unflattened)
        return images if order.channels_first else np.moveaxis(images, -1, 1)

    def normalise(self, rows, out=None):
        """Return arranged images less the mean, divided by the standard deviation."""
        if rows.ndim == 4 and self.mean is not None:
            rows = np.subtract(rows, np.reshape(np.float32(self.mean), (1, -1, 1, 1)), out=out)
        if rows.ndim == 4 and self.std is not None:
            rows = np.divide(rows, np.reshape(np.float32(self.std), (1, -1, 1, 1)), out=out)
        return rows

    def _row_shape(self, shape, image_shape):
        return self._layout(shape, image_shape)[0]

    def _layout(self, shape, image_shape):
        """Return the shape of one row as the network sees it, and how to get there."""
        row = tuple(shape[1:])
        if len(row) == 1:
            if image_shape is None:
                return row, None
            row = check_image_shape(image_shape, row[0])
        elif image_shape is not None and tuple(image_shape) != row:
            raise ValueError(
                f"Got image_shape={image_shape!r} with X of shape {tuple(shape)}, whose rows are "
                f"images of shape {row} already; leave image_shape out."
            )
        if len(row) == 2:
            row = (*row, 1)
        if len(row) != 3:
            raise ValueError(
                f"Got X with {len(shape)} dimensions, but expected 2 (rows of a table), 3 (grey "
                "images) or 4 (images with channels)."
            )
        channels_first = self._channels_first(row)
        seen = row if channels_first else (row[2], row[0], row[1])
        return seen, _Order(row, channels_first)

    def _channels_first(self, row):
        """Tell (channels, height, width) from (height, width, channels)."""
        if self.channels_last is not None:
            return not self.channels_last
        if not self.channels:
            counts = (1, 3, 4, 2)
        elif self.channels in (GREY, COLOUR):
            counts = (self.channels, GREY + COLOUR - self.channels)
        else:
            counts = (self.channels,)
        for count in counts:
            if row[0] == count and row[2] != count:
                return True
            if row[2] == count and row[0] != count:
                return False
        # Where the shape cannot tell, the shorter side is the channels; torch's order if equal.
        return row[0] <= row[2]


def _check_size(name, size):
    """Return a size in pixels: None, a number, or (height, width) as a tuple of two."""
    if size is None:
        return None
    if np.ndim(size) == 0:
        check_count(name, size)
        return int(size)
    if np.shape(size) != (2,):
        raise ValueError(f"Got {name}={size!r}, but expected a number or (height, width).")
    for length in size:
        check_count(name, length)
    return tuple(int(length) for length in size)


@dataclasses.dataclass(frozen=True)
class _Order:
    unflattened: tuple
    channels_first: bool


def check_image_shape(image_shape, n_columns):
    """Return ``image_shape`` as a tuple if that many columns fit into it."""
    try:
        shape = tuple(int(length) for length in image_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            f"Got image_shape={image_shape!r}, but expected (height, width), "
            "(channels, height, width) or (height, width, channels)."
        )
    if math.prod(shape) != n_columns:
        raise ValueError(
            f"Got image_shape={image_shape!r}, which has {math.prod(shape)} pixels, but X has "
            f"{n_columns} columns; expected a shape whose product is {n_columns}"
            f"{_guess_image_shape(n_columns, None)}"
        )
    return shape


def _guess_conversion(wanted, got):
    """Say how images of other channels are made to fit."""
    if wanted == 1:
        return "; average them, X.mean(axis=...) over the axis of the channels."
    if got == 1:
        return f"; repeat it, np.repeat(X.reshape(n, 1, height, width), {wanted}, axis=1)."
    return "."


def _guess_image_shape(n_columns, channels):
    """Suggest a square image of that many columns, if there is one."""
    likely = (GREY, COLOUR) if channels in (None, GREY) else (channels, GREY)
    for count in likely if channels in (None, GREY, COLOUR) else (channels,):
        side = math.isqrt(n_columns // count)
        if side > 1 and side * side * count == n_columns:
            shape = (side, side) if count == 1 else (count, side, side)
            return f"; for square images pass image_shape={shape}."
    return "; pass image arrays (3-D or 4-D), or image_shape=(height, width)."
