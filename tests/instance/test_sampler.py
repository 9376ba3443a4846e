"""InstanceWeightingSampler: what it draws, and where it works."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from sktransfer.datasets import make_covariate_shift
from sktransfer.domain import SourceDomain
from sktransfer.instance import BaseWeighting, InstanceWeightingSampler
from sktransfer.instance._sampler import _draw

DOMAINS = make_covariate_shift(200, 40, shift=0.8, random_state=0)
X, y = DOMAINS.X_target, DOMAINS.y_target
SOURCE = SourceDomain(DOMAINS.X_source, DOMAINS.y_source)


class ColumnWeighting(BaseWeighting):
    """Give the first column of the source as log weights: quick, and known."""

    def _compute_log_weights(self, X_source, X_target):
        first = X_source.iloc[:, 0] if hasattr(X_source, "iloc") else X_source[:, 0]
        return np.asarray(first, dtype=float).reshape(len(X_source), -1)[:, 0]


def make_sampler(source=SOURCE, **parameters):
    return InstanceWeightingSampler(
        source, **{"weighting": ColumnWeighting(), "random_state": 0, **parameters}
    )


def test_target_rows_come_first_and_whole():
    sampler = make_sampler(source_share=0.6)
    X_both, y_both = sampler.fit_resample(X, y)
    assert len(X_both) == len(y_both) == 100
    np.testing.assert_array_equal(X_both[:40], X)
    np.testing.assert_array_equal(y_both[:40], y)
    np.testing.assert_array_equal(X_both[40:], SOURCE.X[sampler.source_indices_])
    np.testing.assert_array_equal(y_both[40:], SOURCE.y[sampler.source_indices_])
    assert sampler.source_weights_.mean() == pytest.approx(1)
    assert 1 < sampler.effective_sample_size_ < 200


def test_default_weighting():
    sampler = InstanceWeightingSampler(SOURCE, random_state=0)
    assert len(sampler.fit_resample(X, y)[0]) == 80
    np.testing.assert_array_equal(sampler.source_weights_, clone(sampler).fit(X, y).source_weights_)


@pytest.mark.parametrize(("n_samples", "expected"), [(0, 0), (1, 1), (5, 5), (700, 700)])
def test_number_of_draws(n_samples, expected):
    sampler = make_sampler(n_samples=n_samples)
    assert len(sampler.fit_resample(X, y)[0]) == 40 + expected
    assert len(sampler.source_indices_) == expected


def test_share_of_zero_draws_nothing():
    assert len(make_sampler(source_share=0.0).fit_resample(X, y)[0]) == 40


def test_same_seed_same_draw():
    first, second, other = (make_sampler(random_state=seed) for seed in (0, 0, 1))
    for sampler in (first, second, other):
        sampler.fit_resample(X, y)
    np.testing.assert_array_equal(first.source_indices_, second.source_indices_)
    assert not np.array_equal(first.source_indices_, other.source_indices_)


@pytest.mark.parametrize("seed", range(5))
def test_rows_and_classes_are_drawn_as_often_as_expected(seed):
    rng = np.random.default_rng(seed)
    weights, strata = rng.exponential(size=50) * (rng.random(50) < 0.8), rng.integers(0, 3, 50)
    drawn = np.bincount(_draw(weights, 30, strata, np.random.RandomState(seed)), minlength=50)
    expected = 30 * weights / weights.sum()
    assert drawn.sum() == 30
    assert (abs(drawn - expected) < 1).all()
    per_class = [np.bincount(strata, weights=counts) for counts in (drawn, expected)]
    assert (abs(per_class[0] - per_class[1]) < 1 + 1e-9).all()


def test_prior_weights_of_the_source_count():
    weight = np.zeros(200)
    weight[:7] = 1
    sampler = make_sampler(SourceDomain(SOURCE.X, SOURCE.y, sample_weight=weight))
    sampler.fit_resample(X, y)
    assert set(sampler.source_indices_) <= set(range(7))
    assert sampler.source_weights_.mean() == pytest.approx(1)


def test_no_source_warns_and_leaves_the_target():
    sampler = InstanceWeightingSampler()
    with pytest.warns(UserWarning, match="Got source=None, so there is nothing to transfer") as w:
        X_both, y_both = sampler.fit_resample(X, y)
    assert w[0].filename == __file__
    np.testing.assert_array_equal(X_both, X)
    np.testing.assert_array_equal(y_both, y)
    assert sampler.source_weights_.shape == sampler.source_indices_.shape == (0,)


def test_labels_of_any_kind():
    names = np.array(["no", "yes"])
    y_both = make_sampler(SourceDomain(SOURCE.X, names[SOURCE.y])).fit_resample(X, names[y])[1]
    assert set(y_both) == {"no", "yes"}
    extra = make_sampler(SourceDomain(SOURCE.X, 2 + SOURCE.y)).fit_resample(X, y)[1]
    assert set(extra) == {0, 1, 2, 3}
    floats = make_sampler(SourceDomain(SOURCE.X, SOURCE.X[:, 0])).fit_resample(X, X[:, 1])[1]
    assert floats.dtype == np.float64
    with pytest.raises(ValueError, match="source labels that are text .* expected numbers"):
        make_sampler(SourceDomain(SOURCE.X, names[SOURCE.y])).fit(X, y)


def test_frames_stay_frames():
    columns = ["width", "depth"]
    source = SourceDomain(pd.DataFrame(SOURCE.X, columns=columns), SOURCE.y)
    frame, labels = pd.DataFrame(X, columns=columns), pd.Series(y, name="sick")
    sampler = make_sampler(source)
    X_both, y_both = sampler.fit_resample(frame, labels)
    assert list(X_both.columns) == list(sampler.feature_names_in_) == columns
    assert y_both.name == "sick"
    assert y_both.index.equals(X_both.index)
    source = SourceDomain(pl.DataFrame(SOURCE.X, schema=columns), SOURCE.y)
    frame, labels = pl.DataFrame(X, schema=columns), pl.Series("sick", y)
    X_both, y_both = make_sampler(source, weighting=None).fit_resample(frame, labels)
    assert isinstance(X_both, pl.DataFrame)
    assert isinstance(y_both, pl.Series) and y_both.name == "sick"


NAMES = np.array(["no", "yes"])


@pytest.mark.parametrize(
    ("labels", "y_source"),
    [
        (pl.Series("sick", y, dtype=pl.Int8), SOURCE.y),
        (pl.Series("sick", NAMES[y]), NAMES[SOURCE.y]),
        (pl.Series("sick", NAMES[y], dtype=pl.Categorical), NAMES[SOURCE.y]),
        (pl.Series("sick", NAMES[y], dtype=pl.Enum(["no", "yes"])), NAMES[SOURCE.y]),
        (pl.Series("sick", y == 1), SOURCE.y == 1),
        (pl.Series("sick", X[:, 0]), SOURCE.X[:, 0]),
        (pd.Series(y, name="sick", dtype="Int64"), SOURCE.y),
        (pd.Series(NAMES[y], name="sick", dtype="object"), NAMES[SOURCE.y]),
        (pd.Series(NAMES[y], name="sick", dtype="category"), NAMES[SOURCE.y]),
        (pd.Series(X[:, 0], name="sick", dtype="float32"), SOURCE.X[:, 0].astype("float32")),
    ],
    ids=lambda labels: f"{type(labels).__module__[:6]} {labels.dtype}",
)
@pytest.mark.parametrize("n_samples", [0, None])
def test_labels_come_back_in_their_container(labels, y_source, n_samples):
    sampler = make_sampler(SourceDomain(SOURCE.X, y_source), n_samples=n_samples)
    expected = np.asarray(labels), y_source
    for y_both in (sampler.fit_resample(X, labels)[1], sampler.fit_weights(X, labels)[1]):
        assert (type(y_both), y_both.dtype, y_both.name) == (type(labels), labels.dtype, "sick")
        assert y_both.to_numpy()[:40].tolist() == expected[0].tolist()
        assert set(y_both.to_numpy()[40:].tolist()) <= set(expected[1].tolist())


@pytest.mark.parametrize("library", [pd, pl])
def test_labels_that_do_not_fit_the_dtype_of_the_target(library):
    small = library.Series(y.tolist(), dtype={pd: "int8", pl: pl.Int8}[library])
    y_both = make_sampler(SourceDomain(SOURCE.X, SOURCE.y + 300)).fit_resample(X, small)[1]
    assert isinstance(y_both, library.Series)
    assert set(y_both.to_numpy().tolist()) == {0, 1, 300, 301}
    few = {pd: "category", pl: pl.Enum(["no", "yes"])}[library]
    named = library.Series(NAMES[y].tolist(), dtype=few)
    y_both = make_sampler(SourceDomain(SOURCE.X, np.full(200, "ill"))).fit_resample(X, named)[1]
    assert set(y_both.to_list()) == {"no", "yes", "ill"}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("library", [pd, pl])
def test_labels_in_a_frame(library):
    y_both = make_sampler().fit_resample(X, library.DataFrame({"sick": y}))[1]
    assert isinstance(y_both, library.DataFrame)
    assert (y_both.shape, list(y_both.columns)) == ((80, 1), ["sick"])


def test_images():
    source = SourceDomain(SOURCE.X.reshape(-1, 2, 1), SOURCE.y)
    sampler = InstanceWeightingSampler(source, random_state=0)
    assert sampler.fit_resample(X.reshape(-1, 2, 1), y)[0].shape == (80, 2, 1)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"source": SOURCE.X}, TypeError, r"Got source of type ndarray.*SourceDomain\(X_source"),
        ({"source": SourceDomain(SOURCE.X)}, ValueError, "expected a source with labels"),
        ({"source": SourceDomain(SOURCE.X[:, :1], SOURCE.y)}, ValueError, "with 1 columns"),
        ({"source_share": 1}, ValueError, "Got source_share=1"),
        ({"source_share": -0.1}, ValueError, "Got source_share=-0.1"),
        ({"source_share": "half"}, TypeError, "Got source_share='half'"),
        ({"n_samples": 1.5}, TypeError, "Got n_samples=1.5"),
        ({"n_samples": -1}, ValueError, "Got n_samples=-1"),
        ({"weighting": "kmm"}, TypeError, "Got weighting='kmm'"),
        ({"weighting": ColumnWeighting}, TypeError, "Got weighting="),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        make_sampler(**parameters).fit_resample(X, y)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X, y[:-1], "inconsistent numbers of samples"),
        (X[:0], y[:0], "0 rows"),
        (X, np.where(y == 0, np.nan, y), "NaN"),
        (X, [None, *"a" * 39], "missing"),
        (np.where(X > 2, np.inf, X), y, "infinity"),
    ],
)
def test_bad_target(X, y, message):
    with pytest.raises(ValueError, match=message):
        make_sampler().fit_resample(X, y)


def test_in_a_pipeline_of_imbalanced_learn():
    pipeline = pytest.importorskip("imblearn.pipeline")
    steps = [("scale", StandardScaler()), ("add", make_sampler()), ("knn", KNeighborsClassifier())]
    learner = pipeline.Pipeline(steps).fit(X, y)
    assert learner[-1].n_samples_fit_ == 80
    assert learner.predict(X).shape == y.shape
    search = GridSearchCV(
        learner, {"add__source_share": [0.2, 0.8], "knn__n_neighbors": [1, 5]}, cv=3, n_jobs=2
    )
    assert search.fit(X, y).best_score_ > 0.6
    plain = pipeline.Pipeline([("add", make_sampler()), ("fit", LogisticRegression())])
    assert cross_val_score(plain, X, y, cv=3).shape == (3,)


def test_it_is_no_transformer_and_pickles():
    sampler = make_sampler()
    assert not hasattr(sampler, "transform")
    assert clone(sampler).source is SOURCE
    sampler.fit_resample(X, y)
    loaded = pickle.loads(pickle.dumps(sampler))
    np.testing.assert_array_equal(loaded.source_indices_, sampler.source_indices_)


@pytest.mark.filterwarnings("ignore:Got source=None:UserWarning")
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize(
    "check",
    [  # those that are not about balancing classes, which is not what this sampler does
        "check_samplers_fit_resample",
        "check_samplers_sampling_strategy_fit_resample",
        "check_samplers_pandas",
        "check_samplers_string",
        "check_samplers_nan",
        "check_samplers_preserve_dtype",
        "check_sampler_get_feature_names_out",
        "check_sampler_get_feature_names_out_pandas",
        "check_dataframe_column_names_consistency",
    ],
)
def test_checks_of_imbalanced_learn(check):
    checks = pytest.importorskip("imblearn.utils.estimator_checks")
    getattr(checks, check)("InstanceWeightingSampler", InstanceWeightingSampler())


def test_weights_in_place_of_a_draw():
    row_weight = np.arange(1.0, 41.0)
    sampler = make_sampler(source_share=0.6)
    X_both, y_both, weight = sampler.fit_weights(X, y, sample_weight=row_weight)
    np.testing.assert_array_equal(X_both, np.concatenate([X, SOURCE.X]))
    np.testing.assert_array_equal(y_both, np.concatenate([y, SOURCE.y]))
    np.testing.assert_array_equal(weight[:40], row_weight)
    assert weight[40:].sum() / weight.sum() == pytest.approx(0.6)
    np.testing.assert_allclose(weight[40:] / weight[40:].mean(), sampler.source_weights_)
    assert make_sampler(n_samples=7).fit_weights(X, y)[2][40:].sum() == pytest.approx(7)
    assert make_sampler(source_share=0.0).fit_weights(X, y)[2].sum() == 40


def test_weights_are_those_of_the_draws_in_the_mean():
    source = SourceDomain(SOURCE.X[:30], SOURCE.y[:30])
    expected = make_sampler(source).fit_weights(X, y)[2][40:]
    counts = np.zeros(30)
    for seed in range(300):
        sampler = make_sampler(source, random_state=seed)
        sampler.fit_resample(X, y)
        counts += np.bincount(sampler.source_indices_, minlength=30) / 300
    np.testing.assert_allclose(counts, expected, atol=0.15)


def test_weights_without_a_source_and_in_frames():
    with pytest.warns(UserWarning, match="Got source=None"):
        X_both, y_both, weight = InstanceWeightingSampler().fit_weights(X, y)
    assert len(X_both) == len(y_both) == weight.sum() == 40
    source = SourceDomain(pd.DataFrame(SOURCE.X, columns=["a", "b"]), SOURCE.y)
    frame, labels = pd.DataFrame(X, columns=["a", "b"]), pd.Series(y, name="sick")
    X_both, y_both, _ = InstanceWeightingSampler(source).fit_weights(frame, labels)
    assert list(X_both.columns) == ["a", "b"] and y_both.name == "sick"


def test_several_sources():
    sources = [SourceDomain(SOURCE.X[:150], SOURCE.y[:150]), SourceDomain(X + 9, y)]
    sampler = make_sampler(sources, n_samples=60)
    X_both, y_both = sampler.fit_resample(X, y)
    assert len(X_both) == 100
    stacked = np.concatenate([sources[0].X, sources[1].X])
    np.testing.assert_array_equal(X_both[40:], stacked[sampler.source_indices_])
    labels = np.concatenate([sources[0].y, sources[1].y])
    np.testing.assert_array_equal(y_both[40:], labels[sampler.source_indices_])
    sizes = np.array(sampler.effective_sample_size_)
    assert [len(weights) for weights in sampler.source_weights_] == [150, 40]
    drawn = np.bincount(sampler.source_indices_ >= 150)
    np.testing.assert_allclose(drawn, 60 * sizes / sizes.sum(), atol=2.5)
    weight = sampler.fit_weights(X, y)[2]
    assert weight[190:].sum() / weight[40:].sum() == pytest.approx(sizes[1] / sizes.sum())
