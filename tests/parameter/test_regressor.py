import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV

from sktransfer import Backbone, ParameterTransferRegressor

STRATEGIES = ["frozen", "fine_tune", "auto"]
pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make(backbone, **parameters):
    defaults = {"strategy": "frozen", "max_epochs": 3, "n_threads": 1, "random_state": 0}
    return ParameterTransferRegressor(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    """Digits and how much ink is in each."""
    X = digits[0][:50]
    return X, X.mean((1, 2))


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
@pytest.mark.parametrize("n_outputs", [None, 1, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_have_the_shape_and_the_units_of_y(
    backbone, few, strategy, n_outputs, hidden_layer_sizes
):
    X, y = few
    if n_outputs:
        y = np.stack([y, 1000 - y, 1e-3 * X[:, 3, 3]][:n_outputs], axis=1)
    model = make(
        backbone, strategy=strategy, hidden_layer_sizes=hidden_layer_sizes, max_epochs=20
    ).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert predicted.dtype == np.float64
    assert model.score(X, y) > 0.1
    outputs = model.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach().numpy()
    spread = y.std(axis=0)
    np.testing.assert_allclose(outputs.reshape(y.shape) / spread, predicted / spread, atol=1e-3)


def test_the_frozen_linear_head_is_as_good_as_ridge_regression_on_the_features(digits):
    X, y = digits[0][:200], digits[0][:200].mean((1, 2))
    model = make("glyphs").fit(X[:80], y[:80])
    features = model.transform(X)
    ridge = RidgeCV(np.logspace(-3, 6, 30)).fit(features[:80], y[:80])
    errors = [
        np.mean((predicted - y[80:]) ** 2)
        for predicted in (model.predict(X[80:]), ridge.predict(features[80:]))
    ]
    assert errors[0] < 1.2 * errors[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("scale", "shift"), [(1000, 7), (-1e-4, 50)])
def test_scale_and_shift_of_y_pass_through(backbone, few, strategy, scale, shift):
    X, y = few
    model = make(backbone, strategy=strategy)
    expected = scale * clone(model).fit(X, y).predict(X) + shift
    got = model.fit(X, scale * y + shift).predict(X)
    np.testing.assert_allclose(got, expected, atol=1e-3 * abs(scale) * y.std(), rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_constant_y(backbone, few, strategy):
    X, y = few
    np.testing.assert_allclose(
        make(backbone, strategy=strategy).fit(X, 0 * y + 3).predict(X), 3, atol=1e-6
    )
    both = make(backbone, strategy=strategy).fit(X, np.c_[0 * y - 5, y]).predict(X)
    np.testing.assert_allclose(both[:, 0], -5, atol=0.1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sample_weights(backbone, few, strategy):
    X, y = few
    model = make(backbone, strategy=strategy)
    plain = clone(model).fit(X, y).predict(X)
    np.testing.assert_array_equal(clone(model).fit(X, y, np.ones(50)).predict(X), plain)
    weight = (np.arange(50) < 36).astype(float)
    # What stands in a row of weight zero is of no interest.
    spoilt = np.where(weight, y, 1e6)
    left_out = clone(model).fit(X[:36], y[:36]).predict(X)
    np.testing.assert_array_equal(clone(model).fit(X, spoilt, weight).predict(X), left_out)
    assert np.abs(plain - left_out).max() > 0


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
def test_frames(backbone, few, strategy, library):
    X, y = few
    columns = {f"pixel{i}": column for i, column in enumerate(X.reshape(50, 64).T)}
    frame, target = library.DataFrame(columns), library.Series(y)
    model = make(backbone, strategy=strategy, image_shape=(8, 8)).fit(frame, target)
    assert list(model.feature_names_in_) == list(columns)
    expected = make(backbone, strategy=strategy).fit(X, y).predict(X)
    np.testing.assert_allclose(model.predict(frame), expected)
    two = library.DataFrame({"a": y, "b": -y})
    assert model.fit(frame, two).predict(frame).shape == (50, 2)


def test_auto_says_what_held_out_rows_say(backbone, few):
    X, y = few
    model = make(backbone, strategy="auto").fit(X, y)
    assert {"no_transfer", "frozen", "average", "random_backbone"} <= model.oof_loss_.keys()
    assert all(np.isfinite(loss) and loss >= 0 for loss in model.oof_loss_.values())
    assert model.transfer_gain_.keys() == {"no_transfer", "random_backbone"}
    assert sum(model.weights_.values()) == pytest.approx(1)
    assert 0 <= model.alpha_ <= 1
    # Squared error in units of the variance: no better than the mean would be 1.
    assert model.oof_loss_["average"] < 1
    scaled = make(backbone, strategy="auto").fit(X, 1000 * y)
    assert scaled.oof_loss_["average"] == pytest.approx(model.oof_loss_["average"], rel=0.02)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pickle_and_clone(backbone, few, strategy):
    X, y = few
    model = make(backbone, strategy=strategy).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert clone(model).backbone is backbone
    np.testing.assert_array_equal(clone(model).fit(X, y).predict(X), model.predict(X))


def test_the_next_transfer(backbone, few):
    X, y = few
    first = make(backbone, strategy="fine_tune", hidden_layer_sizes=(12,)).fit(X, y)
    second = make(first).fit(X, -y)
    assert second.transform(X).shape == (50, 12)
    again = make(first.backbone_, strategy="fine_tune").fit(X, y)
    np.testing.assert_array_equal(again.predict(X).shape, y.shape)
    assert again.score(X, y) > 0.2


def test_grid_search_in_two_processes(backbone, few):
    grid = {"head_lr": [1e-3, 1e-2]}
    scores = [
        GridSearchCV(make(backbone, strategy="fine_tune", max_epochs=1), grid, cv=2, n_jobs=n_jobs)
        .fit(*few)
        .cv_results_["mean_test_score"]
        for n_jobs in (None, 2)
    ]
    # Features of a row are equal to rounding, not to the bit, in batches of other rows.
    np.testing.assert_allclose(*scores, rtol=1e-5)


@pytest.mark.parametrize("n_rows", [1, 2, 5])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_very_few_rows(backbone, few, strategy, n_rows):
    X, y = few
    predicted = make(backbone, strategy=strategy).fit(X[:n_rows], y[:n_rows]).predict(X)
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: np.where(y > 5, np.nan, y), "NaN"),
        (lambda y: np.where(y > 5, np.inf, y), "infinity"),
        (lambda y: y.astype(str).astype(object) + "a", "could not convert"),
        (lambda y: np.zeros((len(y), 2, 2)), r"Got y of shape \(\d+, 2, 2\), but expected"),
        (lambda y: y[:-1], "inconsistent"),
        (lambda y: None, "requires y"),
    ],
)
def test_wrong_targets(backbone, few, change, message):
    X, y = few
    with pytest.raises(ValueError, match=message):
        make(backbone).fit(X, change(y))


def test_values_beyond_float32_are_refused_not_lost(backbone, few):
    X, y = few
    with pytest.raises(ValueError, match="float32|scale"):
        make(backbone).fit(X, 1e60 * y)
