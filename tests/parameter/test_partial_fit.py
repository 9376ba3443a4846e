import pickle

import numpy as np
import pytest
from sklearn.metrics import log_loss

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make(backbone, estimator=ParameterTransferClassifier, **parameters):
    defaults = {"strategy": "frozen", "max_epochs": 2, "n_threads": 1, "random_state": 0}
    return estimator(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    return digits[0][:48], digits[1][:48] % 3


def backbones_of(model, tensors_of):
    return [tensors_of(member.backbone.copy_module()) for member in model._model.members]


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_pass_after_pass_the_loss_falls(backbone, few, tensors_of, hidden_layer_sizes):
    X, y = few
    model = make(backbone, hidden_layer_sizes=hidden_layer_sizes, head_lr=1e-2)
    losses = [
        log_loss(y, model.partial_fit(X, y).predict_proba(X), labels=[0, 1, 2]) for _ in range(12)
    ]
    assert losses[11] < losses[5] < losses[0]
    assert tensors_of(model.module_.backbone.network) == tensors_of(backbone.copy_module())


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]])
def test_the_first_call_wants_the_classes_that_y_lacks(backbone, few, labels):
    X, y = few
    y = np.asarray(labels)[y]
    first = y != labels[2]
    model = make(backbone).partial_fit(X[first], y[first], classes=labels[::-1])
    np.testing.assert_array_equal(model.classes_, labels)
    assert model.partial_fit(X, y).predict_proba(X).shape == (48, 3)
    assert set(model.predict(X)) <= set(labels)
    unaware = make(backbone).partial_fit(X[first], y[first])
    before = dict(vars(unaware))
    with pytest.raises(ValueError, match=f"{labels[2]}.*first call"):
        unaware.partial_fit(X, y)
    assert vars(unaware) == before
    assert not hasattr(make(backbone).fit(X, y), "_announced_classes")


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_after_a_fit_only_heads_move(backbone, few, tensors_of, estimator, strategy):
    X, y = few[0], few[1] > 0
    model = make(backbone, estimator, strategy=strategy).fit(X, y)
    before, predicted = backbones_of(model, tensors_of), model.predict(X)
    output = getattr(model, "predict_proba", model.predict)(X)
    restored = pickle.loads(pickle.dumps(model))
    model.partial_fit(X, y)
    assert backbones_of(model, tensors_of) == before
    moved = np.abs(getattr(model, "predict_proba", model.predict)(X) - output).max()
    # One pass at a small rate, in the units of y.
    assert 0 < moved < 0.5
    assert predicted.shape == model.predict(X).shape
    np.testing.assert_array_equal(restored.partial_fit(X, y).predict(X), model.predict(X))


@pytest.mark.parametrize("n_outputs", [None, 1, 2])
def test_regression_is_in_units_of_y(backbone, few, n_outputs):
    X = few[0]
    y = 1000 * X.mean((1, 2)) + 7
    y = y if n_outputs is None else np.stack([y, -y][:n_outputs], axis=1)
    model = make(backbone, ParameterTransferRegressor, head_lr=1e-2)
    errors = [np.square(model.partial_fit(X, y).predict(X) - y).mean() for _ in range(12)]
    assert errors[-1] < errors[0]
    assert model.predict(X).shape == y.shape
    assert np.abs(model.predict(X) - y).mean() < 2 * y.std()


