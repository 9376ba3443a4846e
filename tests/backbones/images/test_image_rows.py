import io
import pickle
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image, ImageFile

from sktransfer.backbones import ImageRows, NetworkInput
from sktransfer.backbones.images._image_rows import as_image_rows

RGB = NetworkInput(channels=3, resize=24, crop=24)
GREY = NetworkInput(channels=1, resize=24, crop=24)
AS_IT_IS = NetworkInput()


def make_pixels(height=30, width=40, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def prepare(image, network_input=RGB):
    """Read one image, with warnings as errors, from the bytes of its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ImageRows([image]).prepare(network_input)[0]


@pytest.fixture
def files(tmp_path):
    """Five images of differing sizes as files, paths as texts."""
    paths = []
    for seed in range(5):
        path = tmp_path / f"{seed}.png"
        path.write_bytes(encode(make_pixels(30 + seed, 40 - seed, seed=seed)))
        paths.append(str(path))
    return paths


# Containers and items


def test_one_image_in_every_form_is_the_same_image(tmp_path):
    pixels = make_pixels()
    path = tmp_path / "image.png"
    path.write_bytes(encode(pixels))
    forms = [
        path,
        str(path),
        np.str_(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        Image.open(path),
        Image.fromarray(pixels),
        pixels,
        np.moveaxis(pixels, -1, 0),
        torch.as_tensor(pixels).movedim(-1, 0),
    ]
    prepared = ImageRows(forms).prepare(RGB)
    assert prepared.shape == (len(forms), 3, 24, 24)
    assert prepared.dtype == np.float32
    for image in prepared:
        np.testing.assert_array_equal(image, RGB.prepare(pixels[np.newaxis])[0])
    as_floats = ImageRows([pixels / 255, torch.as_tensor(pixels / 255)]).prepare(RGB)
    np.testing.assert_allclose(as_floats, prepared[:2], atol=1 / 255)


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        lambda paths: np.array(paths, dtype=object),
        lambda paths: np.array(paths, dtype=object)[:, np.newaxis],
        pd.Series,
        lambda paths: pd.Series(paths, dtype="string"),
        lambda paths: pd.DataFrame({"path": paths}, index=range(5, 10)),
        pl.Series,
        lambda paths: pl.DataFrame({"path": paths}),
        ImageRows,
    ],
)
def test_containers(files, container):
    rows = as_image_rows(container(files))
    assert isinstance(rows, ImageRows)
    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (5, (5,), 1, object)
    np.testing.assert_array_equal(rows.prepare(RGB), ImageRows(files).prepare(RGB))


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 4)),
        np.zeros((3, 4), dtype=object),
        np.zeros((3, 1), dtype=object),
        np.zeros((3, 8, 8), dtype=np.uint8),
        torch.zeros(3, 1, 8, 8),
        [[1.0, 2.0], [3.0, 4.0]],
        [(1, 2), (3, 4)],
        [("a.png", "b.png"), ("c.png", "d.png")],
        [1.0, 2.0],
        [None, None],
        [],
        [np.zeros((8, 8)), np.zeros((8, 8))],
        [np.zeros(3), np.zeros(4)],
        pd.DataFrame({"a": [1.0, 2.0]}),
        pd.DataFrame({"a": ["a.png"], "b": ["b.png"]}),
        pd.Series([1, 2], dtype="Int64"),
        pl.DataFrame({"a": [1.0, 2.0]}),
        pl.Series([1, 2]),
    ],
    ids=repr,
)
def test_tables_and_arrays_are_left_to_scikit_learn(X):
    assert as_image_rows(X) is None


def test_something_else_among_images():
    with pytest.raises(TypeError, match=r"Got X with 3 in row 1, but expected an image"):
        as_image_rows(["a.png", 3])


class Pixels(torch.utils.data.Dataset):
    """Images of one size, with or without their labels."""

    def __init__(self, n, give):
        self.n, self.give = n, give

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.give(make_pixels(seed=i), i)


@pytest.mark.parametrize(
    "give",
    [
        lambda pixels, i: pixels,
        lambda pixels, i: (Image.fromarray(pixels), i),
        lambda pixels, i: [torch.as_tensor(pixels).movedim(-1, 0), torch.tensor(i)],
    ],
)
def test_datasets(give):
    dataset = Pixels(4, give)
    expected = RGB.prepare(np.stack([make_pixels(seed=i) for i in range(4)]))
    np.testing.assert_array_equal(as_image_rows(dataset).prepare(RGB), expected)
    # scikit-learn takes a list of its items for a fold.
    fold = [tuple(dataset[i]) if isinstance(dataset[i], list) else dataset[i] for i in (2, 0)]
    rows = as_image_rows(fold)
    if rows is not None:
        np.testing.assert_array_equal(rows.prepare(RGB), expected[[2, 0]])


def test_datasets_that_do_not_fit():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield make_pixels()

    with pytest.raises(TypeError, match="a Stream, but expected rows"):
        as_image_rows(Stream())
    with pytest.raises(TypeError, match="Got an image of type dict"):
        ImageRows(Pixels(2, lambda pixels, i: {"image": pixels}), on_error="nan").prepare(RGB)


def test_a_dataset_that_augments_is_not_taken_for_images():
    rng = np.random.default_rng(0)
    rows = ImageRows(Pixels(2, lambda pixels, i: np.roll(pixels, rng.integers(10**6))))
    rows.prepare(RGB)
    rows.digests()
    with pytest.raises(ValueError, match=r"another image each time for row 0.*cache=False"):
        rows.prepare(RGB)
    # Also where they are decoded once for all.
    with pytest.raises(ValueError, match=r"another image each time for row 0.*augment="):
        as_image_rows(rows).decode(RGB)
    same = ImageRows(Pixels(9, lambda pixels, i: pixels))
    assert same.decode(RGB).shape == (9, 3, 24, 24)


def test_rows_are_looked_up_like_those_of_an_array(files):
    rows, prepared = ImageRows(files), ImageRows(files).prepare(RGB)
    for key in (slice(1, 4), slice(None, None, 2), [3, 3, 0], np.array([4, 1]), prepared > 2):
        if isinstance(key, np.ndarray) and key.dtype == bool:
            key = np.array([True, False, True, False, False])
        assert isinstance(rows[key], ImageRows)
        np.testing.assert_array_equal(rows[key].prepare(RGB), prepared[key])
    np.testing.assert_array_equal(rows[[4, 2]][[1]].prepare(RGB), prepared[[2]])
    assert rows[2] == files[2]
    assert list(rows) == np.asarray(rows).tolist() == files
    assert repr(rows) == "ImageRows(5 images)"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)).prepare(RGB), prepared)


def test_threads_are_those_of_the_estimator_or_else_of_the_rows(files):
    rows = ImageRows(files, n_jobs=3)
    assert as_image_rows(rows).n_jobs == 3
    assert as_image_rows(rows, n_jobs=2, on_error="nan").n_jobs == 2
    assert rows.n_jobs == 3
    assert rows.on_error == "raise"


# Sizes


def test_images_that_differ_in_size_need_one(files):
    message = (
        r"images that differ in size: 30x40 pixels and 3 channel\(s\) in row 0 \('.*0\.png'\), "
        r"31x39 pixels.* in row 1 .*resize=None and crop=None.*resize=224, crop=224"
    )
    with pytest.raises(ValueError, match=message):
        ImageRows(files).prepare(NetworkInput(channels=3))
    # Across batches as well.
    batches = ImageRows(files).read([[0], [1]], NetworkInput(channels=3, resize=24))
    with pytest.raises(ValueError, match="24x32 .*24x30"):
        list(batches)
    assert ImageRows(files[:1]).prepare(NetworkInput(channels=3)).shape == (1, 3, 30, 40)


def test_an_image_that_is_too_small_is_named():
    with pytest.raises(ValueError, match=r"at least 64 x 64.*In row 0"):
        prepare(make_pixels(), NetworkInput(channels=3, min_size=64))


def test_an_elongated_image(tmp_path):
    image = Image.new("RGB", (60_000, 2), (10, 200, 30))
    prepared = prepare(encode(image), NetworkInput(channels=3, resize=224, crop=224))
    assert prepared.shape == (3, 224, 224)
    np.testing.assert_allclose(prepared[:, 0, 0] * 255, [10, 200, 30], atol=1e-4)
    with pytest.raises(ValueError, match=r"2 x 60000 pixels.*\(In row 0\.\)"):
        prepare(encode(image), NetworkInput(channels=3, resize=224))


# Modes


def test_grey_and_colour_become_what_the_network_takes():
    colour, grey = make_pixels(), make_pixels(channels=1)
    np.testing.assert_array_equal(prepare(encode(grey)), np.repeat(prepare(grey, GREY), 3, axis=0))
    # As Pillow's own conversion to grey, and the same for arrays.
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    for image in (encode(colour), colour):
        np.testing.assert_array_equal(prepare(image, GREY), prepare(luma, GREY))
    np.testing.assert_allclose(prepare(colour / 255, GREY), prepare(luma, GREY), atol=2 / 255)
    # A network that does not say gets what there is.
    assert len(prepare(encode(grey), AS_IT_IS)) == 1
    assert len(prepare(encode(colour), AS_IT_IS)) == 3


def test_transparency_is_white():
    image = make_pixels(channels=4)
    expected = Image.alpha_composite(
        Image.new("RGBA", (40, 30), "white"), Image.fromarray(image)
    ).convert("RGB")
    for form in (encode(image), image, Image.fromarray(image)):
        np.testing.assert_allclose(prepare(form), prepare(expected), atol=1.01 / 255)
    np.testing.assert_allclose(prepare(image / 255), prepare(expected), atol=2 / 255)
    assert len(prepare(encode(image), AS_IT_IS)) == 3
    # Unless the network looks at it.
    four = NetworkInput(channels=4, resize=24, crop=24)
    np.testing.assert_array_equal(prepare(encode(image), four), prepare(image, four))
    np.testing.assert_array_equal(prepare(encode(image[:, :, :3].copy()), four)[3], 1)


@pytest.mark.parametrize("network_input", [RGB, GREY, AS_IT_IS])
def test_grey_with_alpha(network_input):
    grey, alpha = make_pixels(channels=1), make_pixels(channels=1, seed=1)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = np.rint((grey * (alpha / 255)) + 255 - alpha).astype(np.uint8)
    np.testing.assert_allclose(
        prepare(encode(image), network_input), prepare(expected, network_input), atol=1.01 / 255
    )


def test_palettes():
    # Few colours, so that the palette loses none.
    pixels = make_pixels() // 128 * 255
    image = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(prepare(encode(image)), prepare(pixels))
    # One colour is transparent; or each has its opacity, about which Pillow warns.
    for transparency in (3, bytes([255, 0, 128])):
        content = encode(image, transparency=transparency)
        expected = Image.open(io.BytesIO(content)).convert("RGBA")
        assert np.asarray(expected)[:, :, 3].min() < 255
        np.testing.assert_array_equal(prepare(content), prepare(np.array(expected)))


def test_a_transparent_colour_without_a_palette():
    pixels = make_pixels() // 128 * 255
    expected = np.where((pixels == (255, 0, 0)).all(-1, keepdims=True), 255, pixels)
    content = encode(pixels, transparency=(255, 0, 0))
    np.testing.assert_array_equal(prepare(content), prepare(expected.astype(np.uint8)))


def test_one_bit():
    image = Image.fromarray(make_pixels(channels=1)).convert("1")
    expected = np.asarray(image).astype(np.uint8) * 255
    np.testing.assert_array_equal(prepare(encode(image), GREY), prepare(expected, GREY))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(kind):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 65536, (24, 24), dtype=np.uint16)
    image = Image.fromarray(values)
    np.testing.assert_allclose(prepare(encode(image, kind), GREY)[0], values / 65535, atol=1e-6)
    np.testing.assert_allclose(prepare(image, GREY)[0], values / 65535, atol=1e-6)
    # Beside images of 8 bits.
    both = ImageRows([encode(image, kind), make_pixels(24, 24, 1)]).prepare(GREY)
    np.testing.assert_allclose(both[1], make_pixels(24, 24, 1)[np.newaxis] / 255, atol=1e-6)


def test_integers_of_32_bits_are_refused():
    image = Image.fromarray(np.arange(576, dtype=np.int32).reshape(24, 24) * 1000)
    for form in (encode(image, "TIFF"), image):
        with pytest.raises(ValueError, match="row 0: integers of 32 bits|row 0: it has integers"):
            prepare(form, GREY)


def test_floats_stay_as_they_are():
    values = np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32)
    np.testing.assert_array_equal(prepare(encode(Image.fromarray(values), "TIFF"), GREY)[0], values)
    values[3, 3] = np.nan
    for form in (encode(Image.fromarray(values), "TIFF"), values):
        with pytest.raises(ValueError, match="row 0: it holds NaN or infinity"):
            prepare(form, GREY)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colours(mode):
    image = Image.fromarray(make_pixels(24, 24)).convert(mode)
    content = encode(image, "TIFF" if mode == "CMYK" else "JPEG")
    expected = Image.open(io.BytesIO(content)).convert("RGB")
    np.testing.assert_array_equal(prepare(content), prepare(expected))


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_camera_that_was_turned(orientation, kind):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(make_pixels(24, 24), kind, exif=exif)
    opened = Image.open(io.BytesIO(content))
    upright = ImageOps.exif_transpose(opened)
    for form in (content, opened):
        np.testing.assert_array_equal(prepare(form), prepare(upright))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(kind):
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "green", "blue")]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(content)).n_frames == 3
    np.testing.assert_allclose(prepare(content)[:, 5, 5], [1, 0, 0], atol=0.02)


def test_arrays_that_are_no_images():
    for pixels, reason in [
        (np.zeros((8, 8), dtype=np.int64), "dtype is int64; expected uint8, or floats"),
        (np.zeros((0, 8), dtype=np.uint8), r"no pixels, but the shape \(0, 8\)"),
    ]:
        with pytest.raises(ValueError, match=f"row 0: .*{reason}"):
            prepare(pixels, GREY)
    np.testing.assert_array_equal(prepare(np.ones((24, 24), dtype=bool), GREY), 1)
    with pytest.raises(ValueError, match=r"7 channel\(s\), but the network takes 3.*In row 0"):
        prepare(np.zeros((24, 24, 7), dtype=np.uint8))


# Images that cannot be read


@pytest.fixture
def bad_files(tmp_path):
    """Files of which none is an image, by what is wrong with them."""
    whole = encode(make_pixels(), "JPEG")
    # A deflated stream with a byte changed: its checksum is wrong.
    png = bytearray(encode(make_pixels()))
    png[len(png) // 2] ^= 255
    contents = {
        "empty.png": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "truncated.png": encode(make_pixels())[:100],
        "corrupt.png": bytes(png),
        "text.png": b"This is not an image.",
        "page.jpg": b"<html>404</html>",
        "noise.gif": b"GIF89a" + bytes(range(40)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    return [str(tmp_path / name) for name in [*contents, "folder.png", "missing.png"]]


REASONS = {
    "empty": r"it is empty \(0 bytes\)",
    "truncated": "truncated|broken",
    "corrupt": "broken|truncated|CRC|checksum",
    "text": "not an image that Pillow can read",
    "page": "not an image that Pillow can read",
    "noise": "",
    "folder": "it is a folder",
    "missing": "there is no such file",
}


def test_bad_files_are_named(bad_files, files):
    for path in bad_files:
        name = path.replace("\\", "/").rpartition("/")[2]
        reason = REASONS[name.partition(".")[0]]
        kind = FileNotFoundError if name == "missing.png" else ValueError
        with pytest.raises(kind, match=f"row 1 \\('.*{name}'\\): .*({reason})"):
            ImageRows([files[0], path]).prepare(RGB)


def test_bad_rows_are_counted_in_what_was_passed(bad_files, files):
    rows = ImageRows([*files, bad_files[0]])[[5, 0]]
    with pytest.raises(ValueError, match="row 5 "):
        rows.prepare(RGB)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_bad_rows_can_be_left_out(bad_files, files, n_jobs):
    mixed = ImageRows([*bad_files[:3], *files, None, *bad_files[3:]], n_jobs=n_jobs)
    n = len(mixed)
    reading = mixed.with_options(n_jobs=n_jobs, on_error="nan").read(
        [np.arange(3), np.arange(3, n)], RGB
    )
    nothing, prepared = list(reading)
    assert len(nothing) == 0
    np.testing.assert_array_equal(prepared, ImageRows(files).prepare(RGB))
    assert reading.unread == [0, 1, 2, *range(8, n)]


def test_missing_values_and_closed_images_are_named(files):
    closed = Image.open(files[0])
    closed.close()
    for image, reason in [(None, "it is missing"), (float("nan"), "missing"), (closed, "closed")]:
        with pytest.raises(ValueError, match=f"row 1.*{reason}"):
            as_image_rows([files[0], image]).prepare(RGB)


def test_decompression_bombs(monkeypatch):
    content = encode(Image.new("1", (300, 300)))
    for limit in (80_000, 30_000):  # Pillow warns of the first, and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"row 0: .*decompression bomb"):
            prepare(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert prepare(content).shape == (3, 24, 24)


DAMAGED_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_notes_of_a_camera_do_no_harm():
    pixels = make_pixels(24, 24)
    expected = prepare(encode(pixels, "JPEG", quality=95))
    for exif in (b"Exif\0\0garbage", DAMAGED_EXIF, b"Exif\0\0MM\0*\0\0"):
        content = encode(pixels, "JPEG", exif=exif, quality=95)
        np.testing.assert_array_equal(ImageRows([content]).prepare(RGB)[0], expected)


def test_warnings_of_pillow_are_those_of_pillow(files):
    rows = ImageRows([*files, encode(make_pixels(), "JPEG", exif=DAMAGED_EXIF)], n_jobs=2)
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        rows.prepare(RGB)
    # Where they are errors, no image is taken for one that cannot be read.
    for on_error in ("raise", "nan"):
        with pytest.raises(UserWarning, match="Corrupt EXIF data") as caught:
            rows.with_options(n_jobs=2, on_error=on_error).prepare(RGB)
        assert caught.value.__notes__ == ["(In row 5.)"]


def test_truncated_files_are_read_if_pillow_is_told_to(bad_files, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert prepare(bad_files[1]).shape == (3, 24, 24)


# Digests


def test_digests_are_those_of_what_is_in_a_file(files, tmp_path):
    digests = ImageRows(files).digests()
    assert len(set(digests)) == 5
    moved = tmp_path / "moved.jpg"
    moved.write_bytes(Path(files[2]).read_bytes())
    assert ImageRows([moved, moved.read_bytes()]).digests() == [digests[2]] * 2
    assert ImageRows(files, n_jobs=2).digests() == digests
    assert ImageRows(files)[[3, 1]].digests() == [digests[3], digests[1]]


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_a_file_that_changes_after_its_digest_is_not_taken_for_what_it_was(files, on_error):
    rows = ImageRows(files, on_error=on_error)
    digests = rows.digests()
    Path(files[1]).write_bytes(Path(files[2]).read_bytes())
    with pytest.raises(ValueError, match=r"changed while it was read, in row 1 \('.*1\.png'\)"):
        rows[1:3].prepare(RGB)
    # Its next digest is that of what it is now.
    assert rows.digests()[1] == digests[2]
    np.testing.assert_array_equal(*rows[1:3].prepare(RGB))


def test_digests_of_pil_images_are_those_of_all_that_is_seen():
    pixels = make_pixels(24, 24)
    one = Image.fromarray(pixels)
    palette = one.convert("P", palette=Image.Palette.ADAPTIVE)
    other = palette.copy()
    other.putpalette(other.getpalette()[::-1])
    turned = one.copy()
    turned.getexif()[0x0112] = 3
    transparent = palette.copy()
    transparent.info["transparency"] = 1
    images = [one, one.convert("CMYK"), one.resize((12, 48))]
    images += [palette, other, turned, transparent]
    digests = ImageRows(images).digests()
    assert len(set(digests)) == len(images)
    assert ImageRows([one.copy()]).digests() == digests[:1]
    assert ImageRows([pixels]).digests() != digests[:1]


def test_digests_of_arrays_tell_shapes_and_types_apart():
    zeros = [
        np.zeros(shape, dtype)
        for shape in [(4, 6), (6, 4), (2, 12)]
        for dtype in (np.uint8, np.float32)
    ]
    assert len(set(ImageRows(zeros).digests())) == len(zeros)
    pixels = make_pixels()
    assert len(set(ImageRows([pixels, pixels.copy(), torch.as_tensor(pixels)]).digests())) == 1


def test_missing_files_have_no_digest_in_common(tmp_path):
    rows = ImageRows([tmp_path / "a.png", tmp_path / "a.png"])
    with pytest.raises(FileNotFoundError, match="row 0"):
        rows.digests()
    assert len(set(rows.with_options(n_jobs=1, on_error="nan").digests())) == 2


# Threads


class Slow(torch.utils.data.Dataset):
    """Images that take a while, and how many have been asked for."""

    def __init__(self, n):
        self.n, self.asked, self.lock = n, [], threading.Lock()

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        with self.lock:
            self.asked.append(i)
        time.sleep(0.002)
        return make_pixels(seed=i)


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_come_in_order_and_ahead_of_their_use(n_jobs, size):
    dataset = Slow(12)
    batches = np.split(np.arange(12), range(size, 12, size))
    reading = iter(ImageRows(dataset, n_jobs=n_jobs).read(batches, RGB))
    prepared = [next(reading)]
    deadline = time.monotonic() + 30
    while len(batches) > 1 and len(dataset.asked) <= size and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(batches) == 1 or len(dataset.asked) > size
    prepared += list(reading)
    assert [len(batch) for batch in prepared] == [len(batch) for batch in batches]
    expected = RGB.prepare(np.stack([make_pixels(seed=i) for i in range(12)]))
    np.testing.assert_array_equal(np.concatenate(prepared), expected)
    assert sorted(dataset.asked) == list(range(12))


def test_no_more_than_the_next_batches_are_held():
    dataset = Slow(200)
    batches = np.split(np.arange(200), 50)
    reading = iter(ImageRows(dataset, n_jobs=2).read(batches, RGB))
    next(reading)
    time.sleep(0.2)
    assert len(dataset.asked) <= 12
    reading.close()
    n_threads = [t for t in threading.enumerate() if t.name.startswith("sktransfer-images")]
    assert n_threads == []


def test_an_image_that_stands_in_many_rows(files):
    lazy = Image.open(files[0])
    rows = ImageRows([lazy] * 40, n_jobs=8)
    assert len(set(rows.digests())) == 1
    prepared = ImageRows([Image.open(files[0])] * 40, n_jobs=8).prepare(RGB)
    np.testing.assert_array_equal(prepared, np.repeat(rows[:1].prepare(RGB), 40, axis=0))


def test_filters_of_warnings_are_left_alone(files):
    """They belong to the process: who changes them in the middle of a pass keeps the change."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        reading = iter(ImageRows(files, n_jobs=2).read([[0], [1, 2], [3, 4]], RGB))
        next(reading)
        assert warnings.filters == before
        warnings.filterwarnings("ignore", message="of the user")
        changed = list(warnings.filters)
        assert len(list(reading)) == 2
        assert warnings.filters == changed


def test_without_pillow(files, monkeypatch):
    pixels = [make_pixels(30, 40), make_pixels(50, 60)]
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    assert ImageRows(pixels).prepare(RGB).shape == (2, 3, 24, 24)
    for on_error in ("raise", "nan"):
        with pytest.raises(ImportError, match=r'pip install "sktransfer\[images\]"'):
            ImageRows(files, on_error=on_error).prepare(RGB)


def test_decoding_gives_bytes_at_the_final_size(files):
    wanted = NetworkInput(channels=3, mean=0.5, std=0.25, resize=30, crop=24)
    decoded = ImageRows(files).decode(wanted)
    assert (decoded.shape, decoded.dtype) == ((5, 3, 24, 24), np.uint8)
    np.testing.assert_allclose(wanted.prepare(decoded), ImageRows(files).prepare(wanted), rtol=1e-6)
    floats = ImageRows([*files, make_pixels() / 255]).decode(wanted)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[:5], decoded / 255, atol=1e-6)


@pytest.mark.parametrize("images", [5, "photo.png", b"photo", Path("photo.png"), iter([])])
def test_one_image_is_no_list_of_them(images):
    with pytest.raises(TypeError, match="Got images=.*expected a list of images"):
        ImageRows(images)
