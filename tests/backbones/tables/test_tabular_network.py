import numpy as np
import pytest
import torch

from sktransfer.backbones import TabularNetwork
from sktransfer.backbones._architecture import build, describe
from sktransfer.backbones.tables._one_hot_rows import OneHotRows


def make_rows(n_numeric, cardinalities, n_rows=6):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, n + 1, (n_rows, 1)) for n in cardinalities]
    numbers = rng.normal(size=(n_rows, 2 * n_numeric))
    return torch.as_tensor(np.hstack([numbers, *codes]), dtype=torch.float32)


@pytest.mark.parametrize(("n_numeric", "cardinalities"), [(3, (2, 5)), (3, ()), (0, (2, 0))])
@pytest.mark.parametrize("n_outputs", [None, 4])
@pytest.mark.parametrize("sizes", [(), (8,), (8, 6)])
def test_shapes_and_description(n_numeric, cardinalities, n_outputs, sizes):
    network = TabularNetwork(n_numeric, cardinalities, sizes, n_outputs=n_outputs).eval()
    rows = make_rows(n_numeric, cardinalities)
    outputs = network(rows)
    if n_outputs is None and not sizes:
        assert outputs.shape[1] == 2 * n_numeric + network.embeddings.n_features
    else:
        assert outputs.shape == (6, n_outputs or sizes[-1])
    # A file holds the description.
    again = build(describe(network)).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(rows), outputs)
    # No row looks at the others.
    torch.testing.assert_close(network(rows[2:3]), outputs[2:3])


def test_embeddings_are_at_most_eight_wide():
    network = TabularNetwork(0, (1, 3, 100))
    widths = [(c.num_embeddings, c.embedding_dim) for c in network.embeddings.columns]
    assert widths == [(2, 2), (4, 4), (101, 8)]


def test_dropout_is_for_training():
    network = TabularNetwork(3, (2,), (32,), dropout=0.5)
    rows = make_rows(3, (2,))
    assert not torch.equal(network(rows), network(rows))
    network.eval()
    assert torch.equal(network(rows), network(rows))


def test_categories_as_zeros_and_ones():
    rows = torch.tensor([[0.5, 1.0, 2.0, 0.0, 7.0], [0.1, 0.0, 0.0, 1.0, 9.0]])
    expected = [[0.5, 1, 0, 0, 1, 1, 0], [0.1, 0, 1, 0, 0, 0, 1]]
    # The last column has too many categories for a linear model.
    assert torch.equal(OneHotRows(1, (2, 1, 256))(rows), torch.tensor(expected))
