"""InstanceTransferClassifier: what it fits, on what, with which weights."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sktransfer.datasets import make_covariate_shift
from sktransfer.domain import SourceDomain
from sktransfer.instance import BaseWeighting, InstanceTransferClassifier

DOMAINS = make_covariate_shift(200, 40, shift=0.8, random_state=0)
X, y = DOMAINS.X_target, DOMAINS.y_target
SOURCE = SourceDomain(DOMAINS.X_source, DOMAINS.y_source)


class EqualWeighting(BaseWeighting):
    """Give all source rows the same weight: quick, and known."""

    def _compute_log_weights(self, X_source, X_target):
        return np.zeros(len(X_source))


class RecordingClassifier(ClassifierMixin, BaseEstimator):
    """Remember what fit was given."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.sample_weight_ = X, y, sample_weight
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def make_classifier(estimator=None, **parameters):
    """Without the guard, which has its own tests."""
    defaults = {"source": SOURCE, "weighting": EqualWeighting(), "fallback": None}
    return InstanceTransferClassifier(estimator, **{**defaults, **parameters})


@pytest.mark.parametrize("target_weight", [0.1, 0.5, 0.8])
def test_rows_and_weights_that_reach_the_estimator(target_weight):
    weight = np.arange(1.0, 41.0)
    fitted = make_classifier(RecordingClassifier(), target_weight=target_weight)
    for row_weight in (None, weight):
        seen = fitted.fit(X, y, sample_weight=row_weight).estimator_
        np.testing.assert_array_equal(seen.X_, np.concatenate([X, SOURCE.X]))
        np.testing.assert_array_equal(seen.y_, np.concatenate([y, SOURCE.y]))
        expected = np.ones(40) if row_weight is None else weight
        np.testing.assert_array_equal(seen.sample_weight_[:40], expected)
        total = seen.sample_weight_.sum()
        assert seen.sample_weight_[:40].sum() / total == pytest.approx(target_weight)
        assert fitted.target_weight_ == target_weight
        assert fitted.strategy_ == "weighted" and fitted.weights_ == {"weighted": 1.0}


@pytest.mark.parametrize(("n_target", "share"), [(8, 0.5), (20, 0.5), (40, 2 / 3)])
def test_automatic_weight_grows_with_the_number_of_target_rows(n_target, share):
    fitted = make_classifier(RecordingClassifier()).fit(X[:n_target], y[:n_target])
    assert fitted.target_weight_ == pytest.approx(share)
    weights = fitted.estimator_.sample_weight_
    assert weights[:n_target].sum() / weights.sum() == pytest.approx(share)


def test_target_weight_of_one_is_the_target_alone():
    alone = LogisticRegression(max_iter=1000).fit(X, y)
    fitted = make_classifier(target_weight=1).fit(X, y)
    assert fitted.strategy_ == "target_only" and fitted.source_weights_.shape == (0,)
    np.testing.assert_array_equal(fitted.predict_proba(X), alone.predict_proba(X))


def test_no_source_warns_and_fits_the_target_alone():
    with pytest.warns(UserWarning, match="Got source=None") as record:
        fitted = InstanceTransferClassifier().fit(X, y)
    assert record[0].filename == __file__
    alone = LogisticRegression(max_iter=1000).fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X), alone.predict_proba(X))


def test_default_weighting_helps_under_covariate_shift():
    gains = []
    for seed in range(2):
        train = make_covariate_shift(400, 25, 4, shift=1.5, random_state=seed)
        test = make_covariate_shift(1, 1000, 4, shift=1.5, random_state=100 + seed)
        source = SourceDomain(train.X_source, train.y_source)
        transfer = InstanceTransferClassifier(source=source, fallback=None, random_state=0)
        alone = LogisticRegression().fit(train.X_target, train.y_target)
        transfer.fit(train.X_target, train.y_target)
        assert transfer.weighting_.domain_auc_ > 0.5
        gains.append(
            transfer.score(test.X_target, test.y_target) - alone.score(test.X_target, test.y_target)
        )
    assert np.mean(gains) > 0


