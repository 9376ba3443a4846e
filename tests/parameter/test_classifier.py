import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import EarlyStopping
from torch import nn

from sktransfer import Backbone, NegativeTransferWarning, ParameterTransferClassifier

STRATEGIES = ["frozen", "fine_tune", "auto"]

# Most tests use a network of random weights, and "auto" says what it is worth.
pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make_classifier(backbone, **parameters):
    defaults = {"strategy": "frozen", "max_epochs": 2, "random_state": 0}
    return ParameterTransferClassifier(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    return digits[0][:60], digits[1][:60]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("hidden_layer_sizes", [(), (16, 8)])
def test_every_strategy_predicts(backbone, few, strategy, hidden_layer_sizes):
    X, y = few
    classifier = make_classifier(
        backbone, strategy=strategy, hidden_layer_sizes=hidden_layer_sizes
    ).fit(X, y)
    proba = classifier.predict_proba(X)
    assert proba.shape == (60, 10)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(classifier.predict(X), classifier.classes_[proba.argmax(1)])
    logits = classifier.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach()
    np.testing.assert_allclose(classifier.decision_function(X), logits, rtol=1e-3, atol=1e-3)


def test_the_frozen_linear_head_is_as_good_as_logistic_regression_on_the_features(digits):
    X, y = digits
    classifier = make_classifier("glyphs").fit(X[:100], y[:100])
    features = classifier.transform(X)
    baseline = LogisticRegression(max_iter=5000).fit(features[:100], y[:100])
    ours = log_loss(y[100:], classifier.predict_proba(X[100:]))
    assert ours < log_loss(y[100:], baseline.predict_proba(features[100:])) + 0.02
    assert classifier.score(X[100:], y[100:]) > 0.93


def test_fine_tuning_starts_from_the_linear_probe(backbone, few):
    X, y = few
    frozen = make_classifier(backbone).fit(X, y)
    barely = make_classifier(
        backbone, strategy="fine_tune", head_lr=1e-9, backbone_lr=1e-9, max_epochs=1
    ).fit(X, y)
    np.testing.assert_allclose(
        barely.decision_function(X), frozen.decision_function(X), rtol=1e-3, atol=1e-3
    )


def test_fine_tuning_lowers_the_training_loss_and_moves_the_backbone_slowly(backbone, few):
    X, y = few
    classifier = make_classifier(backbone, strategy="fine_tune", max_epochs=20).fit(X, y)
    losses = [epoch["train_loss"] for epoch in classifier.history_]
    assert len(losses) == 20
    assert losses[-1] < losses[0]
    assert {g["name"]: g["lr"] for g in classifier.param_groups_} == {
        "backbone": 1e-4,
        "backbone (frozen)": 0.0,
        "head": 1e-3,
    }
    before = backbone.copy_module()
    after = classifier.module_.backbone.network
    assert not torch.equal(after.conv.weight, before.conv.weight)
    # The head of the source is not on the way to the new one.
    assert torch.equal(after.fc.weight, before.fc.weight)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_network_of_the_user_is_never_changed(small_network, few, tensors_of, strategy):
    before, modules = tensors_of(small_network.train()), copy.deepcopy(vars(small_network))
    classifier = make_classifier(small_network, strategy=strategy).fit(*few)
    GridSearchCV(classifier, {"head_lr": [1e-3, 1e-2]}, cv=2).fit(*few)
    cross_val_score(classifier, *few, cv=2)
    assert tensors_of(small_network) == before
    assert small_network.training
    assert all(parameter.requires_grad for parameter in small_network.parameters())
    assert vars(small_network).keys() == modules.keys()


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_frozen_means_frozen(small_network, few, tensors_of, hidden_layer_sizes):
    classifier = make_classifier(small_network, hidden_layer_sizes=hidden_layer_sizes).fit(*few)
    assert tensors_of(classifier.module_.backbone.network) == tensors_of(small_network)
    backbone_rates = {g["lr"] for g in classifier.param_groups_ if "backbone" in g["name"]}
    assert backbone_rates == {0.0}


def test_backbone_lr_zero_freezes(small_network, few, tensors_of):
    classifier = make_classifier(small_network, strategy="fine_tune", backbone_lr=0).fit(*few)
    assert tensors_of(classifier.module_.backbone.network) == tensors_of(small_network)


def test_batch_norm_keeps_its_statistics_unless_asked(backbone, few):
    before = backbone.copy_module().norm.running_mean
    for freeze_norm in (True, False):
        classifier = make_classifier(backbone, strategy="fine_tune", freeze_norm=freeze_norm)
        after = classifier.fit(*few).module_.backbone.network.norm.running_mean
        assert torch.equal(before, after) == freeze_norm


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_seed_same_bits(backbone, few, strategy):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    probas = [
        make_classifier(backbone, strategy=strategy, n_threads=1).fit(*few).predict_proba(few[0])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*probas)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]


