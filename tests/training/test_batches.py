import itertools

import numpy as np
import pytest
import torch

from sktransfer.backbones import NetworkInput
from sktransfer.training import Mixup
from sktransfer.training._batches import (
    AugmentedRows,
    PreparedRows,
    ShuffledBatches,
    count_batches,
)


def make_rows(n_rows):
    X, targets = np.arange(n_rows, dtype=float).reshape(-1, 1), np.eye(n_rows)
    return PreparedRows(X, targets, np.arange(n_rows) / 10, prepare=lambda X: 2 * X)


def list_epoch(batches):
    return [inputs[:, 0].tolist() for inputs, _ in batches]


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("n_rows", [1, 2, 8, 9, 15, 17, 33])
def test_every_row_is_in_one_batch_and_no_last_batch_has_one_row(n_rows, batch_size):
    batches = ShuffledBatches(make_rows(n_rows), batch_size)
    lists = list_epoch(batches)
    assert sorted(itertools.chain(*lists)) == [2.0 * i for i in range(n_rows)]
    assert len(lists) == len(batches) == count_batches(n_rows, batch_size)
    assert all(len(rows) > 1 for rows in lists) or 1 in (n_rows, batch_size)


def test_the_seed_decides_and_epochs_differ():
    first, second = (ShuffledBatches(make_rows(20), 8, seed=3) for _ in range(2))
    epochs = [list_epoch(first), list_epoch(first)]
    assert epochs == [list_epoch(second), list_epoch(second)]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("start", [1, 2, 3, 4])
def test_it_goes_on_from_any_step_as_if_it_had_never_stopped(start):
    def draw(batches):
        return [(inputs[:, 0].tolist(), float(torch.rand(1))) for inputs, _ in batches]

    with torch.random.fork_rng():
        whole = ShuffledBatches(make_rows(20), 8, seed=3)
        steps = draw(whole) + draw(whole)
        rest = ShuffledBatches(make_rows(20), 8, seed=3, start=start)
        second = draw(rest)
        while len(second) < len(steps) - start:
            second += draw(rest)
        assert second == steps[start:]


def test_batches_hold_prepared_rows_with_their_targets_and_weights():
    for inputs, (targets, weights) in ShuffledBatches(make_rows(10), 4):
        np.testing.assert_allclose(inputs[:, 0], 2 * targets.argmax(1))
        np.testing.assert_allclose(weights, targets.argmax(1) / 10)
    inputs, (target, weight) = make_rows(10)[3]
    assert (inputs.item(), target.argmax().item()) == (6.0, 3)
    assert weight.item() == pytest.approx(0.3)


def test_augmented_rows_are_normalised_after_they_were_augmented():
    X = np.full((4, 8, 8), 100, dtype=np.uint8)
    network_input = NetworkInput(channels=1, mean=(0.5,), std=(0.5,))
    seen = []

    def double(images):
        seen.append(images.clone())
        return 2 * images

    rows = AugmentedRows(X, np.eye(4), np.ones(4), network_input, None, double)
    inputs, _ = rows.__getitems__([0, 2])
    np.testing.assert_allclose(seen[0], 100 / 255, rtol=1e-6)
    np.testing.assert_allclose(inputs, (200 / 255 - 0.5) / 0.5, rtol=1e-5)


def test_mixed_rows_bring_mixed_targets():
    X = np.random.default_rng(0).normal(size=(6, 5))
    rows = AugmentedRows(X, np.eye(6), np.ones(6), NetworkInput(), None, Mixup(1.0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs, (targets, weights) = rows.__getitems__(list(range(6)))
    assert (targets.max(1).values < 1).any()
    np.testing.assert_allclose(targets @ torch.as_tensor(X).float(), inputs, rtol=1e-4)
    np.testing.assert_allclose(weights, 1)


@pytest.mark.parametrize("augment", [lambda images: None, lambda images: images[:, :, :4]])
def test_an_augmentation_gives_a_batch_of_the_same_shape(augment):
    rows = AugmentedRows(np.zeros((4, 8, 8)), np.eye(4), np.ones(4), NetworkInput(), None, augment)
    with pytest.raises((ValueError, TypeError), match="augment"):
        rows.__getitems__([0, 1])
