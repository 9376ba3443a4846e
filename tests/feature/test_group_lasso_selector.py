import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sktransfer import FeatureTransferTransformer, GroupLassoSelector

TRUE = [3, 17, 42, 60]


def sparse_signal(task="classification", n_rows=150, n_features=80, seed=0):
    """Only the columns of TRUE tell anything, each on a scale of its own."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    directions = np.array([[2.0, 0, -1], [0, 2, -2], [-2, 1, 1], [1, -2, 0]])
    scores = X[:, TRUE] @ directions
    if task == "classification":
        y = scores.argmax(axis=1)
    elif task == "multilabel":
        y = (scores + 0.3 * rng.normal(size=scores.shape) > 0).astype(int)
    elif task == "outputs":
        y = scores + 0.5 * rng.normal(size=scores.shape)
    else:
        y = scores[:, 0] + scores[:, 1] + 0.5 * rng.normal(size=n_rows)
    return X * 10.0 ** rng.integers(-3, 4, size=n_features), y


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel", "outputs"])
def test_finds_the_features_that_tell(task):
    X, y = sparse_signal(task)
    selector = GroupLassoSelector(n_features_to_select=4).fit(X, y)
    assert selector.get_support(indices=True).tolist() == TRUE
    assert selector.transform(X).shape == (150, 4)
    restored = selector.inverse_transform(selector.transform(X))
    np.testing.assert_array_equal(restored[:, TRUE], X[:, TRUE])
    assert not np.delete(restored, TRUE, axis=1).any()


def test_helps_a_classifier_of_few_rows():
    X, y = sparse_signal(n_rows=60)
    X /= X.std(axis=0)
    learner = LogisticRegression(max_iter=1000)
    alone = cross_val_score(learner, X, y, cv=5).mean()
    selected = cross_val_score(make_pipeline(GroupLassoSelector(4), learner), X, y, cv=5).mean()
    assert selected > alone + 0.05


def test_names_and_order_of_classes_do_not_matter():
    X, y = sparse_signal()
    scores = GroupLassoSelector().fit(X, y).scores_
    for names in (["c", "a", "b"], [7, -1, 3]):
        again = GroupLassoSelector().fit(X, np.array(names)[y]).scores_
        np.testing.assert_allclose(again, scores, atol=1e-9)


def test_order_of_columns_does_not_matter():
    X, y = sparse_signal()
    order = np.random.default_rng(1).permutation(80)
    selector, again = GroupLassoSelector().fit(X, y), GroupLassoSelector().fit(X[:, order], y)
    np.testing.assert_allclose(again.scores_, selector.scores_[order], atol=1e-6)


def test_units_of_columns_do_not_matter():
    X, y = sparse_signal()
    scores = GroupLassoSelector().fit(X, y).scores_
    scaled = GroupLassoSelector().fit(X * np.linspace(1e-3, 1e3, 80) + 5, y).scores_
    np.testing.assert_allclose(scaled, scores, atol=1e-6)


def test_ties_go_to_the_first():
    X, y = sparse_signal()
    X = np.hstack([X[:, TRUE[:1]]] * 3)
    selector = GroupLassoSelector(n_features_to_select=2).fit(X, y)
    assert selector.ranking_.tolist() == [1, 2, 3]
    assert selector.get_support().tolist() == [True, True, False]


def test_features_without_a_score_are_ranked_by_the_gradient():
    X, y = sparse_signal()
    # The penalty is so strong that one feature is used; the next are known all the same.
    selector = GroupLassoSelector(n_features_to_select=4, alpha=0.99).fit(X, y)
    assert np.count_nonzero(selector.scores_) == 1
    assert set(selector.get_support(indices=True)) == set(TRUE)
    assert sorted(selector.ranking_) == list(range(1, 81))


def test_constant_columns_come_last():
    X, y = sparse_signal()
    X[:, [0, 30]] = [0.1, 1e9]
    selector = GroupLassoSelector(n_features_to_select=78).fit(X, y)
    assert np.flatnonzero(~selector.get_support()).tolist() == [0, 30]


def test_nothing_to_tell():
    X, _ = sparse_signal()
    for y in (np.zeros(150, dtype=int), np.full(150, 0.5)):
        selector = GroupLassoSelector(n_features_to_select=2).fit(X, y)
        assert not selector.scores_.any()
        assert selector.get_support(indices=True).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("wanted", "expected"), [(0.1, 8), (0.001, 1), (1.0, 80), (1, 1), (80, 80), (np.int64(5), 5)]
)
def test_share_or_number_of_features(wanted, expected):
    selector = GroupLassoSelector(wanted).fit(*sparse_signal())
    assert selector.n_features_ == selector.get_support().sum() == expected


def test_weights():
    X, y = sparse_signal()
    counts = np.arange(150) % 3
    weighted = GroupLassoSelector(tol=1e-7).fit(X, y, sample_weight=counts)
    left_out = GroupLassoSelector(tol=1e-7).fit(
        X[counts > 0], y[counts > 0], sample_weight=counts[counts > 0] * 7.5
    )
    np.testing.assert_allclose(weighted.scores_, left_out.scores_, atol=1e-9)
    with pytest.raises(ValueError, match="at least one non-zero"):
        GroupLassoSelector().fit(X, y, sample_weight=np.zeros(150))


def test_blocks_are_divided_by_one_number_each():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    signal = y[:, None] + 0.3 * rng.normal(size=(200, 1))
    # The same signal twice in a block of large noise: the small copy is drowned within it.
    X = np.hstack([signal, 1e-4 * signal + 1e-9, rng.normal(size=(200, 3)) * 1000])
    alone = GroupLassoSelector().fit(X, y).scores_
    assert alone[0] == pytest.approx(alone[1], rel=1e-3)
    blocks = GroupLassoSelector(block_sizes=[2, 3]).fit(X, y).scores_
    assert blocks[0] > 0
    assert blocks[1] < 0.01 * blocks[0]
    scaled = GroupLassoSelector(block_sizes=[2, 3]).fit(X * [5, 5, 1, 1, 1], y).scores_
    np.testing.assert_allclose(scaled, blocks, atol=1e-9)


def test_integers_may_be_numbers():
    X, _ = sparse_signal()
    y = np.round(X[:, 3] / X[:, 3].std() * 10).astype(int)
    numbers = GroupLassoSelector(1, task="regression").fit(X, y)
    assert numbers.get_support(indices=True).tolist() == [3]
    floats = GroupLassoSelector(1).fit(X, y + 0.5)
    np.testing.assert_allclose(numbers.scores_, floats.scores_)


def test_behind_several_layers_of_a_network(small_network, digits):
    images, y = digits
    X, y = images[:120], y[:120]
    layers = ["penultimate", "output"]
    pipeline = make_pipeline(
        FeatureTransferTransformer(small_network, layers=layers).set_output(transform="pandas"),
        GroupLassoSelector().set_output(transform="pandas"),
        LogisticRegression(max_iter=2000),
    )
    grid = {"grouplassoselector__n_features_to_select": [0.2, 0.8]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    extractor, selector, learner = (step for _, step in search.best_estimator_.steps)
    names = selector.get_feature_names_out()
    assert len(names) == selector.n_features_ == learner.coef_.shape[1]
    assert set(names) < set(extractor.get_feature_names_out())


def test_frames_float32_clone_and_pickle():
    X, y = sparse_signal()
    names = [f"f{i}" for i in range(80)]
    frame = pd.DataFrame(X.astype(np.float32), columns=names)
    selector = GroupLassoSelector(4).set_output(transform="pandas").fit(frame, y)
    selected = selector.transform(frame)
    assert list(selected.columns) == [names[i] for i in TRUE]
    assert (selected.dtypes == np.float32).all()
    assert not hasattr(clone(selector), "scores_")
    loaded = pickle.loads(pickle.dumps(selector))
    pd.testing.assert_frame_equal(loaded.transform(frame), selected)


def test_steps_that_do_not_suffice_are_told():
    with pytest.warns(ConvergenceWarning, match="not as exact as asked") as caught:
        GroupLassoSelector(alpha=1e-6, tol=1e-12).fit(*sparse_signal(n_rows=40))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_features_to_select": 0}, ValueError, "Got n_features_to_select=0"),
        ({"n_features_to_select": 1.5}, ValueError, "Got n_features_to_select=1.5"),
        ({"n_features_to_select": 81}, ValueError, "expected at most 80"),
        ({"n_features_to_select": "all"}, TypeError, "Got n_features_to_select='all'"),
        ({"n_features_to_select": True}, TypeError, "Got n_features_to_select=True"),
        ({"alpha": 0.0}, ValueError, "Got alpha=0.0"),
        ({"alpha": 2.0}, ValueError, "Got alpha=2.0"),
        ({"task": "classify"}, ValueError, "Got task='classify'.* Did you mean 'classification'"),
        ({"tol": 0}, ValueError, "Got tol=0"),
        ({"block_sizes": [40, 39]}, ValueError, "add up to 80"),
        ({"block_sizes": [100, -20]}, ValueError, "positive integers"),
        ({"block_sizes": 80}, ValueError, "Got block_sizes=80"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        GroupLassoSelector(**parameters).fit(*sparse_signal())


def test_bad_rows_and_targets():
    X, y = sparse_signal()
    with pytest.raises(ValueError, match="contains NaN"):
        GroupLassoSelector().fit(np.where(X[0, 0] == X, np.nan, X), y)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        GroupLassoSelector(task="classification").fit(X, X[:, 0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GroupLassoSelector().fit(X, y[:-1])