def test_one_forward_per_row_over_folds_and_candidates(small_network, few):
    X, y = few
    classifier = make_classifier(Backbone(small_network))
    search = GridSearchCV(classifier, {"class_weight": [None, "balanced"]}, cv=3).fit(X, y)
    assert small_network.rows_seen == len(np.unique(X, axis=0))
    assert search.best_score_ > 0.2


def test_auto_is_guarded_by_held_out_loss(backbone, few):
    X, y = few
    classifier = make_classifier(backbone, strategy="auto", backbone_lr=10.0, max_epochs=3)
    classifier.fit(X, y)
    assert classifier.alpha_ == 0
    assert not any(name.startswith("fine_tune") for name in classifier.weights_)
    assert classifier.oof_loss_["frozen"] < classifier.oof_loss_["fine_tune:random"]


def test_auto_fine_tunes_where_that_is_held_out_better(backbone, digits):
    X, y = digits[0][:150], digits[1][:150]
    classifier = make_classifier(backbone, strategy="auto", backbone_lr=1e-3, max_epochs=15)
    classifier.fit(X, y)
    assert classifier.alpha_ > 0
    assert sum(classifier.weights_.values()) == pytest.approx(1)
    assert classifier.oof_loss_["average"] < classifier.oof_loss_["frozen"]
    tuned = [weight for name, weight in classifier.weights_.items() if "fine_tune" in name]
    assert classifier.alpha_ == pytest.approx(sum(tuned))


@pytest.mark.parametrize("labels", ["int", "str", "object", "bool", "gap"])
def test_labels_of_any_kind(backbone, few, labels):
    X, y = few
    y = {
        "int": y % 3,
        "str": np.array(["a", "b", "c"])[y % 3],
        "object": np.array(["a", "b", "c"], dtype=object)[y % 3],
        "bool": y % 2 == 0,
        "gap": np.array([3, 5, -7])[y % 3],
    }[labels]
    classifier = make_classifier(backbone).fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    assert set(classifier.predict(X)) <= set(y)


def test_two_classes_have_one_decision_value(backbone, few):
    X, y = few
    classifier = make_classifier(backbone).fit(X, y > 4)
    decision = classifier.decision_function(X)
    assert decision.shape == (60,)
    np.testing.assert_array_equal(decision > 0, classifier.predict(X))


def test_classes_with_one_row_and_odd_numbers_of_rows(backbone, digits):
    X, y = digits
    for n_rows in (10, 11, 17):
        for strategy in STRATEGIES:
            classifier = make_classifier(backbone, strategy=strategy, batch_size=8)
            assert classifier.fit(X[:n_rows], y[:n_rows]).predict(X).shape == (400,)


def test_weights_of_rows_and_classes(backbone, few):
    X, y = few
    binary = (y > 7).astype(int)
    plain = make_classifier(backbone).fit(X, binary)
    ones = make_classifier(backbone).fit(X, binary, sample_weight=np.ones(60))
    np.testing.assert_array_equal(plain.predict_proba(X), ones.predict_proba(X))
    balanced = make_classifier(backbone, class_weight="balanced").fit(X, binary)
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    tuned = make_classifier(backbone, strategy="fine_tune", max_epochs=5)
    heavy = clone(tuned).fit(X, binary, sample_weight=np.where(binary, 20.0, 1.0))
    assert heavy.predict_proba(X)[:, 1].mean() > tuned.fit(X, binary).predict_proba(X)[:, 1].mean()


