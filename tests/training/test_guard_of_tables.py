"""What the guard chooses from where the backbone takes tables."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from sktransfer import (
    NegativeTransferWarning,
    ParameterTransferClassifier,
    ParameterTransferRegressor,
    load_backbone,
    pretrain_backbone,
)

pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make_rows(n, seed):
    """Rows whose score is hidden from a linear model, in two of six columns."""
    X = np.random.default_rng(seed).normal(size=(n, 6))
    score = X[:, 0] * X[:, 1]
    frame = pd.DataFrame(X, columns=list("abcdef"))
    return frame.assign(word=np.where(X[:, 2] > 0, "yes", "no")), score


@pytest.fixture(scope="module")
def backbone():
    X, score = make_rows(800, seed=0)
    return pretrain_backbone(
        X, np.where(score > 0, "up", "down"), max_epochs=25, n_threads=1, random_state=0
    )


def fit(backbone, n, label, seed=1):
    X, score = make_rows(n, seed)
    return ParameterTransferClassifier(backbone, max_epochs=2, n_threads=1, random_state=0).fit(
        X, label(score)
    )


def as_source(score):
    return np.where(score > 0, "up", "down")


def test_the_head_of_the_source_carries_few_rows_of_the_same_label(backbone):
    classifier = fit(backbone, 12, as_source)
    assert classifier.weights_["frozen:source_head"] == max(classifier.weights_.values())
    X, score = make_rows(500, seed=2)
    alone = ParameterTransferClassifier(None, n_threads=1).fit(
        make_rows(12, 1)[0].drop(columns="word"), as_source(make_rows(12, 1)[1])
    )
    assert classifier.score(X, as_source(score)) > 0.75
    assert alone.score(X.drop(columns="word"), as_source(score)) < 0.65


def test_there_is_no_head_of_the_source_for_other_classes(backbone):
    classifier = fit(backbone, 30, lambda score: score > 0)
    assert "frozen:source_head" not in classifier.oof_loss_
    assert {"no_transfer", "frozen", "frozen:beside_input"} <= set(classifier.oof_loss_)


def test_many_rows_that_say_the_opposite_take_the_weight_from_the_source(backbone):
    classifier = fit(backbone, 200, lambda score: np.where(score > 0, "down", "up"))
    assert "frozen:source_head" not in classifier.weights_


def test_a_label_of_the_input_alone_is_left_to_linear_models_of_the_input(backbone):
    X, _ = make_rows(150, seed=1)
    X_test, _ = make_rows(500, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NegativeTransferWarning)
        classifier = ParameterTransferClassifier(
            backbone, max_epochs=2, n_threads=1, random_state=0
        ).fit(X, X["f"] > 0)
    weights = classifier.weights_
    assert weights.get("no_transfer", 0) + weights.get("frozen:beside_input", 0) > 0.6
    assert classifier.score(X_test, X_test["f"] > 0) > 0.9


def test_what_comes_of_it_is_one_network_and_a_backbone_that_can_be_saved(backbone, tmp_path):
    X, _ = make_rows(60, seed=1)
    classifier = fit(backbone, 60, lambda score: score > 0.3)
    encoded = torch.from_numpy(backbone.input.prepare(X))
    with torch.no_grad():
        outputs = classifier.module_(encoded).softmax(1).numpy()
    np.testing.assert_allclose(outputs, classifier.predict_proba(X), atol=1e-5)
    classifier.backbone_.save(tmp_path / "next.safetensors")
    assert load_backbone(tmp_path / "next.safetensors") == classifier.backbone_
    assert classifier.param_groups_


def test_numbers_have_the_same_candidates(backbone):
    X, score = make_rows(40, seed=1)
    regressor = ParameterTransferRegressor(backbone, max_epochs=2, n_threads=1, random_state=0).fit(
        X, score
    )
    assert "frozen:beside_input" in regressor.oof_loss_
    assert "fine_tune:random" not in regressor.oof_loss_
