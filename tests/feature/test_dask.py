import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.compose import make_column_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

rng = np.random.default_rng(0)


@pytest.fixture
def images(digits):
    return digits[0][:90]


@pytest.fixture
def transformer(small_network):
    return FeatureTransferTransformer(small_network, layers="conv", mode="concat")


@pytest.mark.parametrize("chunks", [(30, 8, 8), (25, 4, 8), (90, 8, 3), ((1, 80, 9), 8, 8)])
def test_arrays_give_lazy_arrays(transformer, images, chunks, small_network):
    expected = transformer.fit_transform(images)
    small_network.rows_seen = 0
    features = transformer.transform(da.from_array(images, chunks=chunks))
    assert isinstance(features, da.Array)
    assert features.shape == (90, 64 + 8)
    assert features.dtype == expected.dtype
    assert small_network.rows_seen == 0
    np.testing.assert_allclose(features.compute(scheduler="threads"), expected, rtol=1e-5)


def test_fitting_gathers_the_scales_where_the_chunks_are(transformer, images):
    scales = transformer.fit(images).block_scales_
    lazy = da.from_array(images, chunks=(40, 8, 8))
    features = transformer.fit_transform(lazy)
    np.testing.assert_allclose(transformer.block_scales_, scales, rtol=1e-6)
    assert features.shape == (90, 72)
    assert transformer.input_shape_ == (8, 8)


def test_chunks_of_unknown_or_no_length(transformer, images):
    expected = transformer.fit_transform(images)
    lazy = da.from_array(images, chunks=(30, 8, 8))
    bright = lazy[lazy.reshape(90, 64).sum(axis=1) > 0]
    assert np.isnan(bright.shape[0])
    np.testing.assert_allclose(transformer.transform(bright).compute(), expected, rtol=1e-5)
    rows = np.arange(90)
    late = lazy[da.from_array(rows, chunks=30) >= 35]
    np.testing.assert_allclose(transformer.transform(late).compute(), expected[35:], rtol=1e-5)
    transformer.fit(late)
    with pytest.raises(ValueError, match="0 sample"):
        transformer.fit(lazy[da.from_array(rows, chunks=30) > 1000])


NAMES = ["a", "b", "colour"]


@pytest.fixture
def frame():
    colours = rng.choice(["red", "blue"], size=60)
    return pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "colour": colours})


def test_frames_reach_an_estimator_with_their_categories(frame):
    encoder = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    source = make_pipeline(encoder, LogisticRegression()).fit(frame, frame["a"] > 0)
    transformer = FeatureTransferTransformer(FrozenEstimator(source), output="logits")
    lazy = dd.from_pandas(frame, npartitions=3)
    features = transformer.fit(lazy).transform(lazy)
    assert isinstance(features, da.Array)
    np.testing.assert_allclose(features.compute()[:, 0], source.decision_function(frame))
    assert transformer.feature_names_in_.tolist() == NAMES
    transformer.set_params(mode="concat").fit(frame)
    with pytest.raises(ValueError, match="not numbers and mode='concat'"):
        transformer.transform(lazy)


def test_frames_of_numbers(frame):
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    transformer = FeatureTransferTransformer(network, mode="concat")
    expected = transformer.fit_transform(frame[["a", "b"]])
    lazy = dd.from_pandas(frame[["a", "b"]], npartitions=4)
    np.testing.assert_allclose(transformer.fit_transform(lazy).compute(), expected, rtol=1e-5)


def test_what_dask_collections_do_not_go_with(transformer, images, tmp_path):
    lazy = da.from_array(images, chunks=(40, 8, 8))
    transformer.fit(images)
    with pytest.raises(TypeError, match="to_npy_stack"):
        transformer.transform_to_file(lazy, tmp_path / "f.npy")
    with pytest.raises(ValueError, match="a Dask array has no columns"):
        transformer.set_output(transform="pandas").transform(lazy)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        FeatureTransferTransformer().fit(da.from_array(np.zeros(3)))


def test_rows_of_chunks_are_checked(transformer, images):
    transformer.fit(images)
    with pytest.raises(ValueError, match=r"rows of shape \(9, 9\)"):
        transformer.transform(da.zeros((10, 9, 9), chunks=(5, 9, 9)))
    holes = images.copy()
    holes[70] = np.nan
    lazy = transformer.transform(da.from_array(holes, chunks=(40, 8, 8)))
    with pytest.raises(ValueError, match="contains NaN"):
        lazy.compute(scheduler="sync")


def make_network():
    layers = [nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU()]
    return Backbone(nn.Sequential(*layers), name="dense")


def describe_process():
    """Return which process this is, and how many copies of the network it has unpickled."""
    import gc
    import os

    from sktransfer import Backbone

    backbones = [one for one in gc.get_objects() if isinstance(one, Backbone)]
    return os.getpid(), sum(backbone.name == "dense" for backbone in backbones)


@pytest.fixture
def client(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=tmp_path,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.slow
def test_two_processes_of_a_cluster(client, digits):
    images, y = digits[0][:120], digits[1][:120]
    transformer = FeatureTransferTransformer(make_network(), layers="all", mode="concat")
    expected = transformer.fit_transform(images)
    scales = transformer.block_scales_
    lazy = da.from_array(images, chunks=(10, 8, 8))
    transformer.fit(lazy)
    np.testing.assert_allclose(transformer.block_scales_, scales, rtol=1e-6)
    np.testing.assert_allclose(
        transformer.transform(lazy).compute(), expected, rtol=1e-5, atol=1e-5
    )
    # Twelve chunks, one network in each process.
    found = client.run(describe_process)
    assert len({process for process, _ in found.values()}) == 2
    assert all(count <= 1 for _, count in found.values())

    pipeline = make_pipeline(
        FeatureTransferTransformer(transformer.backbone_), LogisticRegression(max_iter=2000)
    )
    grid = {"featuretransfertransformer__layers": ["2", "4"], "logisticregression__C": [0.1, 1]}
    alone = GridSearchCV(pipeline, grid, cv=2).fit(images, y)
    with parallel_config(backend="dask"):
        search = GridSearchCV(pipeline, grid, cv=2).fit(images, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"],
        alone.cv_results_["mean_test_score"],
        # Features are equal to about 1e-6, so a row on the border may change sides.
        atol=2.5 / len(y),
    )
    assert all(count <= 1 for _, count in client.run(describe_process).values())


def test_precompute_takes_no_collection(transformer, images):
    with pytest.raises(TypeError, match="Got X as a Dask collection, of which the row cache keeps"):
        transformer.precompute(da.from_array(images, chunks=(30, 8, 8)))