@pytest.mark.parametrize("n_source", [32, 40, 200])  # 32: as many as target rows in a fold
def test_each_fold_has_all_of_the_source_and_scores_the_target(n_source):
    source = SourceDomain(SOURCE.X[:n_source], SOURCE.y[:n_source])
    classifier = make_classifier(RecordingClassifier(), source=source)
    search = GridSearchCV(classifier, {"target_weight": [0.5]}, cv=5).fit(X, y)
    assert len(search.best_estimator_.estimator_.X_) == 40 + n_source
    for train, test in StratifiedKFold(5).split(X, y):
        fold = clone(classifier).fit(X[train], y[train])
        np.testing.assert_array_equal(fold.estimator_.X_[len(train) :], source.X)
        assert len(test) == 8
    assert cross_val_score(classifier, X, y, cv=5).shape == (5,)


def test_classes_of_both_domains():
    source = SourceDomain(SOURCE.X, 5 + SOURCE.y)
    fitted = make_classifier(source=source).fit(X, y)
    np.testing.assert_array_equal(fitted.classes_, [0, 1, 5, 6])
    assert fitted.predict_proba(X).shape == (40, 4)
    np.testing.assert_array_equal(
        make_classifier(source=source).fit(X, np.zeros(40, dtype=int)).classes_, [0, 5, 6]
    )
    one = SourceDomain(SOURCE.X, np.zeros(200, dtype=int))
    with pytest.raises(ValueError, match=r"Got one class, .*0.*at least two"):
        make_classifier(source=one).fit(X, np.zeros(40, dtype=int))


def test_string_labels():
    names = np.array(["healthy", "sick"])
    fitted = make_classifier(source=SourceDomain(SOURCE.X, names[SOURCE.y])).fit(X, names[y])
    assert fitted.score(X, names[y]) > 0.6
    with pytest.raises(ValueError, match="source labels that are numbers .* expected text"):
        make_classifier().fit(X, names[y])


def test_pipelines_pass_the_weights_to_each_step_that_takes_them():
    steps = StandardScaler(), MinMaxScaler(), LogisticRegression()
    fitted = make_classifier(make_pipeline(*steps), target_weight=0.7).fit(X, y)
    X_both, y_both = np.concatenate([X, SOURCE.X]), np.concatenate([y, SOURCE.y])
    weights = np.append(np.ones(40), np.full(200, 40 * 0.3 / 0.7 / 200))
    by_hand = make_pipeline(*steps).fit(
        X_both,
        y_both,
        standardscaler__sample_weight=weights,
        logisticregression__sample_weight=weights,
    )
    np.testing.assert_allclose(fitted.predict_proba(X), by_hand.predict_proba(X))
    with config_context(enable_metadata_routing=True):
        routed = make_classifier(make_pipeline(*steps), target_weight=0.7).fit(X, y)
    np.testing.assert_allclose(routed.predict_proba(X), by_hand.predict_proba(X))
    nested = make_classifier(make_pipeline(steps[0], make_pipeline(*steps[1:])), target_weight=0.7)
    np.testing.assert_allclose(nested.fit(X, y).predict_proba(X), by_hand.predict_proba(X))


def test_metadata_requests_of_the_user_are_honoured():
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        fitted = make_classifier(make_pipeline(scaler, LogisticRegression())).fit(X, y)
        assert make_classifier(LogisticRegression()).fit(X, y).score(X, y) > 0.5
    np.testing.assert_allclose(
        fitted.estimator_[0].mean_, np.concatenate([X, SOURCE.X]).mean(axis=0)
    )


def test_search_inside():
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=3)
    inside = make_classifier(search).fit(X, y)
    plain = make_classifier(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, y)
    np.testing.assert_allclose(inside.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize(
    "estimator",
    [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())],
    ids=["estimator", "last step"],
)
@pytest.mark.parametrize("routing", [True, False])
def test_estimator_that_takes_no_weights(estimator, routing):
    with (
        config_context(enable_metadata_routing=routing),
        pytest.raises(TypeError, match=r"sample_weight; use InstanceWeightingSampler"),
    ):
        make_classifier(estimator).fit(X, y)


