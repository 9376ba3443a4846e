import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor
from sktransfer.training import _strategies

pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make(backbone, estimator=ParameterTransferRegressor, **parameters):
    defaults = {
        "strategy": "fine_tune",
        "max_epochs": 12,
        "head_lr": 1e-2,
        "backbone_lr": 1e-3,
        "early_stopping": True,
        "n_iter_no_change": 3,
        "n_threads": 1,
        "random_state": 0,
    }
    return estimator(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    """Labels of which a third is wrong, so that learning them by heart does not pay."""
    X, y = digits[0][:60], digits[1][:60] % 2
    return X, np.where(np.random.default_rng(0).random(60) < 0.3, 1 - y, y)


@pytest.fixture
def watched(monkeypatch):
    """The trainings on held-out rows of one test, each with its losses and its best epoch."""
    watches = []

    class Watch(_strategies.HeldOutStopping):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            watches.append(self)

    monkeypatch.setattr(_strategies, "HeldOutStopping", Watch)
    return watches


class Rows:
    """An augmentation that changes nothing and records the rows of each batch."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append([image.numpy().tobytes() for image in images])
        return images


TARGETS = {
    "classes": (ParameterTransferClassifier, lambda y: y),
    "labels": (ParameterTransferClassifier, lambda y: np.c_[y, 1 - y, y]),
    "numbers": (ParameterTransferRegressor, lambda y: 10.0 * y + 3),
    "several numbers": (ParameterTransferRegressor, lambda y: np.c_[10.0 * y, -y]),
}


@pytest.mark.parametrize("target", TARGETS)
def test_it_trains_for_the_epochs_that_were_best_on_held_out_rows(backbone, few, watched, target):
    estimator, encode = TARGETS[target]
    X, y = few
    model = make(backbone, estimator).fit(X, encode(y))
    (watch,) = watched
    assert watch.best_epoch == int(np.argmin(watch.losses))
    assert len(model.history_) == watch.best_epoch < 12
    assert len(watch.losses) - 1 == min(12, watch.best_epoch + 3)
    shown = [epoch["valid_loss"] for epoch in model.history_]
    assert shown == watch.losses[1 : watch.best_epoch + 1]
    assert np.isfinite(model.score(X, encode(y)))


@pytest.mark.parametrize("patience", [1, 2, 5, 100])
def test_patience(backbone, few, watched, patience):
    make(backbone, n_iter_no_change=patience).fit(*few)
    (watch,) = watched
    n_epochs = len(watch.losses) - 1
    assert n_epochs == min(12, watch.best_epoch + patience)


def test_in_the_end_all_rows_are_trained_on(backbone, few):
    X, y = few
    rows = Rows()
    estimator = ParameterTransferClassifier
    model = make(backbone, estimator, augment=rows, n_iter_no_change=12, backbone_lr=1e-4).fit(X, y)
    n_rows = len({row for batch in rows.batches for row in batch})
    assert n_rows == len(np.unique(X, axis=0))
    batches = len(model.history_) * model.history_[0]["train_batch_count"]
    last = [row for batch in rows.batches[-batches:] for row in batch]
    assert len(last) == 60 * len(model.history_) > 0
    assert len(set(last)) == n_rows
    # While the number of epochs is looked for, a seventh of the rows is not touched.
    first = {row for batch in rows.batches[:-batches] for row in batch}
    assert 0.8 < len(first) / n_rows < 0.9


@pytest.mark.parametrize(("fraction", "n_held_out"), [(0.5, 30), (0.25, 15), (0.1, 6)])
def test_the_share_that_is_held_out(backbone, few, watched, fraction, n_held_out):
    make(backbone, max_epochs=1, validation_fraction=fraction).fit(*few)
    (watch,) = watched
    assert len(watch.rows) == n_held_out


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
def test_where_no_step_at_all_is_best_the_weights_stay_where_they_began(
    backbone, few, tensors_of, estimator
):
    X, y = few
    # Steps against a random target lose what the linear head knows.
    model = make(backbone, estimator, head_lr=5.0, backbone_lr=1.0).fit(X, y)
    assert model.history_ == []
    assert tensors_of(model.module_.backbone.network) == tensors_of(backbone.copy_module())
    frozen = make(backbone, estimator, strategy="frozen").fit(X, y)
    np.testing.assert_allclose(
        model.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach(),
        frozen.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach(),
        rtol=1e-3,
        atol=1e-3,
    )


def test_same_seed_same_bits(backbone, few, tensors_of):
    X, y = few
    first, second, other = (make(backbone, random_state=seed).fit(X, y) for seed in (0, 0, 1))
    assert tensors_of(first.module_) == tensors_of(second.module_)
    assert tensors_of(first.module_) != tensors_of(other.module_)


@pytest.mark.parametrize("target", TARGETS)
def test_where_nothing_can_be_held_out_it_trains_to_the_end(backbone, few, watched, target):
    estimator, encode = TARGETS[target]
    rows = [0, 1, 2] if target != "classes" else [np.argmin(few[1]), np.argmax(few[1])]
    X, y = few[0][rows], encode(few[1])[rows]
    model = make(backbone, estimator, max_epochs=4).fit(X, y)
    assert len(model.history_) == 4
    assert watched == []


def test_every_fold_of_auto_stops_on_its_own(backbone, few, watched):
    X, y = few
    make(backbone, ParameterTransferRegressor, strategy="auto", max_epochs=2).fit(X, y)
    # Two fine-tuned candidates, three folds, and the networks that are refitted.
    assert 6 <= len(watched) <= 8


def test_frozen_backbones_have_nothing_to_stop(backbone, few, watched):
    X, y = few
    model = make(backbone, strategy="frozen", hidden_layer_sizes=(4,), max_epochs=3).fit(X, y)
    assert len(model.history_) == 3
    assert watched == []


def test_the_checkpoint_of_a_training_that_stopped_is_removed(backbone, few, tmp_path):
    X, y = few
    plain = make(backbone).fit(X, y)
    kept = make(backbone, checkpoint_dir=tmp_path, checkpoint_every=3).fit(X, y)
    np.testing.assert_array_equal(kept.predict(X), plain.predict(X))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"early_stopping": "yes"}, "Got early_stopping='yes'"),
        ({"validation_fraction": 0}, "Got validation_fraction=0"),
        ({"validation_fraction": 0.6}, "Got validation_fraction=0.6"),
        ({"n_iter_no_change": 0}, "Got n_iter_no_change=0"),
    ],
)
def test_wrong_parameters(backbone, few, estimator, parameters, message):
    with pytest.raises(ValueError, match=message):
        make(backbone, estimator, **parameters).fit(*few)


def test_the_early_stopping_of_skorch_works_as_well(backbone, few):
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    model = make(backbone, early_stopping=False, callbacks=[stopping]).fit(*few)
    # The first epoch is the best, and two more are waited for.
    assert len(model.history_) == 3
    assert len(make(backbone, early_stopping=True, callbacks=[stopping]).fit(*few).history_) <= 3


def test_the_early_stopping_of_skorch_may_restore_its_best_weights(backbone, few):
    stopping = EarlyStopping(monitor="train_loss", patience=2, load_best=True)
    model = make(backbone, early_stopping=False, head_lr=5.0, callbacks=[stopping]).fit(*few)
    assert np.isfinite(model.predict(few[0])).all()


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupt_comes_through_and_leaves_the_last_fit_as_it_was(
    backbone, few, strategy, early_stopping
):
    X, y = few
    parameters = {
        "strategy": strategy,
        "hidden_layer_sizes": (4,),
        "early_stopping": early_stopping,
    }
    model = make(backbone, ParameterTransferRegressor, strategy="frozen").fit(X, y)
    model.set_params(**parameters, callbacks=[Interrupt()])
    before, predicted = dict(vars(model)), model.predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y + 1)
    assert vars(model) == before
    np.testing.assert_array_equal(model.predict(X), predicted)
    new = make(backbone, **parameters, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        new.fit(X, y)
    assert not new.__sklearn_is_fitted__()
