"""What one grid search over everything sends through the network."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sktransfer import Backbone, FeatureTransferTransformer, load_backbone


@pytest.fixture
def search_over(small_network, digits):
    def run(grid, **parameters):
        transformer = FeatureTransferTransformer(Backbone(small_network), **parameters)
        pipeline = make_pipeline(transformer, LogisticRegression(max_iter=9999))
        grid = {f"featuretransfertransformer__{name}": values for name, values in grid.items()}
        search = GridSearchCV(pipeline, grid, cv=3, error_score="raise")
        return search.fit(digits[0][:60], digits[1][:60])

    return run


def test_each_row_is_sent_once_per_set_of_layers(search_over, small_network):
    search_over({"layers": ["penultimate", ["conv", "norm"]], "mode": ["replace", "concat"]})
    assert small_network.rows_seen == 2 * 60


def test_single_layers_come_from_the_pass_of_all(search_over, small_network):
    search_over({"layers": [["conv", "norm", "penultimate"], "conv", "norm", "penultimate"]})
    assert small_network.rows_seen == 60


def test_all_layers_take_a_handful_more_to_be_found(search_over, small_network):
    search_over({"layers": ["all", "conv", "penultimate"]})
    assert 60 <= small_network.rows_seen <= 66


def test_each_pooling_is_a_pass(search_over, small_network):
    search = search_over(
        {"pooling": ["avg", "max", "gem", "flatten"], "mode": ["replace", "concat"]}, layers="norm"
    )
    assert small_network.rows_seen == 4 * 60
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_backbones_and_estimators_compete(search_over, digits):
    source = LogisticRegression(max_iter=9999).fit(
        digits[0][100:].reshape(300, 64), digits[1][100:]
    )
    # Rows of a table for both.
    X, y = digits[0][:60].reshape(60, 64), digits[1][:60]
    pipeline = make_pipeline(FeatureTransferTransformer(), LogisticRegression(max_iter=9999))
    name = "featuretransfertransformer__"
    grid = [
        {f"{name}backbone": [None, load_backbone("glyphs")], f"{name}image_shape": [(8, 8)]},
        {f"{name}backbone": [FrozenEstimator(source)], f"{name}output": ["logits", "proba"]},
    ]
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > search.cv_results_["mean_test_score"][0]
