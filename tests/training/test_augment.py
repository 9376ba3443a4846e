import copy
import pickle
from contextlib import contextmanager

import pytest
import torch

from sktransfer.training import _augment
from sktransfer.training._augment import (
    AugmentationSequence,
    ColorJitter,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomShift,
    augment_batch,
    default_image_augmentation,
)

# Each with the same augmentation at no strength.
AUGMENTATIONS = [
    (RandomFlip(), RandomFlip(0)),
    (RandomShift(0.3), RandomShift(0)),
    (RandomCrop(0.4), RandomCrop(1)),
    (ColorJitter(), ColorJitter(0, contrast=0, saturation=0)),
    (Mixup(1.0), Mixup(0)),
    (default_image_augmentation(), AugmentationSequence()),
    (
        AugmentationSequence(RandomFlip(), Mixup(1.0), ColorJitter()),
        AugmentationSequence(RandomFlip(0), Mixup(0)),
    ),
]
every_augmentation = pytest.mark.parametrize(
    "augmentation", [strong for strong, _ in AUGMENTATIONS], ids=repr
)
GEOMETRIC = [RandomFlip, RandomShift, RandomCrop]


@contextmanager
def seeded(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def make_images(n=8, channels=3, size=(9, 7)):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, channels, *size, generator=generator)


def augment_all(augmentation, images, seed=0):
    """Return images, targets and weights, all of which an augmentation may change."""
    n = len(images)
    targets, weights = torch.eye(3)[torch.arange(n) % 3], torch.arange(1.0, n + 1)
    with seeded(seed):
        return augment_batch(augmentation, images, targets, weights)


@pytest.fixture
def torchvision_once(monkeypatch):
    """Forget what came of importing torchvision, before and after."""
    _augment._import_torchvision.cache_clear()
    yield monkeypatch
    _augment._import_torchvision.cache_clear()


@every_augmentation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "channels", "size"), [(4, 3, (9, 7)), (1, 3, (8, 8)), (5, 1, (1, 3)), (2, 4, (5, 16))]
)
def test_shape_and_dtype_are_kept(augmentation, n, channels, size, dtype):
    images = make_images(n, channels, size).to(dtype)
    before = images.clone()
    result, _, _ = augment_all(augmentation, images)
    assert result.shape == images.shape
    assert result.dtype == dtype
    assert result.isfinite().all()
    assert torch.equal(images, before)


@every_augmentation
def test_the_generator_decides(augmentation):
    images = make_images()
    first, again, other = (augment_all(augmentation, images, seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    with seeded():
        state = torch.get_rng_state()
        augment_batch(augmentation, images, torch.eye(8), torch.ones(8))
        assert not torch.equal(state, torch.get_rng_state())


@every_augmentation
def test_rows_are_changed_on_their_own(augmentation):
    if isinstance(augmentation, Mixup):
        pytest.skip("mixes one row with another, but all by the same share")
    images = make_images(n=1).expand(16, -1, -1, -1)
    result, _, _ = augment_all(augmentation, images)
    assert len(result.flatten(1).unique(dim=0)) > 1


@every_augmentation
def test_copies_are_equal(augmentation):
    images = make_images()
    expected = augment_all(augmentation, images)
    for twin in (pickle.loads(pickle.dumps(augmentation)), copy.deepcopy(augmentation)):
        assert twin == augmentation
        assert hash(twin) == hash(augmentation)
        assert all(map(torch.equal, augment_all(twin, images), expected))
    assert eval(repr(augmentation)) == augmentation


@pytest.mark.parametrize(("strong", "idle"), AUGMENTATIONS, ids=repr)
def test_no_strength_changes_nothing(strong, idle):
    images = make_images()
    result, targets, weights = augment_all(idle, images)
    torch.testing.assert_close(result, images)
    assert torch.equal(weights, torch.arange(1.0, 9))
    assert torch.equal(targets.argmax(1), torch.arange(8) % 3)
    assert not torch.allclose(augment_all(strong, images)[0], images)


@pytest.mark.parametrize("augmentation", [strong for strong, _ in AUGMENTATIONS], ids=repr)
def test_values_may_have_any_scale(augmentation):
    images = make_images()
    expected = 16 * augment_all(augmentation, images)[0]
    torch.testing.assert_close(augment_all(augmentation, 16 * images)[0], expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: RandomFlip(2),
            ValueError,
            "Got probability=2, but expected a number >= 0 and <= 1.",
        ),
        (lambda: RandomFlip("half"), TypeError, "Got probability='half'"),
        (lambda: RandomShift(-0.1), ValueError, "Got fraction=-0.1"),
        (lambda: RandomCrop(0), ValueError, "Got scale=0, but expected a number > 0 and <= 1."),
        (lambda: RandomCrop(backend="numpy"), ValueError, "Got backend='numpy'"),
        (lambda: ColorJitter(saturation=1.5), ValueError, "Got saturation=1.5"),
        (lambda: Mixup(-1), ValueError, "Got alpha=-1, but expected a number >= 0."),
        (lambda: AugmentationSequence(RandomFlip(), None), TypeError, r"Got steps\[1\]=None"),
        (lambda: default_image_augmentation("no"), ValueError, "Got flip='no'"),
    ],
)
def test_wrong_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [*GEOMETRIC, ColorJitter])
def test_only_images_of_floats(make):
    with pytest.raises(ValueError, match=r"Got a batch of shape \(5, 64\), but expected images"):
        make()(torch.zeros(5, 64))
    with pytest.raises(TypeError, match="Got images of dtype torch.uint8, but expected floats"):
        make()(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))


