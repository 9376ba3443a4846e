import pathlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sktransfer import FeatureTransferTransformer, ParameterTransferClassifier

IMAGE = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("cat.jpg", r"Got X='cat.jpg', which is one path or text.*X=\['cat.jpg'\]"),
        (pathlib.Path("cat.jpg"), r"one path or text.*X=\['cat.jpg'\]"),
        (b"GIF89a", r"Got X as 6 bytes.*a list, X=\[content\]"),
        (Image.fromarray(IMAGE), r"is one image; expected a list of images, X=\[image\]"),
        ({"a": [1.0], "b": [2.0]}, r"a dict with the keys 'a', 'b', but expected rows.*DataFrame"),
        ((IMAGE for _ in range(3)), r"a generator, which can only be iterated.*list\(X\)"),
        (map(str, ["cat.jpg"]), "a map, which can only be iterated"),
        ({"cat.jpg"}, "a set, which can only be iterated"),
        (torch.utils.data.DataLoader([IMAGE]), "a DataLoader, which can only be.*X.dataset"),
    ],
)
def test_what_is_no_container_of_rows(X, message):
    for estimator in (
        FeatureTransferTransformer("glyphs"),
        FeatureTransferTransformer(),
        ParameterTransferClassifier("glyphs", image_shape=(8, 8)),
    ):
        with pytest.raises(TypeError, match=message):
            estimator.fit(X, [0, 1, 0])


def test_a_folder_is_to_be_listed(tmp_path):
    transformer = FeatureTransferTransformer("glyphs").fit([IMAGE] * 3)
    for path in (str(tmp_path), tmp_path):
        with pytest.raises(TypeError, match=r"the path of a folder.*load_image_folder\('"):
            transformer.transform(path)


@pytest.mark.parametrize("X", [[IMAGE] * 3, (IMAGE, IMAGE), np.stack([IMAGE] * 3)])
def test_containers_go_on(X):
    assert len(FeatureTransferTransformer("glyphs").fit_transform(X)) == len(X)
    rows = pd.DataFrame(np.zeros((2, 64)))
    assert len(FeatureTransferTransformer("glyphs", image_shape=(8, 8)).fit_transform(rows)) == 2
