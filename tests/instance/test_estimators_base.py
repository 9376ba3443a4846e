"""What holds for classifier and regressor alike: unlabelled targets, several sources, copies."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sktransfer.domain import SourceDomain
from sktransfer.instance import (
    BaseWeighting,
    InstanceTransferClassifier,
    InstanceTransferRegressor,
)


class FirstColumnWeighting(BaseWeighting):
    """Give the first column as log weights: quick, and known."""

    def _compute_log_weights(self, X_source, X_target):
        return np.asarray(X_source, dtype=float)[:, 0].copy()


class LabelWeighting(BaseWeighting):
    """Keep what it was given."""

    _uses_labels = True

    def _compute_log_weights(self, X_source, X_target, y_source, y_target):
        self.y_source_, self.y_target_ = y_source, y_target
        return np.zeros(len(X_source))


RNG = np.random.default_rng(0)
X, X_SOURCE = RNG.normal(size=(30, 3)), RNG.normal(size=(120, 3))
LABELS = {  # of the target and of the source
    "classifier": (X[:, 0] > 0.2, X_SOURCE[:, 0] > 0.2),
    "regressor": (X @ [1.0, 2, 0], X_SOURCE @ [1.0, 2, 0]),
}
each_kind = pytest.mark.parametrize("kind", ["classifier", "regressor"])


def make(kind, estimator=None, **parameters):
    cls = {"classifier": InstanceTransferClassifier, "regressor": InstanceTransferRegressor}[kind]
    defaults = {"weighting": FirstColumnWeighting(), "random_state": 0, "cv": 2}
    if "source" not in parameters:
        defaults["source"] = SourceDomain(X_SOURCE, LABELS[kind][1])
    return cls(estimator, **{**defaults, **parameters})


def plain(kind):
    return LogisticRegression(max_iter=1000) if kind == "classifier" else Ridge()


def source_weights():
    weights = np.exp(X_SOURCE[:, 0])
    return weights / weights.mean()


@each_kind
def test_unlabelled_target(kind):
    y_source = LABELS[kind][1]
    fitted = make(kind).fit(X)
    by_hand = plain(kind).fit(X_SOURCE, y_source, sample_weight=source_weights())
    np.testing.assert_allclose(fitted.predict(X), by_hand.predict(X))
    np.testing.assert_allclose(fitted.estimator_.coef_, by_hand.coef_)
    assert (fitted.strategy_, fitted.target_weight_) == ("weighted", 0.0)
    assert fitted.oof_loss_ == fitted.transfer_gain_ == {}
    again = make(kind).fit(X, None)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


@each_kind
def test_no_labels_at_all(kind):
    with (
        pytest.warns(UserWarning, match="Got source=None"),
        pytest.raises(ValueError, match="requires y to be passed, but the target y is None"),
    ):
        make(kind, source=None).fit(X)


def test_unlabelled_target_with_one_class_in_the_source():
    source = SourceDomain(X_SOURCE, np.zeros(120, dtype=int))
    with pytest.raises(ValueError, match="Got one class"):
        make("classifier", source=source).fit(X)


@each_kind
def test_weightings_see_the_labels(kind):
    y, y_source = LABELS[kind]
    fitted = make(kind, weighting=LabelWeighting(), fallback=None).fit(X, y)
    np.testing.assert_array_equal(fitted.weighting_.y_source_, y_source)
    np.testing.assert_array_equal(fitted.weighting_.y_target_, y)
    assert make(kind, weighting=LabelWeighting()).fit(X).weighting_.y_target_ is None


class Recorder(BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        self.rows_, self.labels_, self.weights_ = X, y, sample_weight
        return self

    def predict(self, X):
        return np.zeros(len(X))


class RecordingRegressor(Recorder):
    _estimator_type = "regressor"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        return tags


def test_several_sources_share_the_mass_by_their_effective_sample_sizes():
    y, y_source = LABELS["regressor"]
    sources = [
        SourceDomain(X_SOURCE[:80], y_source[:80]),
        SourceDomain(X_SOURCE[80:], y_source[80:]),
    ]
    fitted = make(
        "regressor", RecordingRegressor(), source=sources, target_weight=0.25, fallback=None
    ).fit(X, y)
    seen = fitted.estimator_
    np.testing.assert_array_equal(seen.rows_, np.concatenate([X, X_SOURCE]))
    np.testing.assert_array_equal(seen.labels_, np.concatenate([y, y_source]))
    masses = [seen.weights_[part].sum() for part in (slice(30), slice(30, 110), slice(110, 150))]
    assert masses[0] / sum(masses) == pytest.approx(0.25)
    sizes = fitted.effective_sample_size_
    assert masses[1] / masses[2] == pytest.approx(sizes[0] / sizes[1])
    assert [len(w) for w in fitted.source_weights_] == [80, 40]
    assert len(fitted.weighting_) == 2
    np.testing.assert_array_equal(fitted.source_selected_, [True, True])


@each_kind
def test_a_source_that_does_not_help_is_left_out(kind):
    y, y_source = LABELS[kind]
    wrong = ~y_source if kind == "classifier" else -y_source
    sources = [SourceDomain(X_SOURCE, wrong), SourceDomain(X_SOURCE[:80], y_source[:80])]
    fitted = make(kind, source=sources).fit(X[:20], y[:20])
    np.testing.assert_array_equal(fitted.source_selected_, [False, True])
    loss = fitted.oof_loss_
    assert loss["source_1"] <= loss["target_only"] < loss["source_0"]
    assert set(fitted.weights_) & {"weighted", "weighted_pool"}
    assert loss["weighted"] == pytest.approx(loss["source_1"])  # it learns from this source alone
    np.testing.assert_array_equal(make(kind, source=sources).fit(X).source_selected_, [True, True])


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.NegativeTransferWarning")
def test_where_no_source_helps_the_best_is_left_for_the_guard():
    y, y_source = LABELS["regressor"]
    sources = [SourceDomain(X_SOURCE, factor * y_source) for factor in (-2.0, -1.0)]
    fitted = make("regressor", source=sources).fit(X, y)
    assert fitted.source_selected_.tolist() == [False, True]
    assert fitted.strategy_ == "target_only"


@each_kind
def test_the_whole_source_is_in_each_fold_also_with_as_many_rows_as_the_target(kind):
    y, y_source = LABELS[kind]
    seen = []

    class Counting(type(plain(kind))):
        def fit(self, X, y, sample_weight=None):
            seen.append(len(X))
            return super().fit(X, y, sample_weight)

    source = SourceDomain(X_SOURCE[:30], y_source[:30])
    estimator = make(kind, Counting(), source=source, fallback=None)
    assert cross_val_predict(estimator, X, y, cv=3).shape == (30,)
    assert seen == [50] * 3


@each_kind
@pytest.mark.parametrize("fallback", [None, "target_only"])
def test_pickles_without_source_rows(kind, fallback):
    y, y_source = LABELS[kind]
    # Many columns, so that rows outweigh the numbers that stay: two for each row.
    wide, wide_source = np.tile(X, 10), np.tile(X_SOURCE, 10)
    source = SourceDomain(wide_source, y_source)
    kept, dropped = (
        make(kind, source=source, drop_source=drop, fallback=fallback).fit(wide, y)
        for drop in (False, True)
    )
    assert dropped.source is source
    assert len(pickle.dumps(kept)) > wide_source.nbytes
    assert len(pickle.dumps(dropped)) < len(pickle.dumps(kept)) - 0.95 * wide_source.nbytes
    loaded = pickle.loads(pickle.dumps(dropped))
    np.testing.assert_array_equal(loaded.predict(wide), dropped.predict(wide))
    assert "120 rows x 30 columns" in repr(loaded)
    for estimator in (loaded, clone(loaded), pickle.loads(pickle.dumps(loaded))):
        with pytest.raises(ValueError, match=r"drop_source=True.*set_params\(source="):
            estimator.fit(wide, y)
    np.testing.assert_array_equal(loaded.predict(wide), dropped.predict(wide))
    refitted = clone(loaded).set_params(source=source).fit(wide, y)
    np.testing.assert_allclose(refitted.predict(wide), dropped.predict(wide))


@each_kind
def test_an_estimator_that_is_not_fitted_keeps_its_source_in_a_pickle(kind):
    loaded = pickle.loads(pickle.dumps(make(kind, drop_source=True)))
    np.testing.assert_array_equal(loaded.source.X, X_SOURCE)


def test_several_sources_are_dropped_from_pickles():
    y, y_source = LABELS["regressor"]
    sources = [SourceDomain(X_SOURCE, y_source), SourceDomain(X_SOURCE[:9], y_source[:9])]
    fitted = make("regressor", source=sources, drop_source=True, fallback=None).fit(X, y)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert len(loaded.source) == 2
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    with pytest.raises(ValueError, match="9 rows|120 rows"):
        loaded.fit(X, y)


@each_kind
@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_frames(kind, container):
    y, y_source = LABELS[kind]
    names = ["a", "b", "c"]
    frame, source_frame = (
        container({name: Z[:, i] for i, name in enumerate(names)}) for Z in (X, X_SOURCE)
    )
    pipeline = make_pipeline(StandardScaler(), plain(kind))
    fitted = make(kind, pipeline, source=SourceDomain(source_frame, y_source)).fit(frame, y)
    arrays = make(kind, pipeline).fit(X, y)
    np.testing.assert_allclose(fitted.predict(frame), arrays.predict(X))
    assert list(fitted.feature_names_in_) == names


@each_kind
def test_metadata_routing(kind):
    y, _ = LABELS[kind]
    weight = np.arange(30.0) + 1
    pipeline = make_pipeline(StandardScaler(), plain(kind))
    off = make(kind, pipeline).fit(X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        on = make(kind, pipeline).fit(X, y, sample_weight=weight)
        outer = make_pipeline(make(kind, pipeline).set_fit_request(sample_weight=True))
        outer.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(on.predict(X), off.predict(X))
    np.testing.assert_allclose(outer.predict(X), off.predict(X))


@pytest.mark.parametrize(
    "inner", [None, Ridge(), make_pipeline(StandardScaler(), Ridge())], ids=str
)
def test_weights_reach_the_regressor_of_transformed_labels(inner):
    y, _ = LABELS["regressor"]
    estimator = TransformedTargetRegressor(inner)
    fitted = make("regressor", estimator, target_weight=0.9).fit(X, y)
    plain_inner = LinearRegression() if inner is None else inner
    without = make("regressor", plain_inner, target_weight=0.9).fit(X, y)
    np.testing.assert_allclose(fitted.predict(X), without.predict(X))
    with pytest.raises(TypeError, match="sample_weight; use InstanceWeightingSampler"):
        make("regressor", TransformedTargetRegressor(KNeighborsRegressor())).fit(X, y)


@each_kind
def test_sources_with_other_columns_than_the_target(kind):
    y, y_source = LABELS[kind]
    sources = [SourceDomain(X_SOURCE, y_source), SourceDomain(X_SOURCE[:, :2], y_source)]
    with pytest.raises(ValueError, match="a source with 2 columns and a target with 3 columns"):
        make(kind, source=sources).fit(X, y)


@pytest.mark.parametrize("fallback", [None, "target_only"])
def test_regressor_that_takes_no_weights(fallback):
    with pytest.raises(TypeError, match="sample_weight; use InstanceWeightingSampler"):
        make("regressor", KNeighborsRegressor(), fallback=fallback).fit(X, LABELS["regressor"][0])


@pytest.mark.parametrize("labelled", [True, False])
def test_weights_are_asked_for_before_the_source_is_weighted(labelled):
    class Untouched(BaseWeighting):
        def _compute_log_weights(self, X_source, X_target):
            pytest.fail("the source was weighted")

    regressor = make("regressor", KNeighborsRegressor(), weighting=Untouched())
    with pytest.raises(TypeError, match="sample_weight; use InstanceWeightingSampler"):
        regressor.fit(X, LABELS["regressor"][0] if labelled else None)


def test_wrong_kinds():
    y, y_source = LABELS["regressor"]
    with pytest.raises(TypeError, match=r"type SVC, but expected a regressor"):
        make("regressor", SVC()).fit(X, y)
    with pytest.raises(ValueError, match="expected numbers; InstanceTransferClassifier"):
        make("regressor").fit(X, np.where(y > 0, "a", "b"))
    with pytest.raises(ValueError, match="source labels that are text"):
        make("regressor", source=SourceDomain(X_SOURCE, np.where(y_source > 0, "a", "b"))).fit(X, y)


def test_labels_whose_squares_overflow_are_refused():
    y, y_source = LABELS["regressor"]
    with pytest.raises(ValueError, match=r"Got y with values up to .*e\+199, .* scale the labels"):
        make("regressor").fit(X, np.full(len(y), 1e199))
    with pytest.raises(ValueError, match="scale the labels"):
        SourceDomain(X_SOURCE, y_source * 1e200)


@each_kind
def test_no_source(kind):
    y, _ = LABELS[kind]
    with pytest.warns(UserWarning, match="Got source=None") as record:
        fitted = make(kind, source=None).fit(X, y)
    assert record[0].filename == __file__
    assert fitted.strategy_ == "target_only" and fitted.target_weight_ == 1
    np.testing.assert_allclose(fitted.predict(X), plain(kind).fit(X, y).predict(X))