def test_flip_is_exact():
    images = make_images(n=100, channels=1, size=(2, 3))
    assert torch.equal(RandomFlip(1)(images), images.flip(-1))
    result, _, _ = augment_all(RandomFlip(0.3), images)
    flipped = (result == images.flip(-1)).all(dim=(1, 2, 3))
    assert (flipped | (result == images).all(dim=(1, 2, 3))).all()
    assert 15 < flipped.sum() < 45


def test_shift_moves_a_pixel_and_repeats_the_edge():
    images = torch.zeros(200, 1, 10, 20)
    images[:, :, 5, 9] = 1
    images[:, :, :, 0] = 2
    result, _, _ = augment_all(RandomShift(0.2), images)
    _, _, down, right = (result == 1).nonzero(as_tuple=True)
    assert set((down - 5).tolist()) == set(range(-2, 3))
    assert set((right - 9).tolist()) == set(range(-4, 5))
    for image, shift in zip(result, right - 9, strict=True):
        n_edge_columns = max(0, shift + 1)
        assert (image[:, :, :n_edge_columns] == 2).all()
        assert (image == 2).sum() == 10 * n_edge_columns


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_crop_enlarges_a_part(backend):
    ramp = torch.arange(20.0).expand(100, 1, 10, 20)
    result, _, _ = augment_all(RandomCrop(0.25, backend=backend), ramp)
    slopes = result[:, 0, 5, 10] - result[:, 0, 5, 9]
    # The sides are between half and all of the image's.
    assert slopes.min() + 1e-4 >= 0.5 and slopes.min() < 0.6
    assert 0.9 < slopes.max() < 1 + 1e-4
    ends = result[:, 0, :, [0, -1]]
    assert (ends.min(), ends.max()) == pytest.approx((0, 19), abs=1e-4)
    assert torch.all(result.diff(dim=-1) > -1e-4)


def test_jitter_of_one_kind():
    images = make_images()
    means = images.mean((1, 2, 3), keepdim=True)
    brighter = augment_all(ColorJitter(contrast=0, saturation=0), images)[0]
    factors = (brighter / images).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert 0.8 <= factors.min() < 0.9 and 1.1 < factors.max() <= 1.2

    sharper = augment_all(ColorJitter(0, contrast=0.5, saturation=0), images)[0]
    torch.testing.assert_close(sharper.mean((1, 2, 3), keepdim=True), means)
    factors = sharper.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.5 <= factors.min() < 0.9 and 1.1 < factors.max() <= 1.5

    saturate = ColorJitter(0, contrast=0, saturation=1)
    more = augment_all(saturate, images)[0]
    assert not torch.allclose(more, images, atol=0.1)
    torch.testing.assert_close(_augment._to_grey(more), _augment._to_grey(images))
    assert torch.equal(augment_all(saturate, images[:, :1])[0], images[:, :1])


