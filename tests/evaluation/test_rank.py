import warnings

import numpy as np
import pytest
from torch import nn

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    load_backbone,
    rank_backbones,
    rank_layers,
    transferability_score,
)
from sktransfer.backbones import clear_row_cache
from sktransfer.evaluation import KNNProbe

ALL = ["knn", "ridge", "logme", "hscore", "leep", "nce"]
# To find "all" layers sends a handful of rows.
HANDFUL = 6


@pytest.fixture
def rows(digits):
    return digits[0][:100], digits[1][:100]


def test_each_row_goes_through_the_network_once(small_network, rows):
    ranking = rank_layers(Backbone(small_network), *rows, method=ALL)
    assert 100 <= small_network.rows_seen <= 100 + HANDFUL
    assert len(ranking.table) >= 2
    assert np.isfinite(ranking.table[ALL].to_numpy(float)).all()
    sent = small_network.rows_seen
    rank_backbones([Backbone(small_network)], *rows, method="ridge")
    assert small_network.rows_seen == sent


def test_also_without_the_row_cache(small_network, rows):
    rank_backbones([Backbone(small_network)], *rows, method=ALL, cache=False)
    # The width of the features comes from a row.
    assert small_network.rows_seen <= 100 + HANDFUL


def test_scores_are_those_of_the_features(small_network, rows):
    backbone = Backbone(small_network)
    table = rank_layers(backbone, *rows, method=["ridge", "leep"]).table.set_index("layer")
    for layer in table.index:
        F = FeatureTransferTransformer(backbone, layers=layer).fit_transform(rows[0])
        assert table.loc[layer, "n_features"] == F.shape[1]
        assert table.loc[layer, "ridge"] == transferability_score(F, rows[1], method="ridge")
    proba = FeatureTransferTransformer(backbone, output="proba").fit_transform(rows[0])
    expected = transferability_score(proba, rows[1], method="leep")
    assert table["leep"].tolist() == pytest.approx([expected] * len(table))


def test_what_was_trained_on_letters_is_better_for_digits_than_what_was_not(rows):
    backbones = {
        "pixels": None,
        "random": load_backbone("glyphs", pretrained=False),
        "letters": "glyphs",
    }
    ranking = rank_backbones(backbones, *rows)
    assert ranking.best_backbone == "letters"
    assert ranking.best_score == ranking.table["knn"].max()
    assert ranking.table["knn"].is_monotonic_decreasing
    assert ranking.chance == np.bincount(rows[1]).max() / 100
    # Far ahead, by more than the error of the difference.
    assert ranking.table["near_best"].tolist() == [True, False, False]


def test_candidates_that_are_equal_are_all_near_the_best(rows):
    table = rank_backbones({"a": "glyphs", "b": load_backbone("glyphs")}, *rows).table
    assert table["near_best"].all()
    assert table["standard_error"].nunique() == 1


def test_numbers(small_network, rows):
    y = rows[0].mean(axis=(1, 2))
    ranking = rank_layers(Backbone(small_network), rows[0], y, method=["ridge", "knn"])
    assert ranking.chance == 0
    assert ranking.best_score > 0.5
    assert "near_best" not in ranking.table


def test_names(rows):
    X, y = rows
    ranking = rank_backbones(["glyphs", load_backbone("glyphs"), None], X, y)
    assert set(ranking.table["backbone"]) == {"glyphs", "glyphs (2)", "input"}


def test_layers_of_several_networks_compete(rows):
    random = load_backbone("glyphs", pretrained=False)
    backbones = {"letters": "glyphs", "random": random, "pixels": None}
    table = rank_backbones(backbones, *rows, layers=["stem", "penultimate"]).table
    # The input has no layers, whatever those of the others are called.
    assert table["backbone"].value_counts().to_dict() == {"letters": 2, "random": 2, "pixels": 1}
    assert tuple(table.loc[0, ["backbone", "layer"]]) == ("letters", "penultimate")


def test_columns_that_form_images(rows):
    flat = rows[0].reshape(100, 64)
    expected = rank_backbones(["glyphs"], *rows).best_score
    assert rank_backbones(["glyphs"], flat, rows[1], image_shape=(8, 8)).best_score == expected


class Broken(nn.Module):
    def forward(self, inputs):
        raise RuntimeError("out of order")


def test_a_backbone_that_fails_does_not_lose_the_others(rows):
    with pytest.warns(UserWarning, match="broken is not scored.*out of order"):
        ranking = rank_backbones({"broken": Backbone(Broken()), "glyphs": "glyphs"}, *rows)
    assert ranking.best_backbone == "glyphs"
    assert "out of order" in ranking.failures["broken"]
    assert ranking.table["knn"].isna().tolist() == [False, True]
    assert "out of order" in repr(ranking)


def test_a_network_without_a_head_is_scored_by_the_other_methods(rows):
    with pytest.warns(UserWarning, match="glyphs by leep is not scored"):
        ranking = rank_backbones(["glyphs"], *rows, method=["knn", "leep"])
    assert np.isnan(ranking.table["leep"][0])
    assert ranking.best_score > 0.5


def test_if_all_fail_it_is_an_error(rows):
    with pytest.raises(ValueError, match="nothing could be scored.*out of order"):
        rank_backbones({"broken": Backbone(Broken())}, *rows)
    with pytest.raises(ValueError, match="nothing could be scored"):
        rank_backbones(["glyphs"], *rows, method="leep")


def test_interrupts_propagate(rows):
    class Interrupting(nn.Module):
        def forward(self, inputs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank_backbones([Backbone(Interrupting()), "glyphs"], *rows)


def test_wrong_arguments(rows):
    X, y = rows
    with pytest.raises(TypeError, match="a dict from names"):
        rank_backbones("glyphs", X, y)
    with pytest.raises(ValueError, match="at least one"):
        rank_backbones([], X, y)
    with pytest.raises(ValueError, match="Did you mean 'ridge'"):
        rank_backbones(["glyphs"], X, y, method="ridg")
    with pytest.raises(ValueError, match="inconsistent"):
        rank_backbones(["glyphs"], X, y[:-1])
    with pytest.raises(TypeError, match="use rank_backbones"):
        rank_layers(["glyphs"], X, y)


def test_what_was_passed_is_not_changed(small_network, rows, tensors_of):
    before = tensors_of(small_network)
    X = rows[0].copy()
    clear_row_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank_layers(small_network, *rows, method=KNNProbe(3))
    assert tensors_of(small_network) == before
    np.testing.assert_array_equal(rows[0], X)
