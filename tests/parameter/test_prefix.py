import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor
from sktransfer.backbones import clear_row_cache
from sktransfer.backbones._activations import cache_key
from sktransfer.backbones.cache import _worth
from sktransfer.backbones.cache._tiers import cache_info
from sktransfer.training import DELTA, GradualUnfreezing, LowRankAdapters

# Sizes of the batches that went through the first block: of all networks, so that it is no part
# of any and does not change a fingerprint.
BATCHES = []
# Where a network can be cut is tried on so many rows at most.
N_TRIED = 4


class First(nn.Conv2d):
    def forward(self, images):
        BATCHES.append(len(images))
        return super().forward(images)


class Blocks(nn.Module):
    """Blocks first, norm1, block1, block2, norm2, fc1, and an old head."""

    def __init__(self):
        super().__init__()
        self.first = First(1, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.block1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.block2 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.norm2 = nn.BatchNorm2d(4)
        self.fc1 = nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.fc = nn.Linear(8, 5)

    def forward(self, images):
        maps = self.norm1(self.first(images))
        # Code between the layers, which runs as ever.
        maps = self.norm2(self.block2(self.block1(maps)) + 0.1)
        return self.fc(self.fc1(nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Blocks()
        for norm in (network.norm1, network.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    clear_row_cache()
    BATCHES.clear()
    return network


@pytest.fixture
def few(digits):
    """48 rows, 40 of which differ."""
    rows = np.r_[:40, :8]
    return digits[0][rows], digits[1][rows] % 3


def make_classifier(backbone, **parameters):
    # A random head is quick, and needs no other passes through the backbone.
    defaults = {
        "strategy": "fine_tune",
        "head_init": "random",
        "max_epochs": 2,
        "batch_size": 8,
        "backbone_lr": 1e-2,
        "random_state": 0,
    }
    return ParameterTransferClassifier(backbone, **{**defaults, **parameters})


def count_rows():
    """Return how many rows went through the first block, but for those that were tried."""
    n_rows = sum(n for n in BATCHES if n > N_TRIED)
    BATCHES.clear()
    return n_rows


def weights_of(estimator):
    return {name: value.numpy() for name, value in estimator.module_.state_dict().items()}


@pytest.mark.parametrize("max_epochs", [1, 3])
@pytest.mark.parametrize("trainable", [1, ("fc1", "block2"), ("norm2",), ("block?.*.bias",)])
def test_frozen_blocks_run_once_per_row_in_all_epochs(network, few, trainable, max_epochs):
    classifier = make_classifier(network, trainable=trainable, max_epochs=max_epochs)
    classifier.fit(*few)
    # The features that the head begins with and the activations at the cut come from one pass.
    assert count_rows() == 40
    classifier.set_params(cache=False).fit(*few)
    assert count_rows() == 48 + max_epochs * 48


def test_blocks_that_are_trained_run_in_every_step(network, few):
    for trainable in ("all", "bias", ("first",)):
        make_classifier(network, trainable=trainable).fit(*few)
        assert count_rows() >= 2 * 48
        clear_row_cache()


def test_frozen_blocks_run_once_per_row_over_folds_and_candidates(network, few):
    backbone = Backbone(network)
    grid = {"backbone_lr": [1e-3, 1e-2], "trainable": [1, ("norm2",), ("block2",)]}
    GridSearchCV(make_classifier(backbone), grid, cv=3, refit=False).fit(*few)
    # Three cuts, the features with the first; and each of the six networks predicts each row once.
    assert count_rows() == 3 * 40 + 6 * 48
    for layer in ("penultimate", "norm2", "block1", "block2"):
        pooling = "auto" if layer == "penultimate" else "flatten"
        info = cache_info([cache_key(backbone, layer, pooling)])
        assert (info.misses, info.rows) == (40, 40), layer


@pytest.mark.parametrize("kind", [ParameterTransferClassifier, ParameterTransferRegressor])
def test_frozen_blocks_run_once_per_row_in_all_processes(network, few, kind, tmp_path):
    X, y = few
    backbone = Backbone(network)
    parameters = make_classifier(backbone, trainable=1, cache_dir=tmp_path).get_params()
    parameters = {k: v for k, v in parameters.items() if k != "class_weight"}
    first = kind(**parameters).fit(X, y)
    assert count_rows() == 40
    # As in another process.
    clear_row_cache()
    second = kind(**parameters).fit(X, y)
    frozen = kind(**{**parameters, "strategy": "frozen"}).fit(X, y)
    frozen.predict(X)
    assert count_rows() == 0
    np.testing.assert_allclose(second.predict(X), first.predict(X), rtol=1e-4)
    with pytest.raises(TypeError, match="Got cache_dir=1, but expected the path of a folder"):
        kind(**{**parameters, "cache_dir": 1}).fit(X, y)


@pytest.mark.parametrize("kind", [ParameterTransferClassifier, ParameterTransferRegressor])
@pytest.mark.parametrize("trainable", [1, ("fc1", "block2"), ("norm2",)])
def test_the_cache_does_not_change_what_is_learned(network, few, kind, trainable):
    X, y = few
    parameters = make_classifier(network, trainable=trainable).get_params()
    parameters = {k: v for k, v in parameters.items() if k != "class_weight"}
    weight = np.linspace(0.5, 2, len(X))
    whole, cached = (
        kind(**{**parameters, "cache": cache}).fit(X, y, sample_weight=weight)
        for cache in (False, True)
    )
    expected = weights_of(whole)
    for name, value in weights_of(cached).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        cached._compute_outputs(X), whole._compute_outputs(X), rtol=1e-4, atol=1e-4
    )
    assert [epoch["train_loss"] for epoch in cached.history_] == pytest.approx(
        [epoch["train_loss"] for epoch in whole.history_], rel=1e-4
    )
    outputs = cached.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach()
    if kind is ParameterTransferRegressor:
        np.testing.assert_allclose(cached.predict(X), outputs[:, 0], rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_allclose(cached.decision_function(X), outputs, rtol=1e-4, atol=1e-4)


def test_early_stopping_and_the_cache(network, few):
    whole, cached = (
        make_classifier(network, trainable=1, cache=cache, early_stopping=True, max_epochs=3)
        .fit(*few)
        .predict_proba(few[0])
        for cache in (False, True)
    )
    np.testing.assert_allclose(cached, whole, rtol=1e-3)


def turn(images):
    return images.flip(-1)


FALLBACKS = {
    "augment": ({"augment": turn}, "augment changes the rows in every step"),
    "penalty": ({"penalty": DELTA(1e-3)}, "a penalty looks at all layers"),
    "first": ({"trainable": ("first",)}, "no frozen layer with weights comes before"),
}


@pytest.mark.parametrize("why", FALLBACKS)
def test_where_the_prefix_cannot_be_cached_the_reason_is_said_on_demand(network, few, why):
    parameters, reason = FALLBACKS[why]
    classifier = make_classifier(network, **{"trainable": 1, **parameters})
    # Warnings are errors here, so "auto" and False say nothing.
    whole = classifier.set_params(cache=False).fit(*few).predict_proba(few[0])
    auto = classifier.set_params(cache="auto").fit(*few).predict_proba(few[0])
    count_rows()
    with pytest.warns(UserWarning, match=f"Got cache=True, but the frozen layers run .*: {reason}"):
        insisting = classifier.set_params(cache=True).fit(*few).predict_proba(few[0])
    assert count_rows() >= 2 * 48
    np.testing.assert_allclose(auto, whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(insisting, whole, rtol=1e-4, atol=1e-6)


def test_adapters_cannot_be_cached_either(network, few):
    pytest.importorskip("peft")
    classifier = make_classifier(network, trainable=1, cache=True, adapters=LowRankAdapters(2))
    with pytest.warns(UserWarning, match="adapters are added to layers throughout"):
        classifier.fit(*few)


def test_nothing_is_said_where_nothing_is_frozen(network, few):
    make_classifier(network, trainable="all", cache=True, freeze_norm=False).fit(*few)


def test_frozen_normalisation_layers_are_cached_with_the_rest(network, few):
    make_classifier(network, trainable=1, cache=True, freeze_norm=False).fit(*few)
    assert count_rows() == 40


def test_dropout_between_frozen_layers_is_off_whether_they_are_cached_or_not(few):
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 16), nn.ReLU()
    )
    cached, whole = (
        make_classifier(network, trainable=1, cache=cache).fit(*few).history_[-1]["train_loss"]
        for cache in (True, False)
    )
    assert cached == pytest.approx(whole, rel=1e-4)


def test_a_backbone_that_does_not_move_is_not_run_in_every_step(network, few):
    classifier = make_classifier(network, backbone_lr=0.0, max_epochs=5).fit(*few)
    assert count_rows() == 40
    assert all(
        group["lr"] == 0 for group in classifier.param_groups_ if "backbone" in group["name"]
    )


def test_a_penalty_on_weights_does_not_stand_in_the_way(network, few):
    make_classifier(network, trainable=1, cache=True, l2_sp=0.1).fit(*few)
    assert count_rows() == 40


def test_unfreezing_works_behind_the_cut(network, few):
    parameters = {"trainable": ("fc1", "block2"), "unfreezing": GradualUnfreezing(0.5)}
    cached = make_classifier(network, **parameters).fit(*few)
    assert count_rows() == 40
    whole = make_classifier(network, **parameters, cache=False).fit(*few)
    np.testing.assert_allclose(cached.predict_proba(few[0]), whole.predict_proba(few[0]), rtol=1e-3)


def test_statistics_of_a_frozen_norm_stay_with_the_cache_and_without(network, few):
    for cache in (True, False):
        fitted = make_classifier(network, trainable=1, cache=cache).fit(*few).module_
        for name in ("norm1", "norm2"):
            after, before = (getattr(n, name) for n in (fitted.backbone.network, network))
            assert torch.equal(after.running_mean, before.running_mean)
            assert torch.equal(after.running_var, before.running_var)


def test_looking_up_vectors_of_a_small_network_costs_more_than_it_saves(few):
    network = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    X, y = few[0].reshape(-1, 64), few[1]
    clear_row_cache()
    backbone = Backbone(network)
    key = cache_key(backbone, "1", "flatten")
    for cache, n_rows in (("auto", 0), (True, 40)):
        make_classifier(backbone, trainable=1, cache=cache).fit(X, y)
        assert cache_info([key]).rows == n_rows


def test_what_was_measured_at_the_cut_decides(few, monkeypatch):
    # With more than 50,000 parameters, so that nothing but a measurement speaks against the cache.
    network = nn.Sequential(nn.Linear(64, 700), nn.ReLU(), nn.Linear(700, 8), nn.Linear(8, 2))
    X, y = few[0].reshape(-1, 64), few[1]
    backbone = Backbone(network)
    clear_row_cache()
    monkeypatch.setattr(_worth, "_VERDICTS", {})
    assert make_classifier(backbone, trainable=1).fit(X, y).prefix_ == "1"
    monkeypatch.setitem(_worth._VERDICTS, (backbone.fingerprint, ("1",), (64,)), False)
    classifier = make_classifier(backbone, trainable=1).fit(X, y)
    assert "looking rows up costs more" in classifier.prefix_
