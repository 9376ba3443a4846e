import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import FeatureTransferTransformer, InContextEmbedding, SourceDomain
from sktransfer.backbones.tables import _foundation_models

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
NOISE = RNG.integers(0, 2, 60)
Y = np.where(X[:, 0] + 0.5 * X[:, 1] > 0, "ill", "well")


class NearestInContext(BaseEstimator):
    """Stands for TabPFN: a row is embedded as the nearest row of its context, label included.

    In the shape that TabPFN gives, with an axis of members.
    """

    def __init__(self, n_estimators=2):
        self.n_estimators = n_estimators

    def fit(self, X, y):
        self.X_ = np.asarray(X, dtype=float)
        self.classes_, self.y_ = np.unique(y, return_inverse=True)
        self.n_rows_ = len(self.y_)
        return self

    def get_embeddings(self, X, data_source="test"):
        distances = ((np.asarray(X, dtype=float)[:, None] - self.X_) ** 2).sum(axis=2)
        nearest = distances.argmin(axis=1)
        found = np.column_stack([self.y_[nearest], distances.min(axis=1), self.X_[nearest]])
        return np.stack([found] * self.n_estimators)


def embed(**parameters):
    return InContextEmbedding(NearestInContext(), random_state=0, **parameters)


def test_training_rows_are_embedded_without_their_own_label():
    embedding = embed()
    features = embedding.fit_transform(X, NOISE)
    assert features.shape == (60, 6)
    # The label of another row says nothing, where labels are noise; no row found itself.
    assert 0.3 < np.mean(features[:, 0] == NOISE) < 0.7
    assert (features[:, 1] > 0).all()
    # With all rows as context each finds itself: this is what out-of-fold prevents.
    again = embedding.transform(X)
    np.testing.assert_array_equal(again[:, 0], NOISE)


def test_new_rows_have_all_training_rows_as_context():
    embedding = embed().fit(X[:40], Y[:40])
    assert embedding.backbone_.n_rows_ == 40
    fitted = embed()
    fitted.fit_transform(X[:40], Y[:40])
    np.testing.assert_array_equal(embedding.transform(X[40:]), fitted.transform(X[40:]))


def test_the_same_seed_gives_the_same_folds_and_the_passed_model_stays_unfitted():
    embedding = embed()
    first, second = embedding.fit_transform(X, Y), clone(embedding).fit_transform(X, Y)
    np.testing.assert_array_equal(first, second)
    other = InContextEmbedding(NearestInContext(), random_state=1).fit_transform(X, Y)
    assert not np.array_equal(first, other)
    assert not hasattr(embedding.backbone, "X_")


def test_each_fold_has_its_share_of_each_class_whatever_is_rare():
    rare = np.array(["often"] * 57 + ["rare"] * 2 + ["once"])
    fold_of = embed(cv=3)._assign_folds(rare, seed=0)
    assert np.bincount(fold_of).tolist() == [20, 20, 20]
    assert len(set(fold_of[57:59])) == 2
    assert embed(cv=3).fit_transform(X, rare).shape == (60, 6)
    assert embed(cv=50).fit_transform(X[:4], Y[:4]).shape == (4, 6)


def test_rows_of_the_source_are_in_every_context():
    source = SourceDomain(X[20:], Y[20:])
    embedding = embed(source=source)
    features = embedding.fit_transform(X[:20], Y[:20])
    assert embedding.backbone_.n_rows_ == 60
    # A copy of a target row in the source is found, in every fold.
    copied = embed(source=SourceDomain(X[:20], Y[:20])).fit_transform(X[:20], Y[:20])
    np.testing.assert_allclose(copied[:, 1], 0, atol=1e-12)
    assert (features[:, 1] > 0).all()
    assert clone(embedding).source is source


def test_numbers_as_labels():
    features = embed().fit_transform(X, X[:, 0] * 2.5)
    assert np.isfinite(features).all()


def test_in_pipelines_searches_and_beside_the_input():
    beside = FeatureUnion([("input", StandardScaler()), ("context", embed())])
    pipeline = make_pipeline(beside, LogisticRegression())
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.75
    grid = {"incontextembedding__cv": [2, 4], "incontextembedding__backbone__n_estimators": [1, 2]}
    search = GridSearchCV(make_pipeline(embed(), LogisticRegression()), grid, cv=2)
    assert search.fit(X, Y).best_score_ > 0.7


