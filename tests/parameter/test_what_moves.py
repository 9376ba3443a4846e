import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier
from sktransfer.training import BSS, DELTA, GradualUnfreezing, LowRankAdapters

# Kept short: the backbones' layers are fc1, fc2 and fc3, with others between them.
NETWORKS = {
    "plain": {},
    "batch_norm": {"norm1": nn.BatchNorm1d(12), "norm2": nn.BatchNorm1d(12)},
    "layer_norm": {"norm1": nn.LayerNorm(12), "norm2": nn.LayerNorm(12)},
    "group_norm": {"norm1": nn.GroupNorm(3, 12), "norm2": nn.GroupNorm(4, 12)},
    "no_affine": {"norm1": nn.BatchNorm1d(12, affine=False)},
    "dropout": {"norm1": nn.Dropout(0.3), "norm2": nn.Dropout(0.3)},
    "weight_norm": {"fc2": nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))},
    "tied": {"norm1": nn.Linear(12, 12), "tied": True},
}


def make_network(kind="plain"):
    """A network of seeded weights whose BatchNorm statistics are those of no batch."""
    others = dict(NETWORKS[kind])
    is_tied = others.pop("tied", False)
    layers = {
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(64, 12),
        "norm1": nn.Identity(),
        "relu1": nn.ReLU(),
        "fc2": nn.Linear(12, 12),
        "norm2": nn.Identity(),
        "relu2": nn.LeakyReLU(),
        "fc3": nn.Linear(12, 8),
        "relu3": nn.LeakyReLU(),
        "old_head": nn.Linear(8, 5),
    }
    network = nn.Sequential(OrderedDict({**layers, **copy.deepcopy(others)}))
    if is_tied:
        network.norm1.weight = network.fc2.weight
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(std=1 / np.sqrt(tensor.shape[-1]))
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
    return network


@pytest.fixture
def few(digits):
    return digits[0][:24], digits[1][:24] % 3


def make_classifier(network, **parameters):
    # A random head is quick, and what moves does not depend on where the head begins.
    defaults = {
        "strategy": "fine_tune",
        "head_init": "random",
        "max_epochs": 1,
        "backbone_lr": 1e-2,
        "random_state": 0,
    }
    return ParameterTransferClassifier(network, **{**defaults, **parameters})


def fine_tune(network, few, **parameters):
    return make_classifier(network, **parameters).fit(*few)


def fitted_network(classifier):
    return classifier.module_.backbone.network


def what_moved(classifier, network):
    """Return the names of parameters and buffers that are not what they were, bit by bit."""
    before, after = network.state_dict(), fitted_network(classifier).state_dict()
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def distances(classifier, network):
    """Return how far each layer went."""
    after = dict(fitted_network(classifier).named_parameters())
    return {
        name.removesuffix(".weight"): (after[name] - p).detach().norm().item()
        for name, p in network.named_parameters()
        if name.endswith("weight")
    }


def everything_about(network):
    """Return weights as bytes, and the flags of parameters and modules."""
    return (
        {name: value.numpy().tobytes() for name, value in network.state_dict().items()},
        {name: (p.requires_grad, p.grad) for name, p in network.named_parameters()},
        {name: (m.training, len(m._forward_hooks)) for name, m in network.named_modules()},
    )


# Whether a parameter is chosen, by its name: written down again, not asked of the library.
CHOSEN = {
    "all": lambda name: True,
    "norm": lambda name: name.startswith("norm"),
    "bias": lambda name: name.endswith(".bias"),
    1: lambda name: name.startswith("fc3."),
    ("fc1", "fc3.bias"): lambda name: name.startswith("fc1.") or name == "fc3.bias",
    ("*2*",): lambda name: "2" in name,
}


def expected_to_move(network, trainable):
    names = dict(network.named_parameters(remove_duplicate=False))
    chosen = {id(p) for name, p in names.items() if CHOSEN[trainable](name)}
    chosen -= {id(p) for p in network.old_head.parameters()}
    return {name for name, p in names.items() if id(p) in chosen}


def list_choices():
    """Give every network and every choice of what moves, but for norms that it has none of."""
    with_norms = ("batch_norm", "layer_norm", "group_norm")
    for kind in NETWORKS:
        for trainable in CHOSEN:
            if trainable != "norm" or kind in with_norms:
                yield kind, trainable, True
                if kind in ("batch_norm", "dropout"):
                    yield kind, trainable, False