def test_meta_estimators_that_route_weights():
    voting = VotingClassifier(
        [("lr", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=0))]
    )
    off = make_classifier(voting).fit(X, y)
    with config_context(enable_metadata_routing=True):
        on = make_classifier(voting).fit(X, y)
        assert on.score(X, y) > 0.5
    np.testing.assert_array_equal(on.predict(X), off.predict(X))
    several = make_classifier(OneVsRestClassifier(LogisticRegression()))
    with pytest.raises(ValueError, match="enable_metadata_routing=True"):
        several.fit(X, y)
    with config_context(enable_metadata_routing=True):
        assert several.fit(X, y).score(X, y) > 0.5


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeClassifierCV(),
        CalibratedClassifierCV(LogisticRegression(), cv=3),
        GridSearchCV(LogisticRegression(), {"C": [0.1]}, cv=3),
        GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()),
            {"logisticregression__C": [0.1]},
            cv=3,
            error_score="raise",
        ),
    ],
    ids=["router that takes weights", "calibration", "search", "search over a pipeline"],
)
def test_estimators_that_take_weights_and_route_them(estimator):
    off = make_classifier(estimator).fit(X, y)
    with config_context(enable_metadata_routing=True):
        on = make_classifier(estimator).fit(X, y)
    np.testing.assert_array_equal(on.predict(X), off.predict(X))


@pytest.mark.parametrize("weight", [-np.ones(40), np.full(40, np.nan), np.ones(3)])
def test_bad_sample_weight(weight):
    with pytest.raises(ValueError, match="sample_weight|Negative values"):
        make_classifier().fit(X, y, sample_weight=weight)