def test_frames_and_their_names():
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(60) + 100)
    embedding = embed().set_output(transform="pandas")
    features = embedding.fit_transform(frame, Y)
    assert features.columns.tolist() == [f"embedding_{i}" for i in range(6)]
    assert features.index.equals(frame.index)
    assert embedding.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        embedding.transform(frame[["b", "a", "c", "d"]])
    source = SourceDomain(frame.iloc[30:], Y[30:])
    assert embed(source=source).fit(frame[:30], Y[:30]).backbone_.n_rows_ == 60


@pytest.mark.parametrize(
    ("y", "kind"), [(Y, "TabPFNClassifier"), (X[:, 0] * 2.5, "TabPFNRegressor")]
)
def test_models_by_name(monkeypatch, y, kind):
    class Library:
        pass

    class Model(NearestInContext):
        def __init__(self, n_estimators, random_state):
            super().__init__(n_estimators)
            self.random_state = random_state

    setattr(Library, kind, Model)
    monkeypatch.setattr(_foundation_models, "import_optional", lambda *of: Library)
    embedding = InContextEmbedding("tabpfn", random_state=0)
    assert embedding.fit_transform(X, y).shape == (60, 6)
    assert embedding.backbone_.n_estimators == 1
    assert embedding.backbone == "tabpfn"

    def fail(self, X, y):
        raise OSError("no route to host")

    monkeypatch.setattr(Model, "fit", fail)
    with pytest.raises(RuntimeError, match="no route to host .*TABPFN_TOKEN"):
        embedding.fit(X, y)


def test_nothing_in_context_is_the_input():
    embedding = InContextEmbedding().fit(X)
    np.testing.assert_array_equal(embedding.transform(X), X)
    assert embedding.get_feature_names_out().tolist() == ["x0", "x1", "x2", "x3"]


def test_a_model_that_was_fitted_on_the_source_is_a_backbone_like_any_other():
    source = FrozenEstimator(NearestInContext().fit(X[30:], Y[30:]))
    transformer = FeatureTransferTransformer(source, mode="concat", scale_blocks=False)
    features = transformer.fit_transform(X[:30])
    assert features.shape == (30, 10)
    np.testing.assert_allclose(
        features[:, 4:], source.estimator.get_embeddings(X[:30])[0], rtol=1e-5
    )
    assert transformer.get_feature_names_out()[4] == "embedding_0"


@pytest.mark.parametrize(
    ("parameters", "y", "error", "message"),
    [
        ({"backbone": LogisticRegression()}, Y, TypeError, "one with get_embeddings.*Feature"),
        ({"backbone": "tabpnf"}, Y, ValueError, "expected one of 'tabpfn', 'tabicl'"),
        ({"backbone": NearestInContext(), "cv": 1}, Y, ValueError, "Got cv=1"),
        ({"backbone": NearestInContext()}, None, ValueError, "expected y"),
        ({"backbone": NearestInContext()}, Y[:9], ValueError, "inconsistent numbers"),
        ({"backbone": NearestInContext()}, np.c_[NOISE, NOISE], ValueError, "one label a row"),
        ({"backbone": NearestInContext(), "source": (X, Y)}, Y, TypeError, "SourceDomain"),
        (
            {"backbone": NearestInContext(), "source": SourceDomain(X)},
            Y,
            ValueError,
            "rows in the context need labels",
        ),
        (
            {"backbone": NearestInContext(), "source": SourceDomain(X[:, :3], Y)},
            Y,
            ValueError,
            "3 columns and a target with 4",
        ),
        (
            {
                "backbone": NearestInContext(),
                "source": SourceDomain(X, Y, sample_weight=np.arange(60) + 1),
            },
            Y,
            ValueError,
            "no weights",
        ),
    ],
)
def test_what_cannot_be(parameters, y, error, message):
    with pytest.raises(error, match=message):
        InContextEmbedding(**parameters).fit_transform(X, y)


def test_one_row_cannot_be_embedded_out_of_fold():
    with pytest.raises(ValueError, match=r"1 sample\(s\), but fit_transform needs at least 2"):
        embed().fit_transform(X[:1], Y[:1])
