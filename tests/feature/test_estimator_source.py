import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from sktransfer import FeatureTransferTransformer, ParameterTransferClassifier
from sktransfer.backbones.cache._cache import CacheInfo

X, y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
SOURCE = FrozenEstimator(LogisticRegression(max_iter=1000).fit(X, NAMES[y]))


def features_of(source, output, rows=X, **parameters):
    return FeatureTransferTransformer(source, output=output, **parameters).fit(rows)


def test_logits_and_probabilities_have_a_column_per_class():
    logits = features_of(SOURCE, "logits")
    np.testing.assert_allclose(logits.transform(X), SOURCE.decision_function(X))
    assert logits.get_feature_names_out().tolist() == [f"logit_{name}" for name in NAMES]
    proba = features_of(SOURCE, "proba")
    np.testing.assert_allclose(proba.transform(X), SOURCE.predict_proba(X))
    assert proba.get_feature_names_out().tolist() == [f"proba_{name}" for name in NAMES]


def test_log_odds_where_there_is_no_decision_function():
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    logits = features_of(forest, "logits").transform(X)
    np.testing.assert_allclose(logits.sum(axis=1), 0, atol=1e-12)
    assert np.abs(logits).max() <= -np.log(1e-4)
    bayes = GaussianNB().fit(X, y)
    proba = bayes.predict_proba(X)
    is_inside = (proba > 1e-4).all(axis=1)
    logits = features_of(bayes, "logits").transform(X)[is_inside]
    np.testing.assert_allclose(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), proba[is_inside]
    )


@pytest.mark.parametrize(
    "make", [lambda: LogisticRegression(max_iter=1000), lambda: GaussianNB(), lambda: SVC()]
)
def test_two_classes_have_one_logit_which_is_that_of_the_second(make):
    source = make().fit(X[:100], NAMES[y[:100]])
    transformer = features_of(source, "logits")
    logits = transformer.transform(X[:100])
    assert logits.shape == (100, 1)
    assert transformer.get_feature_names_out().tolist() == ["logit_versicolor"]
    np.testing.assert_array_equal(logits[:, 0] > 0, source.predict(X[:100]) == "versicolor")


def test_both_probabilities_of_two_classes():
    source = LogisticRegression().fit(X[:100], NAMES[y[:100]])
    names = features_of(source, "proba").get_feature_names_out()
    assert names.tolist() == ["proba_setosa", "proba_versicolor"]


def test_scores_for_pairs_of_classes_are_numbered():
    source = SVC(decision_function_shape="ovo").fit(*_four_classes())
    transformer = features_of(source, "logits", _four_classes()[0])
    assert transformer.get_feature_names_out().tolist() == [f"logit_{i}" for i in range(6)]


def _four_classes():
    return np.vstack([X, X[:20] + 5]), np.r_[y, np.full(20, 3)]


def test_several_outputs():
    targets = np.column_stack([NAMES[y], np.where(y > 0, "yes", "no")])
    source = MultiOutputClassifier(GaussianNB()).fit(X, targets)
    proba = features_of(source, "proba")
    assert proba.get_feature_names_out().tolist() == [
        *(f"proba_0_{name}" for name in NAMES),
        "proba_1_no",
        "proba_1_yes",
    ]
    assert proba.transform(X).shape == (150, 5)
    logits = features_of(source, "logits")
    assert logits.get_feature_names_out()[-1] == "logit_1_yes"
    assert logits.transform(X).shape == (150, 4)


def test_features_are_what_the_estimator_makes_of_rows():
    pca = PCA(2).fit(X)
    transformer = features_of(pca, "features")
    np.testing.assert_allclose(transformer.transform(X), pca.transform(X))
    assert transformer.get_feature_names_out().tolist() == ["pca0", "pca1"]


def test_features_of_a_regressor_are_its_predictions():
    one = features_of(LinearRegression().fit(X, y), "features")
    assert one.get_feature_names_out().tolist() == ["prediction"]
    assert one.transform(X).shape == (150, 1)
    two = features_of(LinearRegression().fit(X, np.c_[y, y]), "features")
    assert two.get_feature_names_out().tolist() == ["prediction_0", "prediction_1"]


def test_columns_that_are_called_like_the_input_get_another_name():
    frame = pd.DataFrame(X, columns=list("abcd"))
    scaler = StandardScaler().fit(frame)
    transformer = features_of(scaler, "features", frame, mode="concat")
    assert transformer.get_feature_names_out()[4:].tolist() == [f"source__{c}" for c in "abcd"]


