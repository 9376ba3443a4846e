"""What the base of all weightings does: normalising, clipping, backbones and labels."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from torch import nn

from sktransfer import Backbone
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import BaseWeighting
from sktransfer.instance._base import normalize_log_weights


class GivenWeighting(BaseWeighting):
    """Give the first column of the source as log weights."""

    def _compute_log_weights(self, X_source, X_target):
        return X_source[:, 0]


@pytest.mark.parametrize("clip", [None, 1, 1.5, 3, 10, 1000])
@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 50.0])
def test_clip_and_mean_hold_together(clip, scale):
    log_weights = scale * np.random.default_rng(0).normal(size=200) + 700
    weights = normalize_log_weights(log_weights, clip)
    assert weights.mean() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(log_weights)]) >= 0).all()
    n_positive = np.count_nonzero(weights)
    if clip is not None and n_positive * clip >= 200:
        assert weights.max() <= clip * (1 + 1e-9)
        below = (weights < weights.max() * (1 - 1e-9)) & (weights > 1e-200)
        if below.sum() > 1:  # unclipped weights keep their ratios
            shift = np.log(weights[below]) - log_weights[below]
            np.testing.assert_allclose(shift, shift[0], atol=1e-6)


def test_too_few_weights_for_the_clip_are_equal():
    weights = normalize_log_weights(np.array([0.0, 1.0, -np.inf, -np.inf, -np.inf, -np.inf]), 2)
    np.testing.assert_array_equal(weights, [3, 3, 0, 0, 0, 0])


def test_no_weight_at_all_gives_equal_weights():
    np.testing.assert_array_equal(normalize_log_weights(np.full(3, -np.inf)), np.ones(3))


def test_few_effective_rows_warn_with_the_numbers():
    X = np.zeros((100, 1))
    X[0] = 20.0
    weighting = GivenWeighting()
    with pytest.warns(LowOverlapWarning, match="effective sample size is 1.0 of 100.*carries 100%"):
        weighting.compute_weights(X, X)
    assert weighting.max_share_ == pytest.approx(1, abs=1e-6)
    assert weighting.domain_auc_ is None


class ComparingWeighting(GivenWeighting):
    """Weights that mean nothing where the rows do not overlap."""

    _compares_rows = True


def test_methods_that_compare_rows_warn_where_these_do_not_overlap():
    rng = np.random.default_rng(0)
    X_source, X_target = 0.1 * rng.normal(size=(40, 2)), 9 + rng.normal(size=(30, 2))
    GivenWeighting().compute_weights(X_source, X_target)
    weighting = ComparingWeighting()
    with pytest.warns(LowOverlapWarning, match=r"\(AUC 1\.000\).*preprocessing that differs"):
        weighting.compute_weights(X_source, X_target)
    weighting.compute_weights(X_source, X_source)
    assert weighting.domain_auc_ == pytest.approx(0.5, abs=0.1)
    weighting.compute_weights(X_source, X_target[:5])  # too few to tell
    assert weighting.domain_auc_ is None


class RememberingWeighting(BaseWeighting):
    """Keep what reaches the method."""

    def _compute_log_weights(self, X_source, X_target):
        self.seen_ = X_source, X_target
        return np.zeros(len(X_source))


def test_rows_are_replaced_by_the_activations_of_the_backbone(small_network, digits):
    images, _ = digits
    weighting = RememberingWeighting(backbone=small_network)
    weighting.compute_weights(images[:40], images[40:70])
    source, target = weighting.seen_
    assert source.shape == (40, 32) and target.shape == (30, 32)
    assert source.dtype == target.dtype == np.float64
    assert small_network.rows_seen == 70
    # Again, with a clone and in another order: each distinct row went through once.
    again = clone(weighting)
    again.compute_weights(images[30:70], images[:40])
    assert small_network.rows_seen == 70
    np.testing.assert_array_equal(again.seen_[0][:10], source[30:])


def test_clones_share_the_backbone(small_network, tensors_of):
    before = tensors_of(small_network)
    weighting = RememberingWeighting(backbone=small_network)
    assert clone(weighting).backbone is small_network
    weighting.compute_weights(np.zeros((3, 8, 8)), np.ones((2, 8, 8)))
    assert tensors_of(small_network) == before
    assert weighting.get_params()["backbone"] is small_network


def test_forms_of_backbones(tmp_path):
    rows = np.random.default_rng(0).normal(size=(7, 3))
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    backbone = Backbone(module)
    backbone.save(tmp_path / "net.safetensors")
    seen = []
    for form in (module, backbone, tmp_path / "net.safetensors"):
        weighting = RememberingWeighting(backbone=form)
        weighting.compute_weights(pd.DataFrame(rows), pd.DataFrame(rows[:2]))
        seen.append(weighting.seen_[0])
    expected = np.maximum(
        rows @ module[0].weight.detach().numpy().T + module[0].bias.detach().numpy(), 0
    )
    for activations in seen:
        np.testing.assert_allclose(activations, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[1.0, np.nan]]), "X_source that the network of backbone='glyphs' cannot read"),
        (pd.DataFrame({"a": ["x", "y"], "b": 1}), "X_source that the network.*encode and impute"),
        (np.zeros((3, 64)), "X_source with 64 columns.*takes images; reshape both domains"),
    ],
    ids=["missing values", "text", "flat images"],
)
def test_rows_that_the_backbone_does_not_take(rows, message):
    with pytest.raises(ValueError, match=message):
        RememberingWeighting(backbone="glyphs").compute_weights(rows, rows)


def test_without_a_backbone_torch_is_not_imported():
    code = (
        "import numpy as np, sys; from sktransfer.instance import DomainClassifierWeighting; "
        "DomainClassifierWeighting().compute_weights(np.eye(4), np.eye(4)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class LabelledWeighting(BaseWeighting):
    """Weight rows by their labels."""

    _uses_labels = True

    def _compute_log_weights(self, X_source, X_target, y_source, y_target):
        self.y_target_ = y_target
        return np.log(y_source)


def test_labels_reach_the_methods_that_use_them():
    rows = np.zeros((3, 1)), np.zeros((2, 1))
    weighting = LabelledWeighting()
    weights = weighting.compute_weights(*rows, y_source=[1, 1, 4])
    np.testing.assert_allclose(weights, [0.5, 0.5, 2])
    assert weighting.y_target_ is None
    weighting.compute_weights(*rows, y_source=[1, 1, 4], y_target=["a", "b"])
    assert weighting.y_target_.tolist() == ["a", "b"]
    # Others ignore them, whatever they are.
    RememberingWeighting().compute_weights(*rows, y_source=[np.nan], y_target=object())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "Got y_source=None, but LabelledWeighting needs the labels"),
        ({"y_source": [1, 2]}, "Got y_source of length 2, but expected 3"),
        ({"y_source": [1, 2, 3], "y_target": [1]}, "Got y_target of length 1, but expected 2"),
        ({"y_source": [1, 2, np.nan]}, "1 missing or infinite labels"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        LabelledWeighting().compute_weights(np.zeros((3, 1)), np.zeros((2, 1)), **labels)


def test_a_failure_leaves_the_last_result():
    weighting = LabelledWeighting()
    weighting.compute_weights(np.zeros((2, 1)), np.zeros((1, 1)), y_source=[1, 3])
    before = dict(vars(weighting))
    with pytest.raises(ValueError):
        weighting.compute_weights(np.zeros((2, 1)), np.zeros((1, 1)), y_source=[np.nan, 3])
    assert vars(weighting) == before
