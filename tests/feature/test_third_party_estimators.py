"""Fitted estimators of other libraries as the source, among them one that inherits from nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sktransfer import FeatureTransferTransformer
from sktransfer.exceptions import ColumnMismatchWarning
from sktransfer.feature._estimator_source import is_estimator

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(120, 4)), columns=["age", "low pressure", "pulse", "weight"])
SCORE = FRAME["age"] + FRAME["pulse"]
THREE = np.array(["ill", "well", "worse"])[np.digitize(SCORE, [-0.7, 0.7])]


class NearestMean:
    """Fit, predict_proba and classes_, and nothing else: no tags, no parameters, no clone."""

    def fit(self, X, y):
        X = np.asarray(X, dtype=float)
        self.classes_ = np.unique(y)
        self.means = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
        return self

    def predict_proba(self, X):
        distances = ((np.asarray(X, dtype=float)[:, None] - self.means) ** 2).sum(axis=2)
        proba = np.exp(-distances)
        return proba / proba.sum(axis=1, keepdims=True)


class Price:
    """Predictions that are numbers, as of a file from another language."""

    def predict(self, X):
        return np.asarray(X, dtype=float).sum(axis=1)


def logits_of(source, X=FRAME, **parameters):
    return FeatureTransferTransformer(source, output="logits", **parameters).fit(X)


@pytest.mark.parametrize("wrap", [FrozenEstimator, lambda e: e], ids=["frozen", "bare"])
def test_an_estimator_that_inherits_from_nothing(wrap):
    source = NearestMean().fit(FRAME, THREE)
    transformer = logits_of(wrap(source), mode="concat", scale_blocks=False)
    names = [*FRAME, "logit_ill", "logit_well", "logit_worse"]
    assert transformer.get_feature_names_out().tolist() == names
    logits = transformer.transform(FRAME)[:, 4:]
    np.testing.assert_array_equal(
        source.classes_[logits.argmax(axis=1)],
        source.classes_[source.predict_proba(FRAME).argmax(axis=1)],
    )
    with pytest.raises(ValueError, match="Got output='features'.*expected output='logits' or"):
        FeatureTransferTransformer(wrap(source)).fit(FRAME)


def test_it_works_in_a_grid_with_classes_that_the_target_lacks():
    source = NearestMean().fit(FRAME, THREE)
    few = FRAME[:40]
    y = np.where(SCORE[:40] > 0, "tall", "short")
    pipeline = make_pipeline(FeatureTransferTransformer(source), LogisticRegression())
    grid = {
        "featuretransfertransformer__output": ["logits", "proba"],
        "featuretransfertransformer__mode": ["replace", "concat"],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(few, y)
    assert search.score(few, y) > 0.8
    assert clone(pipeline)[0].backbone is source


def test_predictions_of_something_that_knows_no_classes_are_numbers():
    transformer = FeatureTransferTransformer(Price()).fit(FRAME)
    assert transformer.get_feature_names_out().tolist() == ["prediction"]
    np.testing.assert_allclose(transformer.transform(FRAME)[:, 0], FRAME.sum(axis=1))
    with pytest.raises(ValueError, match="has no decision_function or.*output='features'"):
        logits_of(Price())


def test_predictions_that_are_words_are_refused():
    class Words(Price):
        def predict(self, X):
            return np.full(len(X), "well")

    with pytest.raises(ValueError, match="dtype <U4, but expected numbers"):
        FeatureTransferTransformer(Words()).fit(FRAME)


def test_a_column_of_predicted_classes_is_no_row_of_labels():
    class Column(NearestMean):
        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmax(axis=1)][:, None]

    source = Column().fit(FRAME, THREE)
    np.testing.assert_allclose(
        logits_of(source).transform(FRAME),
        logits_of(NearestMean().fit(FRAME, THREE)).transform(FRAME),
    )


@pytest.mark.parametrize("backbone", [nn.Linear(2, 2), NearestMean, "glyphs", None])
def test_what_is_no_estimator(backbone):
    assert not is_estimator(backbone)


def test_a_bare_estimator_in_the_grid_itself_is_cloned_and_says_so():
    fitted = LogisticRegression().fit(FRAME, THREE)
    pipeline = make_pipeline(FeatureTransferTransformer(output="logits"), LogisticRegression())
    name = "featuretransfertransformer__backbone"
    with pytest.raises(ValueError, match="Frozen it stays fitted where a grid search clones it"):
        GridSearchCV(pipeline, {name: [fitted]}, cv=2, error_score="raise").fit(FRAME, THREE)
    frozen = {name: [FrozenEstimator(fitted)]}
    GridSearchCV(pipeline, frozen, cv=2, error_score="raise").fit(FRAME, THREE)


def _lightgbm(kind):
    return getattr(pytest.importorskip("lightgbm"), f"LGBM{kind}")(n_estimators=5, verbose=-1)


def _xgboost(kind):
    return getattr(pytest.importorskip("xgboost"), f"XGB{kind}")(n_estimators=5)


def _catboost(kind):
    estimator = getattr(pytest.importorskip("catboost"), f"CatBoost{kind}")
    return estimator(iterations=5, verbose=0, allow_writing_files=False)


BOOSTERS = pytest.mark.parametrize(
    "make", [_lightgbm, _xgboost, _catboost], ids=["lightgbm", "xgboost", "catboost"]
)


@BOOSTERS
@pytest.mark.parametrize("labels", [np.digitize(SCORE, [-0.7, 0.7]), np.array(SCORE > 0, int)])
def test_boosted_classifiers(make, labels):
    source = make("Classifier").fit(FRAME, labels)
    transformer = logits_of(FrozenEstimator(source), mode="concat", scale_blocks=False)
    n_logits = 1 if labels.max() == 1 else 3
    logits = transformer.transform(FRAME)[:, 4:]
    assert logits.shape == (120, n_logits)
    assert transformer.get_feature_names_out()[-1] == f"logit_{labels.max()}"
    proba = source.predict_proba(FRAME)
    if n_logits == 1:
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), proba[:, 1], rtol=1e-5)
    else:
        np.testing.assert_array_equal(logits.argmax(axis=1), proba.argmax(axis=1))


@BOOSTERS
def test_boosters_get_the_columns_in_their_order(make):
    y = np.array(SCORE > 0, int)
    source = make("Classifier").fit(FRAME, y)
    expected = logits_of(source).transform(FRAME)
    turned = FRAME[FRAME.columns[::-1]].assign(height=1.0)
    with pytest.warns(ColumnMismatchWarning, match="has 'height', which are not used"):
        transformer = logits_of(source, turned)
    np.testing.assert_allclose(transformer.transform(turned), expected)
    with pytest.warns(ColumnMismatchWarning, match="lacks 'pulse'"):
        without = logits_of(source, FRAME.drop(columns="pulse"))
    np.testing.assert_allclose(
        without.transform(FRAME.drop(columns="pulse")),
        logits_of(source).transform(FRAME.assign(pulse=np.nan)),
    )
    # Fitted without names, columns count by their place.
    unnamed = make("Classifier").fit(FRAME.to_numpy(), y)
    np.testing.assert_allclose(
        logits_of(unnamed, FRAME.to_numpy()).transform(FRAME.to_numpy()), expected, rtol=1e-4
    )


@BOOSTERS
def test_boosted_regressors(make):
    source = make("Regressor").fit(FRAME, SCORE)
    transformer = FeatureTransferTransformer(FrozenEstimator(source), mode="concat").fit(FRAME)
    assert transformer.get_feature_names_out().tolist() == [*FRAME, "prediction"]
    with pytest.raises(ValueError, match="expected output='features'"):
        logits_of(source)


@BOOSTERS
def test_boosters_that_are_not_fitted(make):
    with pytest.raises(ValueError, match="not fitted; fit it to the source first"):
        logits_of(make("Classifier"))


@BOOSTERS
def test_categories_and_missing_values_reach_boosters(make):
    frame = FRAME.assign(ward=pd.Categorical(np.where(np.arange(120) % 2, "heart", "skin")))
    frame.loc[::7, "age"] = np.nan
    source = make("Classifier")
    options = {"xgb": {"enable_categorical": True}, "cat": {"cat_features": ["ward"]}}
    source.set_params(**options.get(type(source).__name__[:3].lower(), {}))
    source.fit(frame, np.array((SCORE > 0) ^ (frame["ward"] == "skin"), int))
    joined = logits_of(source, frame, mode="concat", scale_blocks=False).transform(frame)
    proba = source.predict_proba(frame)[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-joined["logit_1"])), proba, rtol=1e-5)
    assert joined["ward"].equals(frame["ward"])
    assert joined["age"].isna().sum() == 18


def test_labels_that_do_not_exclude_each_other():
    source = _xgboost("Classifier")
    labels = np.c_[SCORE > 0, FRAME["age"] > 0, FRAME["pulse"] > 0].astype(int)
    source.fit(FRAME, labels)
    logits = logits_of(source).transform(FRAME)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), source.predict_proba(FRAME), rtol=1e-3)
