import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from joblib import parallel_config
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer, ParameterTransferClassifier
from sktransfer.backbones import ImageRows, NetworkInput


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


def test_replace_and_concat(backbone, digits):
    images, _ = digits
    replaced = FeatureTransferTransformer(backbone).fit_transform(images)
    assert replaced.shape == (400, 32)
    assert replaced.dtype == np.float32
    transformer = FeatureTransferTransformer(backbone, mode="concat", scale_blocks=False)
    joined = transformer.fit_transform(images)
    np.testing.assert_array_equal(joined[:, :64], images.reshape(400, 64))
    np.testing.assert_array_equal(joined[:, 64:], replaced)


@pytest.mark.parametrize(
    "layout",
    [
        lambda images: images,
        lambda images: images[:, None],
        lambda images: images[..., None],
        lambda images: images.astype(np.float32),
        lambda images: images.tolist(),
    ],
)
def test_images_in_any_layout_give_the_same_features(backbone, digits, layout):
    images = digits[0][:20]
    expected = FeatureTransferTransformer(backbone).fit_transform(images)
    features = FeatureTransferTransformer(backbone).fit_transform(layout(images))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda X: pl.DataFrame(X, schema=NAMES)])
def test_frames_with_image_shape(backbone, digits, frame):
    images = digits[0][:20]
    transformer = FeatureTransferTransformer(backbone, image_shape=(8, 8))
    X = frame(images.reshape(20, 64))
    X.columns = NAMES
    expected = FeatureTransferTransformer(backbone).fit_transform(images)
    np.testing.assert_allclose(transformer.fit_transform(X), expected, rtol=1e-5, atol=1e-5)
    assert transformer.feature_names_in_.tolist() == NAMES


NAMES = [f"pixel{i}" for i in range(64)]


def test_names_and_frames_out(backbone, digits):
    X = pd.DataFrame(digits[0][:20].reshape(20, 64), columns=NAMES)
    transformer = FeatureTransferTransformer(
        backbone, image_shape=(8, 8), layers=["conv", "penultimate"], mode="concat"
    ).set_output(transform="pandas")
    features = transformer.fit_transform(X)
    assert list(features.columns[:65]) == [*NAMES, "conv_0"]
    assert features.columns[-1] == "penultimate_31"
    assert list(features.columns) == transformer.get_feature_names_out().tolist()
    polars = transformer.set_output(transform="polars").fit_transform(X)
    assert polars.columns == list(features.columns)


def test_frames_of_both_libraries_for_all_layers(small_network, digits):
    frame = pd.DataFrame(digits[0][:20].reshape(20, 64)).rename(columns=str)
    transformer = FeatureTransferTransformer(
        small_network, image_shape=(8, 8), layers="all", mode="concat"
    )
    for library in ("pandas", "polars"):
        features = transformer.set_output(transform=library).fit_transform(frame)
        assert list(features.columns) == transformer.get_feature_names_out().tolist()
        assert {"0", "63", "conv_0", "penultimate_31"} <= set(features.columns)


def test_layers_by_pattern(digits):
    transformer = FeatureTransferTransformer("glyphs", layers="stage[12]").fit(digits[0][:5])
    assert transformer.layers_ == ("stage1", "stage2")
    assert transformer.get_feature_names_out()[[0, 48]].tolist() == ["stage1_0", "stage2_0"]
    with pytest.raises(ValueError, match=r"Got layers='stag_\*'.*Did you mean 'stage"):
        FeatureTransferTransformer("glyphs", layers="stag_*").fit(digits[0][:5])


def test_many_features_are_announced(digits):
    images = np.zeros((3, 40, 40))
    transformer = FeatureTransferTransformer("glyphs", layers="stem", pooling="flatten")
    assert transformer.fit_transform(images).shape == (3, 4608)
    wide = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU())
    transformer.set_params(backbone=wide, layers="1")
    with pytest.warns(UserWarning, match=r"make 23,104 features per row, 23,104 .* '1': 0\.1 MB"):
        transformer.fit(images)


