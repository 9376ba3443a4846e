"""What users met who combined sources, outputs and containers."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from torch import nn

from sktransfer import Backbone, FeatureTransferTransformer, RowCacheWarning
from sktransfer.backbones import NetworkInput

X = np.random.default_rng(0).normal(size=(60, 4))
LABELS = np.c_[X[:, 0] > 0, X[:, 1] > 0.5].astype(int)


def make_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier((4,), max_iter=20, random_state=0),
        OneVsRestClassifier(RandomForestClassifier(5, max_depth=2, random_state=0)),
    ],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_labels_that_do_not_exclude_each_other_have_their_own_log_odds(estimator):
    fitted = FrozenEstimator(estimator.fit(X, LABELS))
    logits = FeatureTransferTransformer(fitted, output="logits").fit_transform(X)
    proba = fitted.predict_proba(X).clip(1e-4, 1 - 1e-4)
    np.testing.assert_allclose(logits, logit(proba), atol=1e-3)


def test_a_network_that_normalises_by_the_batch_takes_rows_together():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.ReLU(), nn.Linear(6, 3)
    )
    with pytest.warns(RowCacheWarning, match="track_running_stats=False"):
        features = FeatureTransferTransformer(network, cache=True).fit_transform(X)
    with torch.no_grad():
        expected = network[:3](torch.tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


class InDouble(nn.Sequential):
    def forward(self, x):
        return super().forward(x).double().softmax(-1)


def test_networks_may_answer_in_another_precision():
    network = make_network()
    features = FeatureTransferTransformer(InDouble(*network)).fit_transform(X)
    with torch.no_grad():
        expected = network[:2](torch.tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_columns_of_text_do_not_count_for_the_size_of_the_input():
    numbers = (X - X.mean(0)) / X.std(0)
    frame = pd.DataFrame(numbers, columns=list("abcd")).assign(e="text", f="more", g="yet more")

    class Numbers(BaseEstimator):
        """A fitted model that looks at the numbers alone."""

        def __sklearn_is_fitted__(self):
            return True

        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X[list("abcd")].to_numpy() * 3

    mixed = FeatureTransferTransformer(FrozenEstimator(Numbers()), mode="concat").fit(frame)
    np.testing.assert_allclose(mixed.block_scales_, [1, 3], rtol=1e-6)


def test_columns_are_named_after_the_classes_of_the_network():
    def name(output, **options):
        transformer = FeatureTransferTransformer(Backbone(make_network(), **options), output=output)
        return transformer.fit(X).get_feature_names_out().tolist()

    assert name("proba", classes=["ant", "bee", "cat"]) == ["proba_ant", "proba_bee", "proba_cat"]
    assert name("logits", classes=[3, 5, 7]) == ["logit_3", "logit_5", "logit_7"]
    assert name("proba") == ["proba_0", "proba_1", "proba_2"]


def test_autocast_of_the_caller_does_not_change_what_is_kept():
    network = make_network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept = FeatureTransferTransformer(network, cache=True).fit_transform(X)
    expected = FeatureTransferTransformer(network, cache=False).fit_transform(X)
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)


def test_bytes_among_floats_stay_bytes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone(network, input=NetworkInput(channels=3))
    photo = np.random.default_rng(0).integers(0, 255, (9, 8, 3), dtype=np.uint8)
    transformer = FeatureTransferTransformer(backbone)
    alone = transformer.fit_transform([photo])
    beside = transformer.fit_transform([photo, np.zeros((9, 8, 3), dtype=np.float32)])
    np.testing.assert_allclose(beside[:1], alone, atol=1e-6)


def test_a_file_does_not_replace_the_rows_that_it_is_made_of(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    rows = np.load(path, mmap_mode="r")
    transformer = FeatureTransferTransformer(make_network()).fit(rows)
    with pytest.raises(ValueError, match="which is the file that X is mapped to"):
        transformer.transform_to_file(rows, path)
    np.testing.assert_array_equal(np.load(path), X)