def test_frames_with_image_shape_and_set_output(backbone, few):
    X, y = few
    frame = pd.DataFrame(X.reshape(60, 64), columns=[f"pixel{i}" for i in range(64)])
    classifier = make_classifier(backbone, image_shape=(8, 8)).set_output(transform="pandas")
    features = classifier.fit(frame, y).transform(frame)
    assert features.shape == (60, 32)
    assert features.columns[0] == "backbone_0"
    np.testing.assert_allclose(
        classifier.predict_proba(frame), make_classifier(backbone).fit(X, y).predict_proba(X)
    )


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
def test_pickle_and_clone(backbone, few, strategy):
    X, y = few
    classifier = make_classifier(backbone, strategy=strategy).fit(X, y)
    restored = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(restored.predict_proba(X), classifier.predict_proba(X))
    np.testing.assert_array_equal(restored.transform(X), classifier.transform(X))
    assert clone(classifier).backbone is backbone


def test_grid_search_in_two_processes(backbone, few):
    classifier = make_classifier(backbone, strategy="fine_tune", n_threads=1)
    grid = {"head_lr": [1e-3, 1e-2], "hidden_layer_sizes": [(), (8,)]}
    serial = GridSearchCV(classifier, grid, cv=2).fit(*few)
    parallel = GridSearchCV(classifier, grid, cv=2, n_jobs=2).fit(*few)
    np.testing.assert_array_equal(
        serial.cv_results_["mean_test_score"], parallel.cv_results_["mean_test_score"]
    )


def test_the_next_transfer(backbone, few):
    X, y = few
    first = make_classifier(backbone, strategy="fine_tune", hidden_layer_sizes=(12,)).fit(X, y)
    second = make_classifier(first).fit(X, y > 4)
    assert second.transform(X).shape == (60, 12)
    third = clone(make_classifier(second, strategy="fine_tune")).fit(X, y)
    assert third.score(X, y) > 0.3


def test_without_a_backbone_it_is_a_network_on_the_input(few):
    X, y = few
    classifier = make_classifier(None, strategy="auto").fit(X.reshape(60, 64), y)
    assert classifier.strategy_ == "frozen"
    assert classifier.score(X.reshape(60, 64), y) > 0.9
    images = make_classifier(None, hidden_layer_sizes=(32,), max_epochs=50).fit(X, y)
    assert images.score(X, y) > 0.9


def test_random_heads_start_elsewhere(backbone, few):
    X, y = few
    classifier = make_classifier(
        backbone, strategy="fine_tune", head_init="random", head_lr=1e-9, backbone_lr=1e-9
    ).fit(X, y)
    assert classifier.score(X, y) < 0.5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"strategy": "finetune"}, "Got strategy='finetune'.*Did you mean 'fine_tune'"),
        ({"head_lr": -1e-3}, "Got head_lr=-0.001, but expected a number > 0"),
        ({"head_lr": 0}, "Got head_lr=0"),
        ({"backbone_lr": -1}, "Got backbone_lr=-1, but expected a number >= 0"),
        ({"backbone_lr": np.nan}, "Got backbone_lr=nan"),
        ({"weight_decay": -1.0}, "Got weight_decay"),
        ({"dropout": 1.5}, "Got dropout=1.5, but expected a number >= 0 and <= 1"),
        ({"hidden_layer_sizes": (0,)}, r"Got hidden_layer_sizes\[0\]=0"),
        ({"max_epochs": 0}, "Got max_epochs=0"),
        ({"batch_size": 0}, "Got batch_size=0"),
        ({"head_init": "zeros"}, "Got head_init='zeros'"),
        ({"image_shape": (7, 9)}, r"63 pixels, but X has 64 columns"),
        ({"backbone": "glyph"}, "Got backbone='glyph'"),
        ({"device": "tpu9"}, "Got device='tpu9'"),
        ({"n_threads": 0}, "Got n_threads=0"),
        ({"class_weight": "equal"}, "Got class_weight='equal', but expected 'balanced'"),
        ({"class_weight": {0: -1}}, r"Got class_weight\[0\]=-1"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, "every row without weight"),
        ({"class_weight": {99: 1}}, r"Got class_weight={99: 1}, which weighs \[99\], but"),
    ],
)
def test_wrong_parameters(backbone, few, parameters, message):
    X, y = few
    classifier = make_classifier(backbone, image_shape=(8, 8)).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        classifier.fit(X.reshape(60, 64), y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"head_lr": "1e-3"},
        {"max_epochs": 2.5},
        {"hidden_layer_sizes": 64},
        {"callbacks": "early"},
        {"callbacks": [3]},
    ],
)
def test_parameters_of_wrong_type(few, parameters):
    (name,) = parameters
    with pytest.raises(TypeError, match=f"Got {name}="):
        make_classifier("glyphs", **parameters).fit(*few)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 8, 8)), [1, 1, 1, 1], "Got y with one class, .*1"),
        (np.zeros((4, 8, 8)), [0, 1, 0], "inconsistent numbers of samples"),
        (np.zeros((4, 8, 8)), [0, 1, 0, np.nan], "Got y with 1 missing"),
        (
            np.zeros((4, 8, 8)),
            np.array(["a", "b", None, "a"], dtype=object),
            "Got y with 1 missing",
        ),
        (np.zeros((4, 8, 8)), pd.Series(["a", "b", pd.NA, "a"], dtype="string"), "1 missing"),
        (np.zeros((4, 8, 8)), [0.5, 1.5, 0.1, 0.2], "Unknown label type"),
        (np.zeros((4, 8, 8)), np.array([0, "a", "b", 1], dtype=object), "types int, str"),
        ([np.zeros((8, 8)), np.zeros((8, 9))], [0, 1], "one shape"),
        (torch.zeros(4, 8, 8, requires_grad=True), [0, 1, 0, 1], r"X\.detach\(\)"),
        (np.zeros((0, 8, 8)), [], "0 sample"),
        (np.full((4, 8, 8), np.nan), [0, 1, 0, 1], "contains NaN"),
    ],
)
def test_wrong_rows_and_labels(X, y, message):
    with pytest.raises(ValueError, match=message):
        make_classifier("glyphs").fit(X, y)