def test_nested_parameters_in_a_parallel_search():
    grid = {"estimator__C": [0.1, 1.0], "target_weight": [0.5, 0.9], "weighting__flatten": [0.5]}
    classifier = make_classifier(LogisticRegression())
    search = GridSearchCV(classifier, grid, cv=3, n_jobs=2, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.5
    assert search.best_estimator_.source is SOURCE
    assert clone(search).estimator.source is SOURCE


def test_pickle_has_the_source_only_as_parameter():
    fitted = make_classifier(source=SourceDomain(np.tile(SOURCE.X, (20, 1)), np.tile(SOURCE.y, 20)))
    fitted.fit(X, y)
    n_bytes = fitted.source.X.nbytes
    assert n_bytes < len(pickle.dumps(fitted)) < 3 * n_bytes
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    without = {k: v for k, v in vars(fitted).items() if k != "source"}
    del without["source_weights_"], without["weighting_"]
    assert len(pickle.dumps(without)) < 5000


def make_frame(n_rows, rng):
    frame = pd.DataFrame(
        {"job": rng.choice(["nurse", "judge"], n_rows), "age": rng.normal(size=n_rows)}
    )
    return frame, np.where(frame["age"] + (frame["job"] == "nurse") > 0.5, "yes", "no")


@pytest.mark.parametrize("dtype", ["object", "category"])
def test_frames_with_categories(dtype):
    rng = np.random.default_rng(0)
    (source, y_source), (target, y_target) = make_frame(150, rng), make_frame(30, rng)
    source, target = (frame.astype({"job": dtype}) for frame in (source, target))
    columns = make_column_transformer((OneHotEncoder(), ["job"]), remainder=StandardScaler())
    fitted = InstanceTransferClassifier(
        make_pipeline(columns, LogisticRegression()), source=SourceDomain(source, y_source)
    ).fit(target, y_target)
    assert fitted.score(target, y_target) > 0.8
    assert list(fitted.feature_names_in_) == ["job", "age"]
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(target.rename(columns={"age": "years"}))


def test_missing_values_where_the_estimator_takes_them():
    X_missing = np.where(X > 1.5, np.nan, X)
    source = SourceDomain(np.where(SOURCE.X > 1.5, np.nan, SOURCE.X), SOURCE.y)
    estimator = HistGradientBoostingClassifier(max_iter=5)
    fitted = InstanceTransferClassifier(estimator, source=source, fallback=None, random_state=0)
    assert fitted.fit(X_missing, y).score(X_missing, y) > 0.5
    with pytest.raises(ValueError, match="NaN"):
        make_classifier(source=source).fit(X_missing, y)


def test_images_reach_the_estimator_as_images():
    source = SourceDomain(SOURCE.X.reshape(-1, 1, 2, 1), SOURCE.y)
    images = X.reshape(-1, 1, 2, 1)
    fitted = make_classifier(RecordingClassifier(), source=source).fit(images, y)
    assert fitted.estimator_.X_.shape == (240, 1, 2, 1)
    assert fitted.input_shape_ == (1, 2, 1)
    with pytest.raises(ValueError, match=r"rows of shape \(1, 4, 1\), but expected \(1, 2, 1\)"):
        fitted.predict(np.zeros((2, 1, 4, 1)))


def test_methods_are_those_of_the_estimator():
    svc, tree = make_classifier(LinearSVC()), make_classifier(DecisionTreeClassifier())
    assert hasattr(svc, "decision_function") and not hasattr(svc, "predict_proba")
    assert hasattr(tree, "predict_proba") and not hasattr(tree, "decision_function")
    assert svc.fit(X, y).decision_function(X).shape == (40,)
    assert tree.fit(X, y).predict_proba(X).shape == (40, 2)
    assert make_classifier().fit(X, y).predict_log_proba(X).shape == (40, 2)


def test_nothing_passed_is_changed():
    estimator, weighting = LogisticRegression(), EqualWeighting()
    classifier = make_classifier(estimator, weighting=weighting).fit(X, y)
    assert classifier.estimator is estimator and not hasattr(estimator, "coef_")
    assert classifier.weighting is weighting and not hasattr(weighting, "log_ratio_")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"source": (SOURCE.X, SOURCE.y)}, TypeError, "Got source of type ndarray"),
        ({"source": SourceDomain(SOURCE.X)}, ValueError, "expected a source with labels"),
        ({"source": SourceDomain(SOURCE.X, SOURCE.X[:, 0])}, ValueError, "continuous"),
        ({"source": SourceDomain(SOURCE.X[:, [0, 1, 1]], SOURCE.y)}, ValueError, "3 columns"),
        ({"source": []}, ValueError, "at least one SourceDomain"),
        ({"target_weight": 0.0}, ValueError, "Got target_weight=0"),
        ({"target_weight": 1.5}, ValueError, "Got target_weight=1.5"),
        ({"target_weight": "half"}, TypeError, "Got target_weight='half'"),
        ({"fallback": "pooled"}, ValueError, "Got fallback='pooled'"),
        ({"drop_source": 1.5}, ValueError, "Got drop_source=1.5"),
        ({"alignment": StandardScaler()}, TypeError, "expected an alignment, such as Corr"),
        ({"estimator": Ridge()}, TypeError, "Got estimator of type Ridge.*a classifier"),
        ({"estimator": "lr"}, TypeError, "Got estimator='lr'"),
        ({"estimator": LogisticRegression}, TypeError, "Got estimator=<class"),
        ({"weighting": 3}, TypeError, "Got weighting=3"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        make_classifier(**parameters).fit(X, y)


def test_target_rows_of_weight_zero_might_as_well_be_left_out():
    domains = make_covariate_shift(80, 40, random_state=0)
    source = SourceDomain(domains.X_source, domains.y_source)
    weight = (np.arange(40) < 30).astype(float)
    classifier = InstanceTransferClassifier(source=source, fallback=None, random_state=0)
    X, y = domains.X_target, domains.y_target
    weighted = clone(classifier).fit(X, y, sample_weight=weight).predict_proba(X)
    left_out = clone(classifier).fit(X[:30], y[:30]).predict_proba(X)
    np.testing.assert_allclose(weighted, left_out)


def test_a_failed_fit_leaves_the_last_one_whole():
    domains = make_covariate_shift(80, 40, random_state=0)
    source = SourceDomain(domains.X_source, domains.y_source)
    X, y = domains.X_target, domains.y_target
    classifier = InstanceTransferClassifier(source=source, random_state=0).fit(X, y)
    proba = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="columns"):
        classifier.fit(X[:, :1], y)
    np.testing.assert_array_equal(classifier.predict_proba(X), proba)