def test_a_pickle_holds_the_network_once_or_by_name(digits):
    glyphs = FeatureTransferTransformer("glyphs", mode="concat").fit(digits[0][:5])
    assert len(pickle.dumps(glyphs)) < 20_000
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 300))
    n_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    transformer = FeatureTransferTransformer(Backbone(network)).fit(digits[0][:5])
    assert n_bytes < len(pickle.dumps(transformer)) < 1.2 * n_bytes
    clones = [pickle.loads(pickle.dumps(transformer)) for _ in range(2)]
    assert clones[0].backbone_ is clones[1].backbone_ is clones[0].backbone


def test_output_of_the_source_head(backbone, digits):
    images = digits[0][:20]
    logits = FeatureTransferTransformer(backbone, output="logits").fit_transform(images)
    proba = FeatureTransferTransformer(backbone, output="proba").fit_transform(images)
    assert logits.shape == (20, 5)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(proba.argmax(1), logits.argmax(1))


def test_a_grid_search_sends_each_row_once(small_network, digits):
    images, y = digits
    pipeline = make_pipeline(
        FeatureTransferTransformer(Backbone(small_network)), LogisticRegression(max_iter=5000)
    )
    grid = {"logisticregression__C": np.logspace(-3, 0, 10)}
    search = GridSearchCV(pipeline, grid, cv=5).fit(images, y)
    distinct = len(np.unique(images, axis=0))
    assert small_network.rows_seen == distinct
    info = search.best_estimator_[0].cache_info_
    assert (info.misses, info.rows) == (distinct, distinct)
    assert info.hits > 40 * distinct


