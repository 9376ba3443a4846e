import importlib.util
import re
import unicodedata
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sktransfer import FeatureTransferTransformer, load_backbone

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "load.py"


def compute(images):
    return FeatureTransferTransformer("glyphs").fit_transform(images)


@pytest.fixture(scope="module")
def file():
    with resources.as_file(resources.files("sktransfer.backbones") / "glyphs.safetensors") as path:
        yield path


def test_it_is_small(file):
    assert file.stat().st_size <= 1.5e6
    assert load_backbone("glyphs").n_parameters <= 1_000_000


def test_its_file_says_where_it_comes_from(file):
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert header["license"] == "BSD-3-Clause"
    assert "no digits" in header["source_data"]
    for entry in ("scripts", "font_files", "font_licenses", "command", "seed", "seconds"):
        assert header[entry]


def test_the_letters_it_is_trained_on_are_no_digits():
    path = Path(__file__).resolve().parents[2] / "tools" / "glyph_images.py"
    # The rule itself, without the packages that drawing needs.
    source = path.read_text(encoding="utf-8")
    rule = re.search(r"def plain_letter.*?\n\n\n", source, re.DOTALL).group()
    names = {"unicodedata": unicodedata, "script": lambda c: "", "DENSE_SCRIPTS": ()}
    exec(rule, names)
    kept = [char for char in map(chr, range(0x11000)) if names["plain_letter"](char)]
    assert len(kept) > 1000
    assert not any(char.isnumeric() for char in kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images / 16,
        lambda images: images * 255 / 16,
        lambda images: 16 - images,
        lambda images: 100 + 3 * images,
    ],
)
def test_range_and_polarity_of_the_values_do_not_matter(digits, change):
    images = digits[0][:50]
    np.testing.assert_allclose(compute(change(images)), compute(images), atol=1e-3)


def test_images_of_any_size_from_8_by_8():
    generator = torch.Generator().manual_seed(0)
    for size in ((8, 8), (8, 40), (28, 28), (100, 64)):
        features = compute(torch.rand((3, *size), generator=generator).numpy())
        assert features.shape == (3, load_backbone("glyphs").n_features_out)


def test_images_without_ink():
    assert np.isfinite(compute(np.stack([np.zeros((8, 8)), np.full((8, 8), 255.0)]))).all()


def test_a_row_has_the_same_features_in_any_company(digits):
    images = digits[0][:40]
    backbone = load_backbone("glyphs")
    together = FeatureTransferTransformer(backbone, cache=False).fit(images).transform(images)
    alone = FeatureTransferTransformer(backbone, cache=False, batch_size=1).fit(images)
    np.testing.assert_allclose(alone.transform(images), together, atol=1e-4)


def mean_accuracy(X_train, y_train, X_test, y_test, n_labels, n_draws=5):
    scores = []
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(y_train == c), n_labels, replace=False) for c in range(10)]
        )
        model = LogisticRegression(max_iter=2000).fit(X_train[rows], y_train[rows])
        scores.append(model.score(X_test, y_test))
    return np.mean(scores)


# Some points below the figures of benchmarks/glyphs_quality.py, which are means of 20 draws.
@pytest.mark.parametrize(("n_labels", "least"), [(1, 0.80), (5, 0.94), (10, 0.96)])
def test_few_labels_of_handwritten_digits_suffice(n_labels, least):
    images, y = load_digits(return_X_y=True)
    features = compute(images.reshape(-1, 8, 8))
    assert mean_accuracy(features, y, features, y, n_labels) > least


@pytest.mark.skipif(not DATA.exists(), reason="USPS is not part of the project")
@pytest.mark.parametrize(("n_labels", "least"), [(1, 0.82), (5, 0.94), (10, 0.955)])
def test_few_labels_of_usps_suffice(n_labels, least):
    spec = importlib.util.spec_from_file_location("load", DATA)
    load = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load)
    (X_train, y_train), (X_test, y_test) = load.usps("train"), load.usps("test")
    X_train, y_train = X_train[:3000], y_train[:3000]
    features = compute(X_train), compute(X_test)
    assert mean_accuracy(features[0], y_train, features[1], y_test, n_labels) > least