@pytest.mark.parametrize(("kind", "trainable", "cache"), list(list_choices()))
@pytest.mark.filterwarnings("ignore:Got cache=True, but the frozen layers run in every step")
def test_what_is_chosen_moves_and_nothing_else_does(few, kind, trainable, cache):
    network = make_network(kind)
    classifier = fine_tune(network, few, trainable=trainable, cache=cache)
    assert what_moved(classifier, network) == expected_to_move(network, trainable)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_network_that_is_passed_in_is_never_changed(few, kind):
    network = make_network(kind).train()
    network.fc1.bias.requires_grad_(False)
    network.fc3.eval()
    before = everything_about(network)
    classifier = fine_tune(network, few)
    assert everything_about(network) == before
    GridSearchCV(classifier, {"trainable": ["all", 1]}, cv=2).fit(*few)
    assert everything_about(network) == before
    cross_val_score(classifier.set_params(max_epochs=2), *few, cv=2)
    assert everything_about(network) == before
    assert classifier.backbone is network


@pytest.mark.parametrize("kind", ["batch_norm", "dropout", "tied"])
@pytest.mark.parametrize("trainable", ["all", 1])
def test_backbone_lr_zero_moves_nothing(few, kind, trainable):
    network = make_network(kind)
    classifier = fine_tune(network, few, backbone_lr=0, trainable=trainable)
    assert not what_moved(classifier, network)
    rates = {group["name"]: group["lr"] for group in classifier.param_groups_}
    assert rates == {"backbone (frozen)": 0.0, "head": 1e-3}


def test_the_frozen_strategy_says_that_the_backbone_is_frozen(few):
    network = make_network("batch_norm")
    classifier = fine_tune(network, few, strategy="frozen", trainable="norm", layer_decay=0.5)
    assert not what_moved(classifier, network)
    *backbone, head = classifier.param_groups_
    assert {(g["name"], g["lr"], g["n_trainable"]) for g in backbone} == {
        ("backbone (frozen)", 0.0, 0)
    }
    assert sum(g["n_parameters"] for g in backbone) == sum(p.numel() for p in network.parameters())
    assert head["n_trainable"] == head["n_parameters"] == 9 * 3
    assert head["lr"] is None


@pytest.mark.parametrize("trainable", CHOSEN)
def test_param_groups_say_what_moved(few, trainable):
    network = make_network("layer_norm")
    classifier = fine_tune(network, few, trainable=trainable, layer_decay=0.5)
    said = {
        name.removeprefix("backbone.network.")
        for group in classifier.param_groups_
        if group["n_trainable"] and group["name"] != "head"
        for name in group["parameter_names"]
    }
    assert said == what_moved(classifier, network)
    total = sum(group["n_parameters"] for group in classifier.param_groups_)
    assert total == sum(p.numel() for p in classifier.module_.parameters())


def test_statistics_of_batch_norm_move_on_demand_and_only_where_its_block_does(few):
    network = make_network("batch_norm")
    moved = what_moved(fine_tune(network, few, freeze_norm=False), network)
    assert {"norm1.running_mean", "norm1.running_var", "norm2.running_mean"} <= moved
    moved = what_moved(fine_tune(network, few, freeze_norm=False, trainable=2), network)
    assert "norm2.running_mean" in moved
    assert not any(name.startswith("norm1") for name in moved)


def test_layer_decay_holds_back_the_first_blocks(few):
    network = make_network()
    classifier = fine_tune(network, few, layer_decay=0.1)
    rates = {group["name"]: group["lr"] for group in classifier.param_groups_}
    assert rates.pop("backbone (frozen)") == 0
    assert rates == pytest.approx({"fc1": 1e-4, "fc2": 1e-3, "fc3": 1e-2, "head": 1e-3})
    went = distances(classifier, network)
    even = distances(fine_tune(network, few), network)
    assert went["fc1"] / even["fc1"] < 0.2 < went["fc3"] / even["fc3"]
    assert went["fc1"] / even["fc1"] < went["fc2"] / even["fc2"] < 1


@pytest.mark.parametrize("until", [0.5, 0.9])
def test_gradual_unfreezing_moves_the_first_blocks_last_and_less(few, until):
    network = make_network()
    classifier = fine_tune(
        network, few, unfreezing=GradualUnfreezing(until), max_epochs=2, backbone_lr=1e-3
    )
    went = distances(classifier, network)
    even = distances(fine_tune(network, few, max_epochs=2, backbone_lr=1e-3), network)
    shares = [went[name] / even[name] for name in ("fc1", "fc2", "fc3")]
    assert 0 < shares[0] < shares[1] < shares[2] < 1
    assert what_moved(classifier, network) == expected_to_move(network, "all")


