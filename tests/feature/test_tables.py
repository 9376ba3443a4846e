"""Features of a network of tables: frames in, of any library, and what stands behind the input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import (
    ColumnMismatchWarning,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
    TabularBackbone,
    load_backbone,
)
from sktransfer.backbones import TableInput, TabularNetwork
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._random_copy import make_random_copy


def test_a_frame_becomes_activations(patients, tabular_backbone):
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    features = transformer.transform(X)
    assert features.shape == (30, tabular_backbone.n_features_out)
    assert features.dtype == np.float32
    assert transformer.input_shape_ == (5,)
    module = tabular_backbone.copy_module()
    hidden = FeatureTransferTransformer(tabular_backbone, layers=["hidden", "output"])
    both = hidden.fit_transform(X)
    np.testing.assert_allclose(both[:, :16], features, rtol=1e-5, atol=1e-6)
    assert both.shape[1] == 16 + module.output.out_features


@pytest.mark.parametrize("mode", ["replace", "concat"])
def test_columns_may_come_in_any_order(mode, patients, tabular_backbone):
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone, mode=mode).fit(X)
    expected = transformer.transform(X)
    turned = transformer.transform(X[X.columns[::-1]])
    assert type(turned) is type(expected)
    pd.testing.assert_frame_equal(pd.DataFrame(turned), pd.DataFrame(expected))


def test_concat_keeps_all_columns_of_the_frame(patients, tabular_backbone):
    X, _ = patients(30)
    X = X.assign(city="Rome", weight=np.linspace(50, 90, 30)).set_index(np.arange(30) + 100)
    with warnings.catch_warnings():
        # Columns that are kept are none to warn of.
        warnings.simplefilter("error")
        transformer = FeatureTransferTransformer(
            tabular_backbone, mode="concat", scale_blocks=False
        ).fit(X)
        features = transformer.transform(X)
    names = [*X.columns, *(f"penultimate_{i}" for i in range(16))]
    assert transformer.get_feature_names_out().tolist() == names
    assert list(features.columns) == names
    pd.testing.assert_frame_equal(features[X.columns], X)
    alone = FeatureTransferTransformer(tabular_backbone).fit_transform(X[list(X.columns[:5])])
    np.testing.assert_array_equal(features[names[7:]].to_numpy(), alone)


def test_concat_in_polars(patients, tabular_backbone):
    X, _ = patients(30)
    X = pl.from_pandas(X.assign(city="Rome"))
    transformer = FeatureTransferTransformer(tabular_backbone, mode="concat").fit(X)
    features = transformer.transform(X.select(X.columns[::-1]))
    assert isinstance(features, pl.DataFrame)
    assert features.columns == list(transformer.get_feature_names_out())
    assert features["city"].to_list() == ["Rome"] * 30


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("mode", ["replace", "concat"])
def test_set_output(library, mode, patients, tabular_backbone):
    X, _ = patients(30)
    X = X if library == "pandas" else pl.from_pandas(X)
    transformer = FeatureTransferTransformer(tabular_backbone, mode=mode)
    features = transformer.set_output(transform=library).fit_transform(X)
    assert type(features).__module__.partition(".")[0] == library
    assert list(features.columns) == list(transformer.get_feature_names_out())


def test_concat_of_numbers_alone_is_an_array(patients, tabular_backbone):
    X, _ = patients(30)
    X = X.assign(sex=1.0, stage=2)
    with pytest.warns(ColumnMismatchWarning, match="'sex'"):
        features = FeatureTransferTransformer(tabular_backbone, mode="concat").fit_transform(X)
    assert isinstance(features, np.ndarray)
    assert features.shape == (30, 21)
    # Missing values of the input stay missing.
    assert np.isnan(features[:, 0]).any()
    assert np.isfinite(features[:, 5:]).all()


def test_an_array_of_objects_has_no_columns_to_stand_behind(patients, tabular_backbone):
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone, mode="concat")
    with pytest.raises(ValueError, match=r"mode='concat'.*a frame.*mode='replace'"):
        transformer.fit(X.to_numpy())


def test_what_differs_is_said_once(patients, tabular_backbone):
    X, _ = patients(30)
    X = X.drop(columns="age").assign(city="Rome")
    transformer = FeatureTransferTransformer(tabular_backbone)
    with pytest.warns(ColumnMismatchWarning) as told:
        transformer.fit_transform(X)
    assert len(told) == 1
    # Not again of what was there in fit.
    transformer.transform(X)


def test_columns_after_fit(patients, tabular_backbone):
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    with pytest.raises(ValueError, match=r"without the columns 'sex', which it had in fit"):
        transformer.transform(X.drop(columns="sex"))
    with pytest.warns(ColumnMismatchWarning, match=r"'city', which it did not have in fit"):
        transformer.transform(X.assign(city="Rome"))
    transformer.fit(X.to_numpy())
    with pytest.raises(ValueError, match="4 features, but .* is expecting 5"):
        transformer.transform(X.to_numpy()[:, :4])


def test_an_array_after_a_frame_has_the_columns_of_the_frame(patients, tabular_backbone):
    X, _ = patients(30)
    X = X[X.columns[::-1]]
    transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        features = transformer.transform(X.to_numpy())
    np.testing.assert_array_equal(features, transformer.transform(X))


def test_image_shape_is_of_no_use(patients, tabular_backbone):
    X, _ = patients(30)
    with pytest.raises(ValueError, match=r"image_shape=\(1, 5\) with a backbone for tables"):
        FeatureTransferTransformer(tabular_backbone, image_shape=(1, 5)).fit(X)


def test_bfloat16_leaves_the_codes_alone(patients):
    """A code beyond 256 is another number in bfloat16."""
    X = pd.DataFrame({"a": pd.Categorical(np.arange(1000))})
    table = TableInput.learn(X)
    backbone = TabularBackbone(TabularNetwork(0, table.cardinalities, (8,)), input=table)
    exact, rough = (
        compute_activations(backbone, X, precision=precision, cache=False)[0]
        for precision in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(rough, exact, atol=0.05)


def test_logits_have_the_names_of_the_classes(patients, tabular_backbone):
    X, y = patients(100)
    transformer = FeatureTransferTransformer(tabular_backbone, output="logits").fit(X)
    assert transformer.get_feature_names_out().tolist() == ["logit_ill", "logit_well"]
    says_ill = np.diff(transformer.transform(X), axis=1).ravel() < 0
    assert np.mean(says_ill == (y == "ill")) > 0.8


def test_rows_are_cached_by_what_is_encoded(patients, tabular_backbone):
    """Equal rows of another library are the same rows, and other columns are others."""
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone, cache=True).fit(X)
    transformer.transform(X)
    misses = transformer.cache_info_.misses
    transformer.transform(pl.from_pandas(X.astype({"stage": "int64"})))
    assert transformer.cache_info_.misses == misses
    transformer.transform(X.assign(age=20.0))
    assert transformer.cache_info_.misses > misses


def test_pipeline_and_grid_search(patients, tabular_backbone):
    X, y = patients(60)
    pipeline = make_pipeline(
        FeatureTransferTransformer(tabular_backbone), StandardScaler(), LogisticRegression(C=0.1)
    )
    grid = {"featuretransfertransformer__layers": ["penultimate", "hidden.0.0"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.75
    assert search.best_estimator_[0].backbone is tabular_backbone
    assert search.predict(X.iloc[:3]).shape == (3,)


def test_concat_before_estimators_that_take_frames(patients, tabular_backbone):
    X, y = patients(60)
    transformer = FeatureTransferTransformer(tabular_backbone, mode="concat")
    trees = HistGradientBoostingClassifier(
        categorical_features="from_dtype", min_samples_leaf=5, max_iter=10
    )
    frame = X.astype({"sex": "category"})
    assert cross_val_score(make_pipeline(transformer, trees), frame, y).mean() > 0.7
    encoder = make_column_transformer(
        (OneHotEncoder(), ["sex", "stage", "smokes"]), remainder="passthrough"
    )
    frame = X.dropna()
    linear = make_pipeline(transformer, encoder, LogisticRegression(max_iter=5000))
    assert linear.fit(frame, y[frame.index]).score(frame, y[frame.index]) > 0.8


def test_clone_pickle_and_file(patients, tabular_backbone, tmp_path):
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    assert clone(transformer).backbone is tabular_backbone
    again = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(again.transform(X), transformer.transform(X))
    tabular_backbone.save(tmp_path / "patients.safetensors")
    of_path = FeatureTransferTransformer(tmp_path / "patients.safetensors").fit(X)
    np.testing.assert_array_equal(of_path.transform(X), transformer.transform(X))
    assert of_path.backbone_ == load_backbone(tmp_path / "patients.safetensors")


def test_dask_frames(patients, tabular_backbone):
    dask_dataframe = pytest.importorskip("dask.dataframe")
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    lazy = transformer.transform(dask_dataframe.from_pandas(X, npartitions=3))
    np.testing.assert_allclose(lazy.compute(), transformer.transform(X), rtol=1e-5, atol=1e-6)


def test_precompute(patients, tabular_backbone):
    X, _ = patients(30)
    for mode in ("replace", "concat"):
        transformer = FeatureTransferTransformer(tabular_backbone, mode=mode, cache=True)
        transformer.precompute(X)
        misses = transformer.cache_info_.misses
        transformer.transform(X)
        assert transformer.cache_info_.misses == misses


def test_a_fitted_estimator_is_a_source_in_both_ways(patients, tabular_backbone):
    """As a network, and frozen by what it predicts."""
    X, y = patients(60)
    classifier = ParameterTransferClassifier(tabular_backbone, strategy="frozen").fit(X, y)
    of_network = FeatureTransferTransformer(classifier, mode="concat").fit(X)
    assert of_network.backbone_ == classifier.backbone_
    says = FeatureTransferTransformer(FrozenEstimator(classifier), output="logits", mode="concat")
    features = says.fit_transform(X)
    assert list(features.columns) == [*X.columns, "logit_well"]
    np.testing.assert_allclose(
        says.set_params(scale_blocks=False).fit_transform(X)["logit_well"],
        classifier.decision_function(X),
        rtol=1e-5,
    )


def test_backbones_of_tables_in_a_grid(patients, tabular_backbone):
    X, y = patients(60)
    control = make_random_copy(tabular_backbone)
    pipeline = make_pipeline(FeatureTransferTransformer(), LogisticRegression(C=0.1))
    grid = {"featuretransfertransformer__backbone": [control, tabular_backbone]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_params_["featuretransfertransformer__backbone"] is tabular_backbone
