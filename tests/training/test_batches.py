import itertools
import pickle

import numpy as np
import pytest

from sktransfer.training._batches import PreparedRows, ShuffledBatches, make_loader


@pytest.mark.parametrize("n_rows", [1, 2, 8, 9, 15, 17, 33])
def test_every_row_is_in_one_batch_and_no_last_batch_has_one_row(n_rows):
    batches = ShuffledBatches(n_rows, 8, seed=0)
    lists = list(batches)
    assert sorted(itertools.chain(*lists)) == list(range(n_rows))
    assert len(lists) == len(batches)
    assert all(len(rows) > 1 for rows in lists) or n_rows == 1


def test_the_seed_decides_and_epochs_differ():
    first, second = ShuffledBatches(20, 8, seed=3), ShuffledBatches(20, 8, seed=3)
    epochs = [list(first), list(first)]
    assert epochs == [list(second), list(second)]
    assert epochs[0] != epochs[1]


def test_a_pickled_sampler_goes_on_where_it_was():
    batches = ShuffledBatches(20, 8, seed=3)
    list(batches)
    assert list(pickle.loads(pickle.dumps(batches))) == list(batches)


def test_batches_hold_prepared_rows_with_their_labels_and_weights():
    X, y, weight = np.arange(10.0).reshape(10, 1), np.arange(10), np.arange(10) / 10
    rows = PreparedRows(X, y, weight, prepare=lambda X: 2 * X)
    for inputs, (labels, weights) in make_loader(rows, 4, seed=0):
        np.testing.assert_allclose(inputs[:, 0], 2 * labels)
        np.testing.assert_allclose(weights, labels / 10)
    inputs, (label, _) = rows[3]
    assert (inputs.item(), label.item()) == (6.0, 3)
