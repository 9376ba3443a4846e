import numpy as np
import pytest
import torch

from sktransfer.training._members import average_outputs
from sktransfer.training._objectives import Multiclass, Multilabel, Regression
from sktransfer.training._stacking import HeldOut, fit_temperature, fit_weights


def make_classes(n_rows, seed=0):
    """Targets, and logits of a calibrated model of them."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n_rows, 3))
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(3, p=p) for p in proba])
    return torch.from_numpy(np.eye(3)[y]), torch.from_numpy(logits)


def hold_out(targets, objective, weight=None):
    weight = torch.ones(len(targets)).double() if weight is None else weight
    return HeldOut(targets, weight, objective)


def test_a_temperature_finds_how_overconfident_outputs_are():
    targets, logits = make_classes(3000)
    held_out = hold_out(targets, Multiclass(3))
    assert fit_temperature(logits, held_out) == pytest.approx(1, abs=0.1)
    assert fit_temperature(4 * logits, held_out) == pytest.approx(4, rel=0.1)


def test_few_rows_leave_a_temperature_near_one():
    targets, logits = make_classes(3)
    assert 0.6 < fit_temperature(5 * logits, hold_out(targets, Multiclass(3))) < 3


def test_numbers_have_no_temperature():
    targets = torch.ones(4, 1).double()
    assert fit_temperature(7 * targets, hold_out(targets, Regression(1))) == 1.0


def test_many_rows_find_the_good_candidate_and_few_leave_the_prior():
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=(2000, 3)))
    targets, logits = make_classes(2000)
    for n_rows, low, high in ((2000, 0.95, 1.0), (1, 0.3, 0.7)):
        held_out = hold_out(targets[:n_rows], Multiclass(3))
        weights = fit_weights([logits[:n_rows], noise[:n_rows]], [5.0, 5.0], held_out)
        assert weights.sum() == pytest.approx(1)
        assert low <= weights[0] <= high


def test_without_evidence_the_prior_remains():
    targets, logits = make_classes(50)
    weights = fit_weights(
        [logits, logits, logits], [1.0, 2.0, 5.0], hold_out(targets, Multiclass(3))
    )
    np.testing.assert_allclose(weights, [1 / 8, 2 / 8, 5 / 8], atol=1e-3)


def test_weights_are_the_best_ones():
    rng = np.random.default_rng(0)
    targets, logits = make_classes(200)
    candidates = [logits + torch.from_numpy(rng.normal(size=(200, 3))) for _ in range(3)]
    held_out, objective = hold_out(targets, Multiclass(3)), Multiclass(3)
    prior = np.array([1.0, 1.0, 1.0])

    def cost(weights):
        average = average_outputs(candidates, torch.as_tensor(weights), objective)
        return 200 * held_out.mean_loss(average) - prior @ np.log(weights)

    best = fit_weights(candidates, prior, held_out)
    for direction in rng.normal(size=(20, 3)):
        moved = best * np.exp(0.05 * direction)
        assert cost(best) <= cost(moved / moved.sum()) + 1e-6


def test_rows_of_weight_zero_do_not_count():
    targets, logits = make_classes(100)
    wrong = targets.roll(1, dims=1)
    weight = torch.cat([torch.ones(100), torch.zeros(100)]).double() * 2
    held_out = hold_out(torch.cat([targets, wrong]), Multiclass(3), weight)
    weights = fit_weights(
        [torch.cat([logits, logits]), torch.zeros(200, 3).double()], [2, 2], held_out
    )
    assert weights[0] > 0.7


def test_labels_and_numbers_are_stacked_too():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.normal(size=(300, 2)))
    near, far = (truth + s * torch.from_numpy(rng.normal(size=(300, 2))) for s in (0.1, 1.0))
    weights = fit_weights([near, far], [1, 1], hold_out(truth, Regression(2)))
    assert weights[0] > 0.95
    labels = (truth > 0).double()
    weights = fit_weights([4 * near, far], [1, 1], hold_out(labels, Multilabel(2)))
    assert weights[0] > 0.8


def test_gains_are_paired_and_have_a_standard_error():
    targets, logits = make_classes(400)
    held_out = hold_out(targets, Multiclass(3))
    mean, error = held_out.compare(logits, torch.zeros(400, 3).double())
    assert mean > 5 * error > 0
    assert held_out.compare(logits, logits) == (0.0, 0.0)