def test_a_grid_search_over_layers_in_two_processes(backbone, digits):
    images, y = digits
    pipeline = make_pipeline(
        FeatureTransferTransformer(backbone), LogisticRegression(max_iter=5000)
    )
    grid = {"featuretransfertransformer__layers": ["penultimate", ["conv", "norm"]]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(images[:60], y[:60])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_transfer_beats_pixels_at_few_labels(digits):
    images, y = digits
    few = slice(0, 50)
    pixels = LogisticRegression(max_iter=2000).fit(images[few].reshape(50, -1), y[few])
    pipeline = make_pipeline(
        FeatureTransferTransformer("glyphs"), LogisticRegression(max_iter=2000)
    )
    pipeline.fit(images[few], y[few])
    baseline = pixels.score(images[50:].reshape(350, -1), y[50:])
    assert pipeline.score(images[50:], y[50:]) > baseline + 0.05


def test_without_a_backbone_the_features_are_the_input(digits):
    X = digits[0][:60].reshape(60, 64)
    np.testing.assert_array_equal(FeatureTransferTransformer().fit_transform(X), X)
    pipeline = make_pipeline(FeatureTransferTransformer(), LogisticRegression(max_iter=9999))
    assert cross_val_score(pipeline, X, digits[1][:60], cv=2).min() > 0.5


def test_a_fitted_classifier_is_a_backbone(digits):
    images, y = digits
    classifier = ParameterTransferClassifier("glyphs", strategy="frozen", random_state=0)
    classifier.fit(images[:50], y[:50])
    transformer = clone(FeatureTransferTransformer(classifier, output="proba"))
    proba = transformer.fit_transform(images[50:60])
    np.testing.assert_allclose(proba, classifier.predict_proba(images[50:60]), atol=1e-4)


def test_in_a_column_transformer(backbone, digits):
    X = pd.DataFrame(digits[0][:20].reshape(20, 64), columns=NAMES).assign(age=1.0)
    columns = make_column_transformer(
        (FeatureTransferTransformer(backbone, image_shape=(8, 8)), NAMES), remainder="passthrough"
    )
    assert columns.fit_transform(X).shape == (20, 33)


def test_clone_shares_the_network_and_pickle_keeps_the_features(small_network, backbone, digits):
    transformer = FeatureTransferTransformer(backbone).fit(digits[0][:10])
    assert clone(transformer).backbone is backbone
    assert clone(FeatureTransferTransformer(small_network)).backbone is small_network
    restored = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(
        restored.transform(digits[0][:10]), transformer.transform(digits[0][:10])
    )


def test_neither_network_nor_rows_are_changed(small_network, digits, tensors_of):
    images = digits[0][:20].copy()
    small_network.train()
    before = tensors_of(small_network)
    FeatureTransferTransformer(small_network).fit_transform(images)
    assert tensors_of(small_network) == before
    assert small_network.training
    np.testing.assert_array_equal(images, digits[0][:20])


def test_partial_fit_learns_nothing(backbone, digits):
    transformer = FeatureTransferTransformer(backbone).partial_fit(digits[0][:10])
    transformer.partial_fit(digits[0][10:20])
    with pytest.raises(ValueError, match="rows of shape"):
        transformer.partial_fit(np.zeros((2, 9, 9)))


def test_cache_info_without_a_cache(backbone, digits):
    transformer = FeatureTransferTransformer(backbone, cache=False).fit(digits[0][:10])
    transformer.transform(digits[0][:10])
    assert not any(transformer.cache_info_)


def test_cache_info_counts_rows_once_for_several_layers(backbone, digits):
    transformer = FeatureTransferTransformer(backbone, layers=["conv", "norm"])
    transformer.fit_transform(digits[0][:10])
    info = transformer.cache_info_
    assert (info.misses, info.rows) == (10, 10)


def test_cache_info_says_what_is_on_disk_and_what_was_saved(backbone, digits, tmp_path):
    transformer = FeatureTransferTransformer(backbone, cache_dir=tmp_path)
    for _ in range(2):
        transformer.fit(digits[0][:10]).transform(digits[0][:10])
    info = transformer.cache_info_
    assert (info.misses, info.rows, info.bytes) == (10, 10, 0)
    assert info.bytes_on_disk == sum(p.stat().st_size for p in tmp_path.rglob("*.rows"))
    assert info.seconds_saved > 0


def test_rows_are_computed_once_for_the_workers_of_a_search(backbone, digits, tmp_path):
    images, y = digits[0][:40], digits[1][:40]
    transformer = FeatureTransferTransformer(backbone, cache_dir=tmp_path)
    assert transformer.precompute(images) is transformer
    files = sorted(tmp_path.rglob("*.rows"))
    pipeline = make_pipeline(transformer, LogisticRegression(max_iter=5000))
    grid = {"logisticregression__C": [0.1, 1]}
    GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(images, y)
    # Whatever a worker had sent would be in a file of its own.
    assert sorted(tmp_path.rglob("*.rows")) == files


def test_precompute_fills_all_layers_of_a_fitted_transformer(small_network, digits):
    transformer = FeatureTransferTransformer(Backbone(small_network), layers=["conv", "norm"])
    transformer.fit(digits[0][:10]).precompute(digits[0][:20])
    assert small_network.rows_seen == 20
    for layer in ("conv", "norm"):
        FeatureTransferTransformer(transformer.backbone_, layers=layer).fit_transform(
            digits[0][:20]
        )
    assert small_network.rows_seen == 20
    with pytest.raises(ValueError, match="Got cache=False, but precompute"):
        transformer.set_params(cache=False).precompute(digits[0])


def test_bfloat16(backbone, digits, monkeypatch):
    exact = FeatureTransferTransformer(backbone).fit_transform(digits[0][:30])
    transformer = FeatureTransferTransformer(backbone, precision="bfloat16")
    monkeypatch.setattr("sktransfer.utils._torch._cpu_has_bfloat16", lambda: False)
    with pytest.warns(UserWarning, match="no fast bfloat16; going on in float32"):
        features = transformer.fit_transform(digits[0][:30])
    np.testing.assert_array_equal(features, exact)
    monkeypatch.setattr("sktransfer.utils._torch._cpu_has_bfloat16", lambda: True)
    features = transformer.fit_transform(digits[0][:30])
    assert features.dtype == np.float32
    assert 0 < np.abs(features - exact).max() < 0.02 * np.abs(exact).max()
    assert transformer.cache_info_.misses == 30


def test_a_compiled_network_works(small_network, digits):
    compiled = torch.compile(small_network, backend="eager")
    expected = FeatureTransferTransformer(small_network).fit_transform(digits[0][:10])
    features = FeatureTransferTransformer(compiled).fit_transform(digits[0][:10])
    np.testing.assert_array_equal(features, expected)


def test_a_cache_folder_must_be_a_path(backbone, digits):
    with pytest.raises(TypeError, match="Got cache_dir=3, but expected the path of a folder"):
        FeatureTransferTransformer(backbone, cache_dir=3).fit(digits[0][:10])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": "cov"}, r"Got layers='cov'.*Did you mean 'conv'"),
        ({"layers": []}, r"Got layers=\[\], but expected at least one"),
        ({"layers": ["conv", "conv"]}, "each once"),
        ({"mode": "append"}, "Got mode='append', but expected one of 'replace', 'concat'"),
        ({"output": "logit"}, "Got output='logit'.*Did you mean 'logits'"),
        ({"pooling": "median"}, "Got pooling='median'.*Did you mean 'mean'"),
        ({"scale_blocks": "yes"}, "Got scale_blocks='yes'"),
        ({"precision": "half"}, "Got precision=.half"),
        ({"batch_size": 0}, "Got batch_size=0, but expected an integer >= 1"),
        ({"cache": "no"}, "Got cache='no'"),
        ({"device": "gpu"}, "Got device='gpu'"),
        ({"backbone": "glyphz"}, "Got backbone='glyphz'.*Did you mean 'glyphs'"),
    ],
)
def test_wrong_parameters(backbone, digits, parameters, message):
    transformer = FeatureTransferTransformer(backbone).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        transformer.fit(digits[0][:10])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((4, 8, 8), np.nan), "contains NaN"),
        (np.full((4, 8, 8), np.inf), "contains infinity"),
        (np.zeros((4, 8, 8, 5)), "5 channel.* takes 1 channel.*average"),
        (np.zeros((4, 64)), r"64 columns.*image_shape=\(8, 8\)"),
        (np.zeros((0, 8, 8)), "0 sample"),
        (np.zeros((4, 1, 1, 8, 8)), "at most 4 dimensions"),
        (np.full((4, 8, 8), 1e300), "fit float32"),
        (np.zeros((4, 5, 5)), "at least 8 x 8"),
    ],
)
def test_wrong_rows(X, message):
    with pytest.raises(ValueError, match=message):
        FeatureTransferTransformer("glyphs").fit(X)


