import pickle

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    transferability_score,
    transferability_scorer,
)
from sktransfer.evaluation import KNNProbe


def test_searches_over_layers_with_one_pass(small_network, digits):
    images, y = digits[0][:60], digits[1][:60]
    rows = np.arange(60)
    layers = [["conv", "norm", "penultimate"], "conv", "penultimate"]
    search = GridSearchCV(
        FeatureTransferTransformer(Backbone(small_network)),
        {"layers": layers},
        scoring=transferability_scorer("ridge"),
        cv=[(rows, rows)],
        error_score="raise",
    ).fit(images, y)
    assert small_network.rows_seen == 60
    expected = [
        transferability_score(
            FeatureTransferTransformer(Backbone(small_network), layers=names).fit_transform(images),
            y,
            method="ridge",
        )
        for names in layers
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)


def test_of_a_pipeline_the_features_before_its_last_step_are_scored(digits):
    X, y = digits[0][:80].reshape(80, 64), digits[1][:80]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y)
    expected = transferability_score(StandardScaler().fit_transform(X), y)
    assert transferability_scorer()(pipeline, X, y) == expected


def test_in_cross_validation_and_with_several_scores(digits):
    X, y = digits[0].reshape(400, 64), digits[1]
    scores = cross_val_score(StandardScaler(), X, y, cv=3, scoring=transferability_scorer("logme"))
    assert np.isfinite(scores).all()
    scorers = {"three": transferability_scorer(KNNProbe(3)), "h": transferability_scorer("hscore")}
    search = GridSearchCV(
        StandardScaler(), {"with_std": [True, False]}, scoring=scorers, refit="three", cv=3
    ).fit(X, y)
    assert search.cv_results_["mean_test_h"].shape == (2,)


def test_in_other_processes(digits):
    X, y = digits[0].reshape(400, 64), digits[1]
    scorer = transferability_scorer(KNNProbe(3))
    copy = pickle.loads(pickle.dumps(scorer))
    scaler = StandardScaler().fit(X)
    assert copy(scaler, X, y) == scorer(scaler, X, y)


def test_probabilities_of_the_head(small_network, digits):
    images, y = digits[0][:60], digits[1][:60]
    transformer = FeatureTransferTransformer(Backbone(small_network), output="proba").fit(images)
    assert transferability_scorer("leep")(transformer, images, y) < 0


def test_estimators_without_features_are_refused(digits):
    X, y = digits[0].reshape(400, 64), digits[1]
    classifier = LogisticRegression(max_iter=500).fit(X, y)
    with pytest.raises(TypeError, match="with transform"):
        transferability_scorer()(classifier, X, y)


def test_unknown_methods_are_refused_at_once():
    with pytest.raises(ValueError, match="method='kn'"):
        transferability_scorer("kn")
