"""Random changes to batches of images while a network is fine-tuned."""

import dataclasses
import functools
import importlib

import torch
from torch.nn import functional

from sktransfer.utils._validation import check_number, check_option

BACKENDS = ("auto", "torchvision", "torch")


class Augmentation:
    """What fine-tuning asks of an augmentation: ``batch -> batch``, on a tensor of images.

    Any callable will do, such as a transform of torchvision's v2 or a function of one's own; this
    class need not be inherited from. It is given floats of shape (n, channels, height, width), in
    the range of the user's values (uint8 images have been divided by 255, others come as they are)
    and before the network's own normalisation. It returns a tensor of the same shape, and does not
    change the one it was given.

    It draws from torch's global generator, by ``torch.rand`` and the like: the training loop seeds
    that generator before and puts it back afterwards. The augmentations here draw on the CPU,
    whatever the device, so that a seed stands for the same flips, shifts and crops everywhere.

    Where ``mixes_rows`` is true, rows get parts of others, and it is called as
    ``augment(images, targets, weights) -> (images, targets, weights)``, with floats of shape
    (n, n_outputs), one-hot for classes, and (n,).
    """

    mixes_rows = False


def augment_batch(augmentation, images, targets=None, weights=None):
    """Return images, targets and weights after any augmentation, whether it mixes rows or not."""
    shape = images.shape
    if getattr(augmentation, "mixes_rows", False):
        images, targets, weights = augmentation(images, targets, weights)
    else:
        images = augmentation(images)
    if not isinstance(images, torch.Tensor) or images.shape != shape:
        got = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(
            f"Got {got} from augment={augmentation!r}, but expected a tensor of shape "
            f"{tuple(shape)}, that of the batch that it was given."
        )
    if not torch.isfinite(images).all():
        raise ValueError(
            f"Got NaN or infinity from augment={augmentation!r}, but expected finite images."
        )
    return images, targets, weights


@dataclasses.dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror images left to right, each on its own.

    Parameters
    ----------
    probability : float, default=0.5
        Share of the images that is flipped.
    backend : {"auto", "torchvision", "torch"}, default="auto"
        What computes the images: torchvision's v2 functions or a few lines of torch. The random
        numbers, and so the images up to rounding, are the same. "auto" takes torchvision if it can
        be imported.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import RandomFlip
    >>> RandomFlip(1.0)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    tensor([[[[3., 2., 1.]]]])
    """

    probability: float = 0.5
    _: dataclasses.KW_ONLY
    backend: str = "auto"

    def __post_init__(self):
        check_number("probability", self.probability, low=0, high=1)
        check_option("backend", self.backend, BACKENDS)

    def __call__(self, images):
        """Return the images, some of them flipped."""
        _check_images(images)
        flipped = _draw(len(images)) < self.probability
        return _choose_operations(self.backend).flip(images, flipped)


@dataclasses.dataclass(frozen=True)
class RandomShift(Augmentation):
    """Move images up or down and left or right by whole pixels, each on its own.

    What becomes free is filled with the pixel at the edge.

    Parameters
    ----------
    fraction : float, default=0.1
        The furthest shift, as part of the height and of the width, rounded to whole pixels.
    backend : {"auto", "torchvision", "torch"}, default="auto"
        See `RandomFlip`.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import RandomShift
    >>> RandomShift(0.25)(torch.rand(10, 3, 32, 32)).shape
    torch.Size([10, 3, 32, 32])
    """

    fraction: float = 0.1
    _: dataclasses.KW_ONLY
    backend: str = "auto"

    def __post_init__(self):
        check_number("fraction", self.fraction, low=0, high=1)
        check_option("backend", self.backend, BACKENDS)

    def __call__(self, images):
        """Return the images, each shifted."""
        _check_images(images)
        down, right = (self._draw_shifts(len(images), size) for size in images.shape[2:])
        return _choose_operations(self.backend).shift(images, down, right)

    def _draw_shifts(self, n, size):
        furthest = round(self.fraction * size)
        return torch.randint(-furthest, furthest + 1, (n,), device="cpu")


@dataclasses.dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Cut out a part of each image, of the same proportions, and enlarge it to the whole size.

    Parameters
    ----------
    scale : float, default=0.8
        The smallest part, as an area: each image's is uniform between this and 1, up to the
        rounding of its sides to whole pixels. Resized bilinearly.
    backend : {"auto", "torchvision", "torch"}, default="auto"
        See `RandomFlip`.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import RandomCrop
    >>> RandomCrop(0.5)(torch.rand(10, 3, 32, 32)).shape
    torch.Size([10, 3, 32, 32])
    """

    scale: float = 0.8
    _: dataclasses.KW_ONLY
    backend: str = "auto"

    def __post_init__(self):
        check_number("scale", self.scale, low=0, high=1, low_open=True)
        check_option("backend", self.backend, BACKENDS)

    def __call__(self, images):
        """Return crops of the images, in the size of the images."""
        _check_images(images)
        area, *places = _draw(3, len(images))
        side = (self.scale + (1 - self.scale) * area).sqrt()
        spans = [
            _Spans.place(side, where, size)
            for where, size in zip(places, images.shape[2:], strict=True)
        ]
        return _choose_operations(self.backend).crop(images, *spans)