def test_nothing_is_fitted_after_an_error(backbone, few):
    classifier = make_classifier(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="the network of .*Linear"):
        classifier.fit(few[0].reshape(60, 64), few[1])
    with pytest.raises(Exception, match="not fitted"):
        classifier.predict(few[0].reshape(60, 64))


def test_a_failed_or_interrupted_fit_leaves_the_last_one_whole(backbone, few):
    X, y = few
    classifier = make_classifier(backbone).fit(X, y)
    proba = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="one class"):
        classifier.fit(X[:, :6], 0 * y)
    np.testing.assert_array_equal(classifier.predict_proba(X), proba)


def test_rows_of_weight_zero_might_as_well_be_left_out(backbone, few):
    X, y = few
    weight = (np.arange(60) < 40).astype(float)
    for strategy in ("frozen", "fine_tune"):
        classifier = make_classifier(backbone, strategy=strategy)
        weighted = clone(classifier).fit(X, y, sample_weight=weight).predict_proba(X)
        left_out = clone(classifier).fit(X[:40], y[:40]).predict_proba(X)
        np.testing.assert_array_equal(weighted, left_out)


def test_a_refit_on_its_own_backbone_is_a_transfer_like_any_other(backbone, few):
    X, y = few
    own = make_classifier(backbone, strategy="fine_tune", hidden_layer_sizes=(8,)).fit(X, y)
    other = make_classifier(own.backbone_).fit(X, y)
    own.set_params(backbone=own.backbone_, strategy="frozen", hidden_layer_sizes=()).fit(X, y)
    np.testing.assert_array_equal(own.predict_proba(X), other.predict_proba(X))


@pytest.mark.filterwarnings("error::sktransfer.NegativeTransferWarning")
def test_auto_warns_where_the_input_alone_is_better(backbone, digits):
    X, y = digits[0][:150], digits[1][:150]
    with pytest.warns(NegativeTransferWarning, match=r"Transfer loses: .*input alone \(gain"):
        classifier = make_classifier(backbone, strategy="auto").fit(X, y)
    gain = classifier.transfer_gain_["no_transfer"]
    assert gain.mean < -gain.standard_error < 0
    assert classifier.weights_["no_transfer"] > 0.5
    useful = make_classifier("glyphs", strategy="auto").fit(X, y)
    for gain in useful.transfer_gain_.values():
        assert gain.mean > gain.standard_error > 0


def test_bytes_and_other_numbers_are_not_mixed_up(backbone, few):
    X, y = few
    classifier = make_classifier(backbone).fit(X.astype(np.uint8), y)
    with pytest.raises(ValueError, match="float64, but .* fitted on images of dtype uint8"):
        classifier.predict(X)


def test_early_stopping_of_skorch(backbone, few):
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    classifier = make_classifier(
        backbone, strategy="fine_tune", max_epochs=20, callbacks=[stopping]
    )
    assert len(classifier.fit(*few).history_) < 20