@pytest.mark.parametrize("shape", [(4, 64), (4, 8, 8, 3)])
def test_a_network_that_fails_on_the_rows_is_named(small_network, shape):
    with pytest.raises(ValueError, match=r"Got X with rows of shape .*SmallNetwork.*image_shape"):
        FeatureTransferTransformer(small_network).fit(np.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 9, 8), (4, 64), (4, 1, 8, 8)])
def test_rows_of_another_shape_than_in_fit(backbone, digits, shape):
    transformer = FeatureTransferTransformer(backbone).fit(digits[0][:10])
    with pytest.raises(ValueError, match=r"rows of shape .*fitted on rows of shape \(8, 8\)"):
        transformer.transform(np.zeros(shape))


def test_columns_of_other_names_than_in_fit():
    X = pd.DataFrame(np.zeros((4, 2)), columns=["a", "b"])
    transformer = FeatureTransferTransformer(nn.Linear(2, 3)).fit(X)
    with pytest.raises(ValueError, match="feature names should match"):
        transformer.transform(X[["b", "a"]])


def test_logits_need_a_head_and_probabilities_are_never_linked_twice(digits):
    images = digits[0][:10]
    for output in ("logits", "proba"):
        with pytest.raises(ValueError, match="does not end in a fully connected layer"):
            FeatureTransferTransformer("glyphs", output=output).fit(images)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    expected = FeatureTransferTransformer(plain, output="proba").fit_transform(images)
    for end in (nn.Softmax(dim=1), nn.LogSoftmax(dim=1)):
        network = nn.Sequential(*plain, end)
        proba = FeatureTransferTransformer(network, output="proba").fit_transform(images)
        np.testing.assert_allclose(proba, expected, rtol=1e-5)
    single = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    proba = FeatureTransferTransformer(single, output="proba").fit_transform(images)
    assert len(np.unique(proba)) > 1


