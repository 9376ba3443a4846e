import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
    load_backbone,
    pretrain_backbone,
)
from sktransfer.backbones import NetworkInput, _small_network
from sktransfer.training import SCARF, RandomFlip, SimCLR

QUICK = {"max_epochs": 8, "batch_size": 32, "learning_rate": 1e-2, "random_state": 0}
N_FEATURES = 4 * 16
RNG = np.random.default_rng(0)


def make_bars(n=160, seed=0, size=8):
    """Return images of a horizontal or vertical bar of some brightness at some place."""
    rng = np.random.default_rng(seed)
    images = 0.2 * rng.random((n, size, size))
    upright, place = rng.integers(0, 2, n), rng.integers(1, size - 1, n)
    brightness = rng.uniform(0.5, 1, n)
    for image, is_upright, where, bright in zip(images, upright, place, brightness, strict=True):
        image[(slice(None), where) if is_upright else (where, slice(None))] += bright
    return images.astype(np.float32), upright, brightness


@pytest.fixture(scope="module", autouse=True)
def narrow_network():
    """A network that is as deep as always, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_small_network, "_WIDTHS", (8, 16, 16, 16))
        yield


IMAGES, UPRIGHT, BRIGHTNESS = make_bars()
CLASSES = np.where(UPRIGHT, "upright", "level")


def pretrain(X=IMAGES, y=CLASSES, **options):
    return pretrain_backbone(X, y, **{**QUICK, **options})


def weights(backbone):
    return torch.cat([p.flatten() for p in backbone.copy_module().parameters()]).detach().numpy()


def outputs(backbone, X=IMAGES):
    with torch.no_grad():
        return backbone.copy_module()(torch.as_tensor(backbone.input.prepare(X))).numpy()


@pytest.fixture(scope="module")
def of_classes(narrow_network):
    return pretrain()


def test_classes_are_learned(of_classes):
    report = of_classes.report_
    assert report.task == "classification"
    assert report.scores["accuracy"] > 0.9 > report.chance["accuracy"] + 0.3
    assert (report.n_rows, report.n_held_out) == (136, 24)
    assert of_classes.classes.tolist() == ["level", "upright"]
    new, upright, _ = make_bars(seed=1)
    assert np.mean(outputs(of_classes, new).argmax(1) == upright) > 0.9


def test_what_comes_of_it_is_a_backbone_like_any_other(of_classes, tmp_path):
    new, upright, _ = make_bars(seed=1)
    features = FeatureTransferTransformer(of_classes).fit_transform(new)
    assert features.shape == (160, N_FEATURES)
    logits = FeatureTransferTransformer(of_classes, output="logits").fit(new)
    assert logits.get_feature_names_out().tolist() == ["logit_level", "logit_upright"]
    classifier = ParameterTransferClassifier(of_classes, strategy="frozen", random_state=0)
    assert classifier.fit(new[:20], upright[:20]).score(new[20:], upright[20:]) > 0.9
    of_classes.save(tmp_path / "bars.safetensors")
    loaded = load_backbone(tmp_path / "bars.safetensors")
    assert loaded.fingerprint == of_classes.fingerprint
    assert loaded.report_ == of_classes.report_
    # Nothing of an image is in the file but their mean and standard deviation.
    assert loaded.input == of_classes.input
    assert loaded.input.mean == pytest.approx((IMAGES.mean(),), rel=0.05)


def test_several_labels_and_numbers():
    labels = np.c_[UPRIGHT, BRIGHTNESS > 0.75]
    backbone = pretrain(y=labels, augment=None, max_epochs=10)
    assert backbone.report_.task == "multilabel"
    assert backbone.report_.scores["roc_auc"] > 0.8
    backbone = pretrain(y=100 + 20 * BRIGHTNESS, augment=None, max_epochs=30)
    assert backbone.report_.scores["r2"] > 0.4
    # In the units of the labels.
    assert np.abs(outputs(backbone)[:, 0] - 100 - 20 * BRIGHTNESS).mean() < 4


def test_images_alone_are_learned():
    simclr = SimCLR(augment=lambda images: images + 0.1 * torch.randn(images.shape))
    backbone = pretrain(
        y=None,
        self_supervised=simclr,
        max_epochs=20,
        batch_size=64,
        learning_rate=2e-3,
        validation_fraction=0.3,
    )
    report = backbone.report_
    assert report.task == "self-supervised"
    assert report.scores["matched_rows"] > 3 * report.chance["matched_rows"]
    assert report.best_epoch > 1
    assert backbone.classes is None
    assert outputs(backbone).shape == (160, N_FEATURES)
    assert backbone.n_features_out == N_FEATURES
    few, upright, _ = make_bars(seed=1)
    learner = make_pipeline(FeatureTransferTransformer(backbone), LogisticRegression())
    assert learner.fit(few[:20], upright[:20]).score(few[20:], upright[20:]) > 0.85


@pytest.mark.parametrize("self_supervised", [0.5, SimCLR(weight=0.5, augment=RandomFlip())])
def test_labels_and_images_are_learned_together(self_supervised):
    report = pretrain(self_supervised=self_supervised, max_epochs=10).report_
    assert report.task == "classification"
    assert report.scores["accuracy"] > 0.8
    assert "matched_rows" in report.scores


def test_the_same_seed_gives_the_same_bits():
    torch.rand(3)
    first = pretrain(max_epochs=2, self_supervised=1.0)
    state = torch.get_rng_state()
    second = pretrain(max_epochs=2, self_supervised=1.0)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(weights(first), weights(second))
    other = pretrain(max_epochs=2, self_supervised=1.0, random_state=1)
    assert not np.array_equal(weights(first), weights(other))


def test_rows_without_weight_are_as_good_as_absent():
    weight = np.r_[np.ones(100), np.zeros(60)]
    wrong = np.where(np.arange(160) < 100, CLASSES, "neither")
    weighted = pretrain(y=wrong, sample_weight=weight, max_epochs=2)
    assert weighted.classes.tolist() == ["level", "upright"]
    absent = pretrain(IMAGES[:100], CLASSES[:100], max_epochs=2)
    np.testing.assert_array_equal(weights(weighted), weights(absent))


@pytest.mark.parametrize(
    ("to_images", "channels"),
    [
        (lambda X: X[:, None], 1),
        (lambda X: X[..., None], 1),
        (lambda X: (255 * X / X.max()).astype(np.uint8), 1),
        (lambda X: np.repeat(X[..., None], 3, axis=3), 3),
        (lambda X: np.repeat(X[:, None], 3, axis=1), 3),
    ],
)
def test_arrays_with_and_without_channels(to_images, channels):
    images = to_images(IMAGES)
    backbone = pretrain(images, max_epochs=4)
    assert backbone.input.channels == channels
    assert backbone.report_.scores["accuracy"] > 0.8
    assert outputs(backbone, images).shape == (160, 2)


def test_columns_that_form_images():
    flat = pretrain(IMAGES.reshape(160, 64), image_shape=(8, 8), max_epochs=2)
    np.testing.assert_array_equal(weights(flat), weights(pretrain(max_epochs=2)))


def test_files_and_images_of_differing_sizes(tmp_path):
    paths = []
    for i, image in enumerate(IMAGES[:40]):
        pixels = (255 * image / image.max()).astype(np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).resize((10 + i % 3, 10), Image.NEAREST).save(paths[-1])
    backbone = pretrain(paths, CLASSES[:40], image_size=8, max_epochs=2, n_jobs=2)
    assert backbone.input.find_size() == (8, 8)
    assert backbone.input.channels == 3
    # The target may come in any size, too.
    assert FeatureTransferTransformer(backbone).fit_transform(paths).shape == (40, N_FEATURES)
    resized = pretrain(np.repeat(np.repeat(IMAGES, 2, 1), 2, 2), image_size=8, max_epochs=1)
    assert outputs(resized).shape == (160, 2)


def test_training_goes_on_from_a_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)
        )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    start = Backbone(module, input=NetworkInput(channels=1, mean=(0.3,), std=(0.3,)))
    backbone = pretrain(backbone=start, max_epochs=10, learning_rate=1e-2)
    assert backbone.report_.scores["accuracy"] > 0.9
    # Its input stays as it was, and so do its weights; the old head is gone.
    assert backbone.input == start.input
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert FeatureTransferTransformer(backbone).fit_transform(IMAGES[:3]).shape == (3, 288)
    moved = backbone.copy_module().features.network
    assert not torch.equal(moved[0].weight, module[0].weight)
    again = pretrain(y=None, backbone=module, max_epochs=1)
    assert FeatureTransferTransformer(again).fit_transform(IMAGES[:3]).shape == (3, 288)
    with pytest.raises(ValueError, match="takes vectors"):
        pretrain(backbone=nn.Linear(64, 2))


def test_a_progress_bar(capsys):
    pretrain(max_epochs=2, verbose=1)
    assert "pretraining" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("X", "parameters", "error", "message"),
    [
        (IMAGES, {"dropout": 0.5}, ValueError, "dropout=0.5 with X_source as images.*only tables"),
        (IMAGES, {"hidden_layer_sizes": (8,)}, ValueError, "only tables have that"),
        (IMAGES, {"self_supervised": SCARF()}, TypeError, "a SimCLR of sktransfer.training"),
        (IMAGES[:, 0], {"self_supervised": SimCLR()}, TypeError, "a SCARF of sktransfer"),
        (IMAGES[:, 0], {"image_size": 8}, ValueError, "image_size=8 with X_source as a table"),
        (IMAGES[:, 0], {"augment": None}, ValueError, "only images have that"),
        (IMAGES[:, 0], {"image_shape": (3, 3)}, ValueError, "9 pixels, but X has 8 columns"),
        (IMAGES[:, 0], {"backbone": nn.Linear(8, 2)}, ValueError, r"shape \(160, 8\)"),
        (IMAGES, {"augment": "flip"}, ValueError, "Got augment='flip'"),
        (IMAGES * np.nan, {}, ValueError, "images with NaN"),
        (IMAGES[:1], {"y": None}, ValueError, "1 rows, but expected at least 2"),
        (IMAGES[None, None], {"y": None}, ValueError, r"shape \(1, 1, 160, 8, 8\)"),
    ],
)
def test_what_cannot_be(X, parameters, error, message):
    with pytest.raises(error, match=message):
        pretrain(X, **parameters)