def test_several_labels_per_row(backbone, few):
    X, y = few
    y = np.c_[y > 0, y > 1].astype(int)
    model = make(backbone, head_lr=1e-2).partial_fit(X, y)
    before = model.predict_proba(X)
    assert model.partial_fit(X, y).predict_proba(X).shape == (48, 2)
    assert np.abs(model.predict_proba(X) - before).max() > 0


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize("is_fitted", [False, True])
def test_what_stands_in_rows_of_weight_zero_does_not_matter(backbone, few, estimator, is_fitted):
    X, y = few
    weight = (np.arange(48) % 4 > 0).astype(float)
    other = 1e6 if estimator is ParameterTransferRegressor else 2
    spoilt = X + (weight == 0)[:, None, None], np.where(weight, y, other)
    models = [make(backbone, estimator) for _ in range(2)]
    for model, (rows, target) in zip(models, [(X, y), spoilt], strict=True):
        if is_fitted:
            model.fit(X, y)
        model.partial_fit(rows, target, sample_weight=weight)
    np.testing.assert_allclose(models[0].predict(X), models[1].predict(X), atol=1e-6)


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
def test_a_failed_call_leaves_the_last_state(backbone, few, estimator):
    X, y = few
    model = make(backbone, estimator).fit(X, y)
    before, predicted = dict(vars(model)), model.predict(X)
    for rows, target, weight in (
        (X[:, :6], y, None),
        (X.reshape(48, 64), y, None),
        (X, y[:-1], None),
        (X, y, np.zeros(48)),
        (X, y, -np.ones(48)),
        (X * np.nan, y, None),
        # Another number of outputs.
        (X, np.c_[y > 0, y > 1, y > 0].astype(int), None),
    ):
        with pytest.raises(ValueError):
            model.partial_fit(rows, target, sample_weight=weight)
        assert vars(model) == before
    np.testing.assert_array_equal(model.predict(X), predicted)


def test_y_of_one_column_is_no_y_of_several(backbone, few):
    X, y = few
    model = make(backbone, ParameterTransferRegressor).fit(X, np.c_[y, -y, 2 * y])
    with pytest.raises(ValueError, match="outputs|columns"):
        model.partial_fit(X, y)
    assert model.predict(X).shape == (48, 3)


WARM = {"strategy": "fine_tune", "warm_start": True, "max_epochs": 15, "head_lr": 1e-2}


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize("by_pickle", [False, True])
def test_a_warm_start_goes_on_from_the_last_weights(backbone, few, estimator, by_pickle):
    X, y = few
    model = make(backbone, estimator, hidden_layer_sizes=(8,), head_init="random", **WARM)
    model.fit(X, y)
    cold = [epoch["train_loss"] for epoch in model.history_]
    if by_pickle:
        model = pickle.loads(pickle.dumps(model))
    warm = [epoch["train_loss"] for epoch in model.fit(X, y).history_]
    assert abs(warm[0] - cold[-1]) < 0.3 * (cold[0] - cold[-1])
    assert warm[-1] < cold[-1]
    again = model.set_params(warm_start=False).fit(X, y)
    assert [epoch["train_loss"] for epoch in again.history_] == cold


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize("fewer_first", [False, True])
def test_a_warm_start_wants_as_many_outputs_as_before(backbone, few, estimator, fewer_first):
    X, y = few
    targets = [y, (y > 0).astype(int)]
    if estimator is ParameterTransferRegressor:
        targets = [np.c_[y, y, -y], y]
    targets = targets[::-1] if fewer_first else targets
    model = make(backbone, estimator, **WARM).fit(X, targets[0])
    predicted = model.predict(X)
    with pytest.raises(ValueError, match="Got warm_start=True.*outputs.*warm_start=False"):
        model.fit(X, targets[1])
    np.testing.assert_array_equal(model.predict(X), predicted)


def test_a_warm_start_of_a_frozen_backbone_is_a_fit_like_any_other(backbone, few):
    X, y = few
    warm = make(backbone, warm_start=True).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(warm.predict(X), make(backbone).fit(X, y).predict(X))


def test_a_warm_start_of_a_regressor_follows_new_units(backbone, few):
    X, y = few
    model = make(backbone, ParameterTransferRegressor, **{**WARM, "head_lr": 1e-9})
    model.set_params(backbone_lr=0, max_epochs=1)
    before = model.fit(X, y).predict(X)
    after = model.fit(X, 3 * y + 5).predict(X)
    np.testing.assert_allclose(after, before, atol=1e-4)
