import numpy as np
import pytest
import torch

from sktransfer.training._objectives import Multiclass, Multilabel, Regression, split_distinct

OBJECTIVES = [Multiclass(3), Multilabel(3), Regression(3)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_predictions_lead_back_to_outputs_of_the_same_predictions(objective):
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3)))
    predictions = objective.predict(outputs)
    torch.testing.assert_close(objective.predict(objective.invert(predictions)), predictions)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_certain_and_wrong_predictions_have_a_finite_loss(objective):
    outputs = torch.tensor([[1e4, -1e4, 0.0]]).double()
    targets = torch.tensor([[0.0, 1.0, 0.0]]).double()
    again = objective.invert(objective.predict(outputs))
    assert torch.isfinite(objective.losses(again, targets)).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_folds_hold_each_row_out_once_and_follow_the_seed(objective):
    y = np.arange(30) % 3
    targets = Multiclass(3).encode(y)
    folds = objective.folds(targets, 3, seed=0)
    held_out = np.concatenate([test for _, test in folds])
    assert sorted(held_out) == list(range(30))
    assert all(not set(train) & set(test) for train, test in folds)
    again = objective.folds(targets, 3, seed=0)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(folds, again, strict=True))
    other = objective.folds(targets, 3, seed=1)
    assert not all(np.array_equal(a, b) for (_, a), (_, b) in zip(folds, other, strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_too_few_rows_give_no_folds(objective):
    assert objective.folds(np.eye(3, dtype=np.float32), 3, seed=0) == []


def test_a_class_with_one_row_is_never_held_out():
    y = np.array([0, 1, 1, 1, 2, 2, 2])
    folds = Multiclass(3).folds(Multiclass(3).encode(y), 3, seed=0)
    assert len(folds) == 3
    assert all(0 in train and 0 not in test for train, test in folds)


def test_class_losses_take_mixed_targets():
    outputs = torch.tensor([[2.0, 0.0]])
    ends = [Multiclass(2).losses(outputs, torch.tensor([t])) for t in ([1.0, 0.0], [0.0, 1.0])]
    mixed = Multiclass(2).losses(outputs, torch.tensor([[0.3, 0.7]]))
    torch.testing.assert_close(mixed, 0.3 * ends[0] + 0.7 * ends[1])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_copies_of_a_row_are_held_out_together(objective):
    X = np.random.default_rng(0).normal(size=(12, 2))
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 3))
    targets = Multiclass(3).encode(np.arange(12) % 3)
    folds = split_distinct(objective, targets[rows], X[rows], 3, seed=0)
    held_out = np.concatenate([test for _, test in folds])
    assert sorted(held_out) == list(range(36))
    for train, test in folds:
        assert not set(rows[train]) & set(rows[test])
    plain = split_distinct(objective, targets, X, 3, seed=0)
    expected = objective.folds(targets, 3, seed=0)
    for fold, other in zip(plain, expected, strict=True):
        np.testing.assert_array_equal(fold[1], other[1])
