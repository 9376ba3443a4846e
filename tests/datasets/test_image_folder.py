import os
from pathlib import Path

import numpy as np
import pytest

from sktransfer.datasets import load_image_folder


@pytest.fixture
def folder(tmp_path):
    return make_files(tmp_path, "dog/b.JPG", "dog/a.png", "cat/10.jpeg", "cat/9.jpeg")


def make_files(folder, *names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names_of(folder, paths):
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def test_classes_are_folders_and_all_is_sorted(folder):
    paths, labels = load_image_folder(folder)
    assert names_of(folder, paths) == ["cat/10.jpeg", "cat/9.jpeg", "dog/a.png", "dog/b.JPG"]
    assert labels.tolist() == ["cat", "cat", "dog", "dog"]
    assert paths.dtype.kind == labels.dtype.kind == "U"


def test_the_order_is_not_that_of_the_disk(tmp_path):
    names = [f"{c}/{i}.png" for c in "ba" for i in (3, 1, 2)]
    for order in (names, names[::-1]):
        folder = make_files(tmp_path / str(order is names), *order)
        assert names_of(folder, load_image_folder(folder)[0]) == sorted(names)


def test_paths_begin_as_the_folder_was_given(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    paths, _ = load_image_folder(folder.name)
    assert paths[0] == os.path.join(folder.name, "cat", "10.jpeg")


def test_hidden_and_other_files_are_left_out(folder):
    make_files(folder, "cat/.9.jpeg", "cat/Thumbs.db", "cat/notes.txt", ".git/x.png", "readme.md")
    assert len(load_image_folder(folder)[0]) == 4


def test_extensions(folder):
    make_files(folder, "cat/x.npy", "dog/x.NPY")
    for extensions in (["npy"], (".npy",), ".npy"):
        paths, _ = load_image_folder(folder, extensions=extensions)
        assert names_of(folder, paths) == ["cat/x.npy", "dog/x.NPY"]
    for extensions in ((), ("",), (3,)):
        with pytest.raises(ValueError, match="Got extensions="):
            load_image_folder(folder, extensions=extensions)


def test_chosen_classes(folder):
    (folder / "empty").mkdir()
    _, labels = load_image_folder(folder, classes=["dog"])
    assert labels.tolist() == ["dog", "dog"]
    with pytest.raises(ValueError, match=r"Got classes=\['bird'\].*'cat', 'dog', 'empty'"):
        load_image_folder(folder, classes=["bird"])


def test_a_class_without_images(folder):
    make_files(folder, "bird/notes.txt")
    with pytest.raises(ValueError, match=r"classes 'bird', which hold no file.*classes="):
        load_image_folder(folder)


def test_folders_within_a_class(folder):
    make_files(folder, "cat/old/1.png", "cat/old/older/1.png")
    with pytest.raises(ValueError, match=r"'old'; pass recursive=True"):
        load_image_folder(folder)
    paths, labels = load_image_folder(folder, recursive=True)
    assert names_of(folder, paths)[:4] == [
        "cat/10.jpeg",
        "cat/9.jpeg",
        "cat/old/1.png",
        "cat/old/older/1.png",
    ]
    np.testing.assert_array_equal(labels[:4], "cat")


@pytest.mark.parametrize("n_images", [0, 2])
def test_a_folder_without_classes(tmp_path, n_images):
    make_files(tmp_path, *[f"{i}.png" for i in range(n_images)])
    with pytest.raises(ValueError, match=f"with {n_images} images and no sub-folder"):
        load_image_folder(tmp_path)


def test_no_folder(folder):
    with pytest.raises(NotADirectoryError, match="no such folder"):
        load_image_folder(folder / "bird")
    with pytest.raises(NotADirectoryError, match="no such folder"):
        load_image_folder(folder / "cat" / "9.jpeg")


def test_links(folder, tmp_path_factory):
    elsewhere = make_files(tmp_path_factory.mktemp("elsewhere"), "1.png", "2.png")
    try:
        (folder / "bird").symlink_to(elsewhere, target_is_directory=True)
        (folder / "cat" / "link.png").symlink_to(elsewhere / "1.png")
        (folder / "dog" / "loop").symlink_to(folder / "dog", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")
    paths, labels = load_image_folder(folder, recursive=True)
    assert names_of(folder, paths)[:2] == ["bird/1.png", "bird/2.png"]
    assert names_of(folder, paths)[4] == "cat/link.png"
    assert labels.tolist().count("dog") == 2