def test_the_estimator_is_never_fitted_again():
    class Counted(LogisticRegression):
        n_fits = 0

        def fit(self, X, y):
            Counted.n_fits += 1
            return super().fit(X, y)

    source = FrozenEstimator(Counted(max_iter=1000).fit(X, y))
    transformer = FeatureTransferTransformer(source, output="logits", mode="concat")
    assert clone(transformer).backbone is source
    pipeline = make_pipeline(transformer, LogisticRegression(max_iter=1000))
    grid = {"featuretransfertransformer__output": ["logits", "proba"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert Counted.n_fits == 1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # Clones share also an estimator that is not frozen.
    bare = FeatureTransferTransformer(source.estimator, output="logits")
    assert clone(bare).backbone is source.estimator


def test_sources_in_a_grid():
    frozen = [SOURCE, FrozenEstimator(GaussianNB().fit(X, y))]
    pipeline = make_pipeline(
        FeatureTransferTransformer(output="logits"), LogisticRegression(max_iter=1000)
    )
    grid = {"featuretransfertransformer__backbone": frozen}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.9


def test_concatenated_logits_help_when_labels_are_few():
    rng = np.random.default_rng(0)
    X_source = rng.normal(size=(1000, 20))
    direction = rng.normal(size=20)
    y_source = X_source @ direction > 0
    source = FrozenEstimator(LogisticRegression().fit(X_source, y_source))
    X_few, X_test = rng.normal(size=(12, 20)), rng.normal(size=(500, 20))
    # The target shifts the boundary a little.
    y_few, y_test = X_few @ direction > 0.3, X_test @ direction > 0.3
    plain = LogisticRegression().fit(X_few, y_few).score(X_test, y_test)
    transformer = FeatureTransferTransformer(source, output="logits", mode="concat")
    pipeline = make_pipeline(transformer, LogisticRegression()).fit(X_few, y_few)
    assert pipeline.score(X_test, y_test) > plain + 0.1


def make_frame(kind):
    columns = {
        "length": X[:, 0],
        "colour": np.where(y == 1, "blue", "red"),
        "count": (10 * X[:, 2]).astype(int),
    }
    return kind(columns)


def fit_on_frame(frame):
    encoder = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    return make_pipeline(encoder, LogisticRegression(max_iter=5000)).fit(frame, NAMES[y])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_frames_with_categories_reach_the_estimator_as_they_are(kind):
    frame = make_frame(kind)
    source = fit_on_frame(frame)
    transformer = features_of(source, "logits", frame)
    np.testing.assert_allclose(transformer.transform(frame), source.decision_function(frame))
    assert transformer.feature_names_in_.tolist() == ["length", "colour", "count"]
    with pytest.raises(ValueError, match="feature names should match"):
        transformer.transform(frame[["colour", "length", "count"]])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_frames_with_categories_keep_them_when_features_are_put_behind(kind):
    frame = make_frame(kind)
    transformer = features_of(fit_on_frame(frame), "logits", frame, mode="concat")
    joined = transformer.transform(frame)
    assert isinstance(joined, kind)
    assert list(joined.columns) == transformer.get_feature_names_out().tolist()
    assert list(joined.columns)[2:4] == ["count", "logit_setosa"]
    assert list(joined["colour"]) == list(frame["colour"])
    assert make_frame(kind).equals(frame)
    numbers = np.c_[joined["length"], joined["count"]]
    assert numbers.var(axis=0).sum() == pytest.approx(2)
    target = make_pipeline(
        transformer,
        make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough"),
        LogisticRegression(max_iter=5000),
    )
    assert cross_val_score(target, frame, y, cv=3).min() > 0.8


def test_frames_of_numbers_become_arrays_and_frames_again_if_asked():
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["whole"] = pd.array([1, None] * 75, dtype="Int64")
    transformer = features_of(
        LogisticRegression(max_iter=1000).fit(X, y), "logits", pd.DataFrame(X), mode="concat"
    )
    assert isinstance(transformer.transform(pd.DataFrame(X)), np.ndarray)
    out = transformer.set_output(transform="pandas").transform(pd.DataFrame(X))
    assert list(out.columns)[-1] == "logit_2"
    tolerant = make_pipeline(make_column_transformer(("passthrough", list("abcd"))), SOURCE)
    tolerant.fit(frame, y)
    holes = features_of(tolerant, "proba", frame, mode="concat").transform(frame)
    assert np.isnan(holes).sum() == 75


def test_texts_and_sparse_rows():
    texts = ["a good day", "a bad day", "good", "bad", "very bad"] * 4
    labels = ["up", "down", "up", "down", "down"] * 4
    vectorizer = TfidfVectorizer(token_pattern=r"\w+").fit(texts)
    source = make_pipeline(vectorizer, LogisticRegression()).fit(texts, labels)
    logits = features_of(source, "logits", texts)
    assert logits.transform(texts).shape == (20, 1)
    with pytest.raises(ValueError, match="mode='concat' with X of shape"):
        features_of(source, "logits", texts, mode="concat")
    rows = vectorizer.transform(texts)
    joined = features_of(source[-1], "logits", rows, mode="concat").transform(rows)
    assert scipy.sparse.issparse(joined)
    assert joined.shape == (20, rows.shape[1] + 1)


def test_frozen_means_predictions_and_bare_means_the_network(digits):
    images, labels = digits[0][:60], digits[1][:60]
    classifier = ParameterTransferClassifier(
        "glyphs", strategy="frozen", hidden_layer_sizes=(8,), max_epochs=1, random_state=0
    )
    classifier.fit(images, labels)
    said = FeatureTransferTransformer(FrozenEstimator(classifier), output="proba")
    np.testing.assert_allclose(said.fit_transform(images), classifier.predict_proba(images))
    assert said.get_feature_names_out()[3] == "proba_3"
    inside = FeatureTransferTransformer(classifier).fit_transform(images)
    assert inside.shape == (60, 8)


@pytest.mark.parametrize(
    ("source", "parameters", "message"),
    [
        (LogisticRegression(), {"output": "logits"}, "not fitted.*FrozenEstimator.*fit.X_source"),
        (FrozenEstimator(SVC()), {"output": "logits"}, r"not fitted.*SVC\(...\).fit"),
        (SOURCE, {}, "Got output='features'.*no transform.*'logits' or 'proba'"),
        (Perceptron().fit(X, y), {"output": "proba"}, "no predict_proba.*output='logits'"),
        (PCA(2).fit(X), {"output": "logits"}, "no decision_function or.*output='features'"),
        (LinearRegression().fit(X, y), {"output": "logits"}, "expected output='features'"),
        (SOURCE, {"output": "logits", "layers": "all"}, "Got layers='all' with an estimator"),
        (SOURCE, {"output": "logits", "image_shape": (2, 2)}, "Got image_shape"),
        (SOURCE, {"output": "logits", "pooling": "max"}, "Got pooling='max' with an estimator"),
        (SOURCE, {"output": "logits", "precision": "bfloat16"}, "only networks have that"),
        (SOURCE, {"output": "logits", "on_error": "nan"}, "expected on_error='raise'"),
    ],
)
def test_what_an_estimator_cannot_give(source, parameters, message):
    with pytest.raises(ValueError, match=message):
        FeatureTransferTransformer(source, **parameters).fit(X)


def test_how_networks_are_run_means_nothing_to_an_estimator(tmp_path):
    expected = features_of(SOURCE, "logits").transform(X)
    options = {"cache": True, "cache_dir": tmp_path, "batch_size": 2, "n_jobs": 2}
    np.testing.assert_array_equal(features_of(SOURCE, "logits", **options).transform(X), expected)
    with pytest.raises(ValueError, match="precompute fills the row cache.*of networks"):
        FeatureTransferTransformer(SOURCE, output="logits").precompute(X)


def test_rows_of_another_width_than_in_fit():
    transformer = features_of(SOURCE, "logits")
    with pytest.raises(ValueError, match="4 features"):
        transformer.transform(X[:, :3])
    assert transformer.n_features_in_ == 4
    assert transformer.cache_info_ == CacheInfo()


def test_calibrated_classifiers_are_estimators():
    calibrated = CalibratedClassifierCV(GaussianNB(), cv=2).fit(X, y)
    assert features_of(calibrated, "logits").transform(X).shape == (150, 3)


def test_rows_as_lists():
    rows = X[:20].tolist()
    transformer = features_of(SOURCE, "logits", rows, mode="concat")
    np.testing.assert_allclose(transformer.transform(rows), transformer.transform(X[:20]))