def test_gradual_unfreezing_moves_every_block_before_it_ends(few):
    network = make_network()
    classifier = fine_tune(network, few, unfreezing=GradualUnfreezing(1.0), max_epochs=2)
    assert what_moved(classifier, network) == expected_to_move(network, "all")


def test_gradual_unfreezing_counts_only_what_is_chosen(few):
    network = make_network("batch_norm")
    parameters = {"unfreezing": GradualUnfreezing(0.5), "max_epochs": 2, "trainable": ("fc3",)}
    for freeze_norm in (True, False):
        classifier = fine_tune(network, few, freeze_norm=freeze_norm, **parameters)
        assert what_moved(classifier, network) == {"fc3.weight", "fc3.bias"}


@pytest.mark.parametrize("kind", ["plain", "batch_norm", "tied", "weight_norm"])
def test_adapters_are_merged_into_the_weights_of_plain_layers(few, kind):
    pytest.importorskip("peft")
    network = make_network(kind)
    classifier = fine_tune(network, few, adapters=LowRankAdapters(rank=2))
    # Tied and parametrized layers cannot be adapted, and the old head is not on the way.
    adapted = {"plain": "123", "batch_norm": "123", "tied": "13", "weight_norm": "13"}[kind]
    assert what_moved(classifier, network) == {f"fc{i}.weight" for i in adapted}
    after = fitted_network(classifier)
    assert [type(m) for m in after.modules()] == [type(m) for m in network.modules()]
    change = (after.fc1.weight - network.fc1.weight).detach()
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2
    if kind != "weight_norm":  # torch does not pickle parametrized layers.
        restored = pickle.loads(pickle.dumps(classifier))
        np.testing.assert_array_equal(restored.predict(few[0]), classifier.predict(few[0]))


def test_adapters_keep_to_layer_decay_and_gradual_unfreezing(few):
    pytest.importorskip("peft")
    network = make_network()
    parameters = {"adapters": LowRankAdapters(rank=2), "max_epochs": 2}
    even = distances(fine_tune(network, few, **parameters), network)
    for change in ({"layer_decay": 0.1}, {"unfreezing": GradualUnfreezing(0.9)}):
        went = distances(fine_tune(network, few, **parameters, **change), network)
        assert 0 < went["fc1"] / even["fc1"] < went["fc2"] / even["fc2"]


def test_a_strong_l2_sp_keeps_weights_near_their_start(few):
    network = make_network()
    free, kept = (
        distances(fine_tune(network, few, l2_sp=l2_sp, max_epochs=3), network)
        for l2_sp in (0.0, 1000.0)
    )
    assert all(0 < kept[name] < free[name] / 2 for name in ("fc1", "fc2", "fc3"))


@pytest.mark.parametrize("trainable", ["all", 1])
@pytest.mark.parametrize("penalty", [BSS(1.0, k=8), DELTA(100.0), [BSS(1.0, k=8), DELTA(100.0)]])
def test_penalties_change_where_the_weights_go_but_not_which_of_them(few, penalty, trainable):
    network = make_network("batch_norm")
    classifier = fine_tune(network, few, penalty=penalty, trainable=trainable, max_epochs=2)
    assert what_moved(classifier, network) == expected_to_move(network, trainable)
    plain = fine_tune(network, few, trainable=trainable, max_epochs=2)
    assert distances(classifier, network)["fc3"] != distances(plain, network)["fc3"]


def test_a_grid_of_choices(few):
    grid = {"trainable": ["all", 1, ("fc*",), "bias"], "backbone_lr": [1e-3, 1e-2]}
    search = GridSearchCV(make_classifier(Backbone(make_network())), grid, cv=2).fit(*few)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.trainable == search.best_params_["trainable"]


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (("fc4",), "pattern 'fc4' matches no layer .*Did you mean 'fc"),
        ("norm", "no such layers; its blocks are 'fc1', 'fc2', 'fc3'"),
        (4, "Got trainable=4, but the backbone has 3 blocks: 'fc1', 'fc2', 'fc3'"),
        ("norms", "Got trainable='norms'.*Did you mean 'norm'"),
    ],
)
def test_a_choice_that_the_network_does_not_have_is_an_error(few, trainable, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(make_network(), few, trainable=trainable)