@pytest.mark.parametrize("shape", [(8, 3, 4, 4), (8, 10)])
def test_mixup_keeps_the_sums(shape):
    rows = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    mixed, targets, weights = augment_all(Mixup(1.0), rows)
    torch.testing.assert_close(mixed.sum(0), rows.sum(0))
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    # Each row brings its target with its own weight.
    _, before, own = augment_all(Mixup(0.0), rows)
    torch.testing.assert_close((targets * weights[:, None]).sum(0), (before * own[:, None]).sum(0))
    assert weights.sum() == pytest.approx(36)
    # Columns 0 of the rows, the targets and the weights were mixed by the same share and partner.
    with seeded():
        share, order = Mixup(1.0)._draw_share(), torch.randperm(8)
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * rows + (1 - share) * rows[order])
    before = torch.arange(1.0, 9)
    torch.testing.assert_close(weights, share * before + (1 - share) * before[order])


def test_shares_of_mixup_follow_the_distribution():
    with seeded():
        shares = torch.tensor([Mixup(0.2)._draw_share() for _ in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.02)


def test_sequence_applies_its_steps_in_order():
    images = make_images()
    assert AugmentationSequence().mixes_rows is False
    both = AugmentationSequence(lambda x: x + 1, lambda x: 2 * x)
    assert torch.equal(both(images), 2 * (images + 1))
    assert not both.mixes_rows
    nested = AugmentationSequence(both, AugmentationSequence(Mixup(0)))
    assert nested.mixes_rows
    result, _, weights = nested(images, torch.eye(8), torch.ones(8))
    assert torch.equal(result, 2 * (images + 1))
    assert torch.equal(weights, torch.ones(8))
    with pytest.raises(TypeError, match="Got no targets or weights for AugmentationSequence"):
        nested(images)


def test_an_augmentation_may_not_change_the_shape():
    with pytest.raises(ValueError, match=r"Got \(8, 3, 9, 6\) from augment=.* \(8, 3, 9, 7"):
        augment_batch(lambda images: images[..., 1:], make_images())


def test_an_augmentation_may_not_make_numbers_up():
    with pytest.raises(ValueError, match="Got NaN or infinity from augment="):
        augment_batch(lambda images: images / 0, make_images())


def test_characters_are_not_flipped():
    steps = default_image_augmentation(flip=False).steps
    assert steps == default_image_augmentation().steps[1:]
    assert not any(isinstance(step, RandomFlip) for step in steps)


@pytest.mark.parametrize("size", [(9, 7), (28, 28), (1, 5)])
@pytest.mark.parametrize("make", GEOMETRIC)
def test_backends_agree(make, size):
    pytest.importorskip("torchvision")
    images = make_images(size=size)
    own, theirs, automatic = (
        augment_all(make(backend=backend), images)[0]
        for backend in ("torch", "torchvision", "auto")
    )
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=0)
    assert torch.equal(theirs, automatic)


def test_transforms_of_torchvision_are_augmentations():
    transforms = pytest.importorskip("torchvision.transforms.v2")
    images = make_images()
    augmentation = AugmentationSequence(transforms.RandomHorizontalFlip(p=1.0), RandomFlip(1))
    assert torch.equal(augmentation(images), images)


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torchvision'"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", GEOMETRIC)
def test_without_torchvision_torch_does(make, error, torchvision_once):
    def fail(name):
        raise error

    torchvision_once.setattr(_augment.importlib, "import_module", fail)
    images = make_images()
    own, automatic = (augment_all(make(backend=b), images)[0] for b in ("torch", "auto"))
    assert torch.equal(own, automatic)
    with pytest.raises(ImportError, match="Got backend='torchvision', but torchvision cannot") as e:
        make(backend="torchvision")(images)
    assert e.value.__cause__ is error