def test_a_head_that_a_softmax_follows_stays_out_of_fine_tuning(few):
    X, y = few
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 3))
    network.append(nn.Softmax(dim=1))
    classifier = make_classifier(network, strategy="fine_tune").fit(X, y)
    assert classifier.transform(X).shape == (60, 16)
    frozen = [g for g in classifier.param_groups_ if g["lr"] == 0]
    assert [name.split(".")[-2] for g in frozen for name in g["parameter_names"]] == ["3", "3"]


def test_copies_of_noise_are_no_evidence(backbone, digits):
    X = digits[0][:40]
    y = np.random.default_rng(0).integers(0, 2, size=40)
    rows = np.repeat(np.arange(40), 3)
    classifier = make_classifier(backbone, strategy="auto").fit(X[rows], y[rows])
    assert classifier.oof_loss_["average"] > 0.6


@pytest.mark.parametrize(
    ("first", "second"), [({}, {"hidden_layer_sizes": (4,)}), ({}, {"backbone": nn.Flatten()})]
)
def test_a_warm_start_goes_on_with_the_same_network_only(backbone, few, first, second):
    classifier = make_classifier(backbone, strategy="fine_tune", warm_start=True, **first)
    classifier.fit(*few).set_params(**second)
    with pytest.raises(ValueError, match="Got warm_start=True with backbone="):
        classifier.fit(*few)


def test_a_warm_start_after_no_transfer_begins_anew(backbone, digits):
    X, y = digits[0][:150], digits[1][:150]
    classifier = make_classifier(backbone, strategy="auto", warm_start=True).fit(X, y)
    assert classifier.weights_["no_transfer"] > 0.5
    assert classifier.set_params(strategy="fine_tune").fit(X, y).strategy_ == "fine_tune"


def test_where_transfer_is_of_no_use_the_next_transfer_gets_the_backbone_itself(digits):
    X, y = digits[0][:150], digits[1][:150]
    blind = Backbone(nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Linear(2, 2)))
    with pytest.warns(NegativeTransferWarning):
        classifier = make_classifier(blind, strategy="auto").fit(X, y)
    assert classifier.strategy_ == "no_transfer"
    assert classifier.backbone_ is blind


def test_numbers_and_answers_of_numpy_are_numbers_and_answers(backbone, few):
    grid = {"batch_size": np.array([8, 16]), "freeze_norm": np.array([True, False])}
    search = GridSearchCV(make_classifier(backbone, strategy="fine_tune"), grid, cv=2)
    assert np.isfinite(search.fit(*few).cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_that_a_network_does_not_take_are_shown(few, strategy):
    classifier = make_classifier(nn.Sequential(nn.Linear(64, 8), nn.ReLU()), strategy=strategy)
    with pytest.raises(ValueError, match=r"rows of shape \(8, 8\), which reached the network"):
        classifier.fit(*few)


def test_a_source_head_that_is_left_out_may_hold_anything(small_network, few):
    small_network.fc.weight.data.fill_(float("nan"))
    classifier = make_classifier(small_network, strategy="fine_tune").fit(*few)
    assert np.isfinite(classifier.predict_proba(few[0])).all()


def test_a_backbone_of_which_nothing_is_left_has_no_fine_tuned_candidates(few):
    X, y = few
    classifier = make_classifier(nn.Linear(64, 8), strategy="auto").fit(X.reshape(60, 64), y)
    assert not any(name.startswith("fine_tune") for name in classifier.oof_loss_)


def test_a_folder_that_cannot_be_is_an_error(backbone, few, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", 3):
        with pytest.raises(ValueError, match="Got checkpoint_dir=.* expected the path of a folder"):
            make_classifier(backbone, checkpoint_dir=folder).fit(*few)


# torch warns that the new one is better.
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_weights_that_a_network_computes_from_others(few, strategy):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.utils.weight_norm(nn.Linear(64, 8)), nn.ReLU(), nn.Linear(8, 3)]
    network = nn.Sequential(nn.Flatten(), *layers)
    # As after a training step: torch does not copy such a network by itself.
    network(torch.zeros(2, 64))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)
        classifier = make_classifier(network, strategy=strategy, max_epochs=2).fit(*few)
    assert np.isfinite(classifier.predict_proba(few[0])).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