@dataclasses.dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation of each image by factors of its own.

    The factors are uniform in ``[1 - strength, 1 + strength]``. Nothing is cut off at 0 or 1, so
    that images in any range of values may be given, and brighter ones may leave that range.
    torchvision's functions do cut off and are not used here.

    Parameters
    ----------
    brightness : float, default=0.2
        Strength of the factor on all values.
    contrast : float, default=0.2
        Strength of the factor on the differences from the image's mean.
    saturation : float, default=0.2
        Strength of the factor on the differences from the grey image, that of ITU-R BT.601; without
        effect unless there are three channels.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import ColorJitter
    >>> ColorJitter(0.4, contrast=0.1)(torch.rand(10, 3, 32, 32)).shape
    torch.Size([10, 3, 32, 32])
    """

    brightness: float = 0.2
    _: dataclasses.KW_ONLY
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            check_number(name, getattr(self, name), low=0, high=1)

    def __call__(self, images):
        """Return the images in other colours."""
        _check_images(images)
        strengths = (self.brightness, self.contrast, self.saturation)
        brightness, contrast, saturation = (
            _spread(1 + strength * (2 * draws - 1), images)
            for strength, draws in zip(strengths, _draw(3, len(images)), strict=True)
        )
        images = images * brightness
        images = torch.lerp(images.mean((1, 2, 3), keepdim=True), images, contrast)
        if images.shape[1] != 3:
            return images
        return torch.lerp(_to_grey(images), images, saturation)


@dataclasses.dataclass(frozen=True)
class Mixup(Augmentation):
    r"""Mix each row with another one of the batch, and their targets and weights likewise.

    .. math:: \tilde x_i = \lambda x_i + (1 - \lambda) x_{\pi(i)}, \quad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    with one :math:`\lambda` and one permutation :math:`\pi` per batch, and the same for targets and
    weights [1]_. Rows may be images or those of a table.

    Parameters
    ----------
    alpha : float, default=0.2
        How much is mixed: 0 for nothing, 1 for every share equally likely.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond empirical risk
       minimization", ICLR 2018.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import Mixup
    >>> targets = torch.eye(3)
    >>> images, mixed, weights = Mixup()(torch.rand(3, 1, 8, 8), targets, torch.ones(3))
    >>> mixed.sum(dim=1)
    tensor([1., 1., 1.])
    """

    alpha: float = 0.2

    mixes_rows = True

    def __post_init__(self):
        check_number("alpha", self.alpha, low=0)

    def __call__(self, images, targets, weights):
        """Return the mixed rows, targets and weights.

        The loss of a mixed row is that mixture of the losses of both, each with its own weight.
        """
        share = self._draw_share()
        order = torch.randperm(len(images), device="cpu").to(images.device)
        mixed = share * weights + (1 - share) * weights[order]
        own = torch.where(mixed > 0, share * weights / mixed, share)
        return (
            torch.lerp(images[order], images, share),
            torch.lerp(targets[order], targets, own[:, None]),
            mixed,
        )

    def _draw_share(self):
        if self.alpha == 0:
            return 1.0
        alpha = torch.tensor(self.alpha, dtype=torch.float64, device="cpu")
        return torch.distributions.Beta(alpha, alpha).sample().item()


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class AugmentationSequence(Augmentation):
    """Apply augmentations one after the other.

    Mixes rows, and is called accordingly, if one of them does.

    Parameters
    ----------
    *steps : callable
        The augmentations, in their order.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.training import AugmentationSequence, RandomFlip, RandomShift
    >>> augment = AugmentationSequence(RandomFlip(), RandomShift())
    >>> augment(torch.rand(10, 3, 32, 32)).shape
    torch.Size([10, 3, 32, 32])
    """

    steps: tuple

    def __init__(self, *steps):
        for i, step in enumerate(steps):
            if not callable(step):
                raise TypeError(
                    f"Got steps[{i}]={step!r}, but expected a callable, batch -> batch."
                )
        object.__setattr__(self, "steps", steps)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(repr, self.steps))})"

    @property
    def mixes_rows(self):
        """Whether one of the steps mixes rows."""
        return any(getattr(step, "mixes_rows", False) for step in self.steps)

    def __call__(self, images, targets=None, weights=None):
        """Return the images after all steps; targets and weights too if ``mixes_rows``."""
        if self.mixes_rows and (targets is None or weights is None):
            raise TypeError(
                f"Got no targets or weights for {self!r}, but a step mixes rows; expected "
                "(images, targets, weights)."
            )
        for step in self.steps:
            images, targets, weights = augment_batch(step, images, targets, weights)
        return (images, targets, weights) if self.mixes_rows else images


def default_image_augmentation(flip=True):
    """Return flips, shifts, crops and changes of colour, in strengths that suit photographs.

    Parameters
    ----------
    flip : bool, default=True
        Whether a mirrored image may be one of the same class; False for characters.

    Returns
    -------
    AugmentationSequence

    Examples
    --------
    >>> from sktransfer.training import default_image_augmentation
    >>> len(default_image_augmentation(flip=False).steps)
    3
    """
    check_option("flip", flip, (True, False))
    steps = (RandomShift(), RandomCrop(), ColorJitter())
    return AugmentationSequence(RandomFlip(), *steps) if flip else AugmentationSequence(*steps)


def _check_images(images):
    if images.ndim != 4:
        raise ValueError(
            f"Got a batch of shape {tuple(images.shape)}, but expected images of shape "
            "(n, channels, height, width)."
        )
    if not images.is_floating_point():
        raise TypeError(f"Got images of dtype {images.dtype}, but expected floats.")


def _draw(*shape):
    """Return uniform numbers that depend on neither device nor default dtype."""
    return torch.rand(shape, dtype=torch.float64, device="cpu")


def _spread(values, images):
    """Return one value per image, in a shape, dtype and place to compute with the images."""
    # In two steps: some devices have no float64.
    return values.view(-1, 1, 1, 1).to(images.dtype).to(images.device)


def _to_grey(images):
    shares = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * shares).sum(1, keepdim=True)


@dataclasses.dataclass(frozen=True)
class _Spans:
    """The part of an axis that each row keeps: ``starts`` and ``lengths``, in whole pixels."""

    starts: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def place(cls, side, where, size):
        """Choose among the places from the share of the axis and a uniform number."""
        lengths = (side * size).round().clamp(min=1).long()
        return cls((where * (size - lengths + 1)).long(), lengths)

    def sample(self, size):
        """Return where the centres of the enlarged pixels lie, as pixels of the image."""
        lengths = self.lengths[:, None]
        centres = torch.arange(0.5, size, dtype=torch.float64, device="cpu")
        within = (centres * (lengths / size) - 0.5).clamp(min=0).minimum(lengths - 1)
        return self.starts[:, None] + within


def _choose_operations(backend):
    if backend == "torch":
        return _TorchOperations
    found = _import_torchvision()
    if isinstance(found, _TorchvisionOperations):
        return found
    if backend == "torchvision":
        raise ImportError(
            "Got backend='torchvision', but torchvision cannot be imported; expected one that "
            "was built for the installed torch, or backend='torch'."
        ) from found
    return _TorchOperations


@functools.cache
def _import_torchvision():
    """Return the operations of torchvision, or the error that came instead of them."""
    try:
        return _TorchvisionOperations(
            importlib.import_module("torchvision.transforms.v2.functional")
        )
    # A torchvision that was built for another torch fails with errors of these types.
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return error


class _TorchOperations:
    """One operation on all images, each with values of its own, in plain torch."""

    @staticmethod
    def flip(images, flipped):
        return torch.where(flipped.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)

    @staticmethod
    def shift(images, down, right):
        height, width = images.shape[2:]
        y, x = int(down.abs().max()), int(right.abs().max())
        padded = functional.pad(images, (x, x, y, y), mode="replicate")
        # Slices are copied several times faster than single pixels are gathered.
        return torch.stack(
            [
                image[:, y - dy : y - dy + height, x - dx : x - dx + width]
                for image, dy, dx in zip(padded, down.tolist(), right.tolist(), strict=True)
            ]
        )

    @staticmethod
    def crop(images, rows, columns):
        n, _, height, width = images.shape
        # Half precision is too coarse for places in an image.
        dtype = torch.promote_types(images.dtype, torch.float32)
        # grid_sample counts from -1 at the left edge of the first pixel to 1. No place is outside
        # the image, so that its padding does not matter.
        y, x = (
            ((2 * spans.sample(size) + 1) / size - 1).to(dtype).to(images.device)
            for spans, size in ((rows, height), (columns, width))
        )
        grid = torch.stack(
            [x[:, None, :].expand(n, height, width), y[:, :, None].expand(n, height, width)], dim=-1
        )
        return functional.grid_sample(images.to(dtype), grid, align_corners=False).to(images.dtype)


class _TorchvisionOperations:
    """The same by torchvision, whose functions treat all images of a batch alike."""

    def __init__(self, functions):
        self.functions = functions

    def flip(self, images, flipped):
        flipped = flipped.to(images.device)
        result = images.clone()
        result[flipped] = self.functions.horizontal_flip(images[flipped])
        return result

    def shift(self, images, down, right):
        y, x = int(down.abs().max()), int(right.abs().max())
        padded = self.functions.pad(images, [x, y, x, y], padding_mode="edge")
        return torch.stack(
            [
                self.functions.crop(image, y - dy, x - dx, *images.shape[2:])
                for image, dy, dx in zip(padded, down.tolist(), right.tolist(), strict=True)
            ]
        )

    def crop(self, images, rows, columns):
        boxes = torch.stack([rows.starts, columns.starts, rows.lengths, columns.lengths], dim=1)
        size = list(images.shape[2:])
        return torch.stack(
            [
                # antialias matters for shrinking only.
                self.functions.resized_crop(image, *box, size, antialias=False)
                for image, box in zip(images, boxes.tolist(), strict=True)
            ]
        )
