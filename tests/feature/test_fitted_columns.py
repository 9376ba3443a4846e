"""Target frames with other columns than the estimator of the source was fitted on."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import FeatureTransferTransformer
from sktransfer.exceptions import ColumnMismatchWarning
from sktransfer.feature._fitted_columns import FittedColumns

RNG = np.random.default_rng(0)
FRAMES = pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])


def make_table(n=200):
    """Return columns of a mixed table with missing values, and labels that hang on most of them."""
    age, pressure = RNG.normal(50, 10, n), RNG.normal(130, 20, n)
    ward = RNG.choice(["heart", "lung", "skin"], n)
    is_ill = age / 10 + pressure / 20 + 3 * (ward == "heart") + RNG.normal(size=n) > 12.5
    age[::9] = np.nan
    return {"age": age, "ward": ward, "pressure": pressure, "visits": RNG.integers(0, 9, n)}, is_ill


COLUMNS, Y = make_table()
SOURCE_FRAME = pd.DataFrame(COLUMNS).astype({"ward": "category"})
BOOSTING = FrozenEstimator(
    HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(SOURCE_FRAME, Y)
)


def transformer_of(source=BOOSTING, **parameters):
    return FeatureTransferTransformer(source, output="logits", mode="concat", **parameters)


def logits_of(transformer, X):
    return np.asarray(transformer.transform(X)["logit_True"], dtype=float)


def test_boosting_gets_categories_and_missing_values_as_they_came():
    with warnings.catch_warnings(action="error"):
        joined = transformer_of(scale_blocks=False).fit_transform(SOURCE_FRAME)
    np.testing.assert_allclose(joined["logit_True"], BOOSTING.decision_function(SOURCE_FRAME))
    pd.testing.assert_frame_equal(joined[list(SOURCE_FRAME)], SOURCE_FRAME, check_dtype=False)
    assert joined["ward"].dtype == "category"


@FRAMES
def test_another_order_of_columns_changes_nothing(kind):
    frame = kind(COLUMNS)
    encoder = make_column_transformer((OneHotEncoder(), ["ward"]), remainder="passthrough")
    source = make_pipeline(encoder, HistGradientBoostingClassifier(max_iter=5)).fit(frame, Y)
    turned = frame[list(COLUMNS)[::-1]]
    with warnings.catch_warnings(action="error"):
        transformer = transformer_of(source, scale_blocks=False).fit(turned)
    np.testing.assert_allclose(logits_of(transformer, turned), source.decision_function(frame))
    # The columns in front are those of the target, in its order.
    assert list(transformer.transform(turned).columns)[:4] == list(COLUMNS)[::-1]


@FRAMES
def test_columns_that_the_target_lacks_are_missing_values_and_named_in_a_warning(kind):
    encoder = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["ward"]), remainder="passthrough"
    )
    source = make_pipeline(encoder, HistGradientBoostingClassifier(max_iter=5))
    source.fit(kind(COLUMNS), Y)
    frame = kind({name: COLUMNS[name] for name in ("ward", "age", "visits")})
    transformer = transformer_of(source, scale_blocks=False)
    with pytest.warns(ColumnMismatchWarning, match="lacks 'pressure', which count as missing"):
        transformer.fit(frame)
    holes = kind(COLUMNS | {"pressure": np.full(len(Y), np.nan)})
    with warnings.catch_warnings(action="error"):
        found = logits_of(transformer, frame)
    np.testing.assert_allclose(found, source.decision_function(holes))
    assert "pressure" not in transformer.get_feature_names_out()


def test_a_category_that_the_target_lacks_is_missing_for_boosting():
    with pytest.warns(ColumnMismatchWarning, match="lacks 'ward'"):
        transformer = transformer_of(scale_blocks=False).fit(SOURCE_FRAME.drop(columns="ward"))
    unknown = pd.Categorical([None] * len(Y), ["heart"])
    found = transformer.transform(SOURCE_FRAME.drop(columns="ward"))[:, -1]
    np.testing.assert_allclose(found, BOOSTING.decision_function(SOURCE_FRAME.assign(ward=unknown)))


@pytest.mark.parametrize("mode", ["replace", "concat"])
def test_columns_that_the_estimator_does_not_know(mode):
    frame = SOURCE_FRAME.assign(height=1.8, tall=True)
    transformer = FeatureTransferTransformer(BOOSTING, output="logits", mode=mode)
    if mode == "replace":
        with pytest.warns(ColumnMismatchWarning, match="has 'height', 'tall', which are not used"):
            features = transformer.fit_transform(frame)
        assert features.shape == (len(Y), 1)
    else:
        # They stay beside what the estimator says.
        with warnings.catch_warnings(action="error"):
            features = transformer.fit_transform(frame)
        assert list(features.columns)[-3:] == ["height", "tall", "logit_True"]


def test_a_frame_with_hardly_any_of_the_columns_is_refused():
    frame = pd.DataFrame({"Age": COLUMNS["age"], "pressure": COLUMNS["pressure"]})
    with pytest.raises(ValueError, match=r"without 3 of the 4 columns.*'age': Did you mean 'Age'"):
        transformer_of().fit(frame)
    with pytest.raises(ValueError, match="without 4 of the 4"):
        transformer_of().fit(pd.DataFrame({"z": [1.0, 2.0]}))


def test_an_estimator_without_missing_values_says_what_to_do():
    frame = pd.DataFrame(COLUMNS)[["pressure", "visits", "ward"]]
    source = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["ward"]), remainder=StandardScaler()),
        LogisticRegression(),
    ).fit(frame, Y)
    with (
        pytest.warns(ColumnMismatchWarning),
        pytest.raises(ValueError, match=r"(?s)without the columns 'visits'.*add these columns"),
    ):
        transformer_of(source).fit(frame.drop(columns="visits"))


def test_an_error_that_has_nothing_to_do_with_columns_stays_as_it_is():
    numbers = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0]})
    source = LogisticRegression().fit(numbers, [0, 1])
    with pytest.raises(ValueError, match="^Input X contains NaN"):
        transformer_of(source).fit(numbers * np.nan)


def test_columns_without_names_count_by_their_place():
    source = DummyClassifier().fit(np.zeros((2, 2)), [0, 1])
    assert FittedColumns(source).names is None
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert FittedColumns(source).align(frame) is frame

    class Generated:
        feature_names_ = ("Column_0", "Column_1")

    assert FittedColumns(Generated()).align(frame) is frame
    assert FittedColumns(Generated()).align(frame.to_numpy()).shape == (1, 2)


def test_spaces_that_a_library_has_replaced():
    class Replaced:
        feature_names_in_ = ("resting_pressure", "age")

    frame = pd.DataFrame({"age": [1.0], "resting pressure": [2.0]})
    aligned = FittedColumns(Replaced()).align(frame)
    assert aligned.to_numpy().tolist() == [[2.0, 1.0]]


def test_one_line_before_any_learner_of_a_mixed_table():
    target = pd.DataFrame(make_table(60)[0]).astype({"ward": "category"}).drop(columns="visits")
    target["ward"] = target["ward"].cat.rename_categories({"skin": "never seen"})
    y = np.where(target["age"].fillna(50) + target["pressure"] > 180, "yes", "no")
    pipeline = make_pipeline(
        transformer_of(),
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector("ward")),
            remainder="passthrough",
        ),
        HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3),
    )
    grid = {"featuretransfertransformer__mode": ["replace", "concat"]}
    with pytest.warns(ColumnMismatchWarning):
        search = GridSearchCV(pipeline[:1], grid, cv=2, scoring=lambda e, X, y: 1.0)
        search.fit(target, y)
        pipeline.fit(target, y)
    assert pipeline.score(target, y) > 0.8


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container):
    out = transformer_of().set_output(transform=container).fit_transform(SOURCE_FRAME)
    assert type(out).__module__.split(".")[0] == container
    assert list(out.columns) == [*SOURCE_FRAME, "logit_True"]
    assert out["age"].is_null().sum() if container == "polars" else out["age"].isna().sum()


def test_a_frame_whose_columns_have_numbers_as_names():
    frame = pd.DataFrame({0: COLUMNS["age"], 1: COLUMNS["ward"]})

    class Said:
        def predict_proba(self, X):
            return np.tile([0.25, 0.75], (len(X), 1))

    joined = transformer_of(Said()).fit_transform(frame)
    assert list(joined.columns) == ["x0", "x1", "logit_0"]
