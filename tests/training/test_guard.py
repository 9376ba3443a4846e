import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sktransfer import Backbone, NegativeTransferWarning
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._pixel_average import PixelAverage
from sktransfer.training._guard import Guarded, compute_prior
from sktransfer.training._net import TrainingOptions
from sktransfer.training._objectives import Multiclass, Multilabel, Regression
from sktransfer.training._strategies import LabelledRows, Settings

rng = np.random.default_rng(0)


class Projection(nn.Module):
    """A network whose features are the input, through a fixed matrix and a rectifier."""

    def __init__(self, matrix):
        super().__init__()
        self.fc = nn.Linear(*matrix.shape, bias=False)
        self.fc.weight = nn.Parameter(torch.as_tensor(matrix.T.copy(), dtype=torch.float32))
        self.act = nn.ReLU()

    def forward(self, rows):
        return self.act(self.fc(rows))


def make_task(n_rows, *, is_useful, seed=0):
    """Classes by the sign of a product: hidden from linear models, plain to the right features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 8))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]).T
    matrix = np.zeros((8, 4))
    matrix[:2] = corners
    if not is_useful:
        X, y = np.abs(X), (X[:, 2] > 0).astype(int)
        X[:, 2] = np.where(y, 1, -1)
        matrix = np.zeros((8, 4))
        matrix[5:] = rng.normal(size=(3, 4))
    return X, y, Backbone(Projection(matrix))


def fit(X, y, backbone, objective=None, **changes):
    objective = Multiclass(2) if objective is None else objective
    options = TrainingOptions(objective, max_epochs=3, seed=1)
    settings = Settings(options, backbone, None, cache=False).replace(**changes)
    (features,) = compute_activations(backbone, X, cache=False)
    rows = LabelledRows(X, features, objective.encode(y), np.ones(len(X)))
    return Guarded().fit(rows, settings)


def test_a_useful_backbone_carries_the_weight():
    X, y, backbone = make_task(120, is_useful=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(X, y, backbone)
    assert "no_transfer" not in model.evidence.weights
    for gain in model.evidence.gains.values():
        assert gain.mean > 2 * gain.standard_error > 0


def test_a_useless_backbone_leaves_the_weight_to_the_input_and_says_so():
    X, y, backbone = make_task(120, is_useful=False)
    with pytest.warns(
        NegativeTransferWarning, match="the linear model on the input has weight (0.9|1.0)"
    ):
        model = fit(X, y, backbone)
    assert model.evidence.weights["no_transfer"] > 0.9
    assert model.main.strategy in ("frozen", "fine_tune", "no_transfer")
    outputs = model.compute_outputs(X, Multiclass(2), None, torch.device("cpu"))
    assert (outputs.argmax(1) == y).mean() > 0.95


@pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")
@pytest.mark.parametrize("objective", [Multiclass(2), Multilabel(2), Regression(2)])
def test_weights_are_of_the_members_and_sum_to_one(objective):
    X, y, backbone = make_task(60, is_useful=True)
    target = y if isinstance(objective, Multiclass) else np.column_stack([y, 1 - y])
    model = fit(X, target, backbone, objective)
    assert sum(model.weights) == pytest.approx(1)
    assert min(model.weights) >= 0.05 * 0.99
    assert [member.name for member in model.members] == list(model.evidence.weights)
    names = {"average", "frozen", "fine_tune:random", "no_transfer", "random_backbone"}
    assert names <= set(model.evidence.oof_loss)
    assert ("frozen:prototypes" in model.evidence.oof_loss) == isinstance(objective, Multiclass)
    assert all(np.isfinite(list(model.evidence.oof_loss.values())))


@pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")
def test_the_network_as_one_module_predicts_what_the_model_predicts():
    X, y, backbone = make_task(60, is_useful=True)
    for objective, target in ((Multiclass(2), y), (Regression(1), y.astype(float))):
        model = fit(X, target, backbone, objective)
        outputs = model.compute_outputs(X, objective, None, torch.device("cpu"))
        with torch.no_grad():
            module = model.make_network(objective)(torch.as_tensor(X).float())
        np.testing.assert_allclose(module.numpy(), outputs, atol=1e-3)


def test_nothing_to_hold_out_leaves_the_frozen_network():
    X, y, backbone = make_task(20, is_useful=True)
    rows = [int(np.flatnonzero(y == c)[0]) for c in (0, 1)]
    model = fit(X[rows], y[rows], backbone)
    assert model.strategy == "frozen"
    assert model.evidence is None


def test_a_backbone_that_does_not_move_has_no_fine_tuned_candidates():
    X, y, backbone = make_task(60, is_useful=True)
    model = fit(X, y, backbone, backbone_lr=0.0)
    assert not any(name.startswith("fine_tune") for name in model.evidence.oof_loss)


def test_fine_tuning_is_trusted_with_the_rows():
    candidates = Guarded.candidates
    few, many = compute_prior(candidates, 4), compute_prior(candidates, 400)
    assert sum(few) == pytest.approx(sum(many))
    tuned = [i for i, c in enumerate(candidates) if c.moves_backbone]
    assert sum(few[i] for i in tuned) < 0.2 * sum(few)
    assert sum(many[i] for i in tuned) > 0.5 * sum(many)


def test_pixels_are_averaged_to_about_a_thousand_values():
    average = PixelAverage()
    assert average(torch.ones(2, 3, 160, 160)).shape == (2, 3 * 18 * 18)
    assert average(torch.ones(2, 1, 8, 8)).shape == (2, 64)
    assert average(torch.ones(2, 5)).shape == (2, 5)