def test_layers_inside_a_fitted_classifier(backbone, digits):
    images, y = digits[0][:20], digits[1][:20]
    classifier = ParameterTransferClassifier(backbone, strategy="frozen", random_state=0)
    classifier.fit(images, y)
    inner = FeatureTransferTransformer(classifier, layers="backbone.network.norm")
    outer = FeatureTransferTransformer(backbone, layers="norm")
    np.testing.assert_allclose(
        inner.fit_transform(images), outer.fit_transform(images), rtol=1e-5, atol=1e-6
    )


def test_threads_share_their_passes(small_network, digits):
    images, y = digits[0][:60], digits[1][:60]
    pipeline = make_pipeline(
        FeatureTransferTransformer(Backbone(small_network)), LogisticRegression(max_iter=5000)
    )
    grid = {"logisticregression__C": [0.01, 0.1, 1]}
    with parallel_config("threading"):
        GridSearchCV(pipeline, grid, cv=2, n_jobs=4).fit(images, y)
    assert small_network.rows_seen == len(np.unique(images, axis=0))


def test_a_failed_fit_leaves_the_last_one_whole(backbone, digits):
    images = digits[0][:10]
    transformer = FeatureTransferTransformer(backbone).fit(images)
    features = transformer.transform(images)
    with pytest.raises(ValueError, match="contains NaN"):
        transformer.fit(np.full((3, 4, 4), np.nan))
    np.testing.assert_array_equal(transformer.transform(images), features)


def test_a_network_that_gives_nan_is_named(small_network, digits):
    nn.init.constant_(small_network.conv.weight, np.nan)
    with pytest.raises(ValueError, match="NaN or infinity from the network of .*SmallNetwork"):
        FeatureTransferTransformer(small_network).fit(digits[0][:10])


def test_repeated_columns():
    X = pd.DataFrame(np.zeros((4, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match=r"repeated columns: \['a'\]"):
        FeatureTransferTransformer(nn.Linear(2, 3)).fit(X)


def test_tensors(backbone, digits):
    images = digits[0][:10]
    features = FeatureTransferTransformer(backbone).fit_transform(images)
    tensor = torch.as_tensor(images, dtype=torch.bfloat16)
    np.testing.assert_array_equal(
        FeatureTransferTransformer(backbone).fit_transform(tensor), features
    )


def test_texts_are_the_paths_of_images():
    for texts in (["a", "b"], np.array(["a", "b"], dtype=object), pd.Series(["a", "b"])):
        with pytest.raises(ValueError, match=r"row 0 \('a'\): there is no such file"):
            FeatureTransferTransformer("glyphs").fit(texts)
        with pytest.raises(ValueError, match=r"images, such as row 0 \('a'\), with backbone=None"):
            FeatureTransferTransformer().fit(texts)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("size", [6, 10])
def test_images_of_another_size_than_in_fit_have_other_features(size, cache):
    images = [np.zeros((8, 8), np.uint8)] * 3
    backbone = Backbone(nn.Conv2d(1, 2, 3), input=NetworkInput(channels=1))
    options = {"layers": "output", "cache": cache}
    transformer = FeatureTransferTransformer(backbone, pooling="flatten", **options)
    transformer.fit(ImageRows(images))
    others = ImageRows([np.zeros((size, size), np.uint8)] * 3)
    width = 2 * (size - 2) ** 2
    with pytest.raises(
        ValueError, match=f"have {width} features at layer 'output'.*seen in fit have 72.*'avg'"
    ):
        transformer.transform(others)
    pooled = FeatureTransferTransformer(backbone, **options).fit(ImageRows(images))
    assert pooled.transform(others).shape == (3, 2)


def test_probabilities_of_images_none_of_which_can_be_read():
    backbone = Backbone(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), input=NetworkInput(channels=1)
    )
    transformer = FeatureTransferTransformer(backbone, output="proba", on_error="nan")
    transformer.fit(ImageRows([np.zeros((8, 8), np.uint8)]))
    with pytest.warns(UserWarning, match="cannot be read"):
        proba = transformer.transform(["/no/such.png", "/no/other.png"])
    assert proba.shape == (2, 3)
    assert np.isnan(proba).all()
