"""A fully connected network of tables, with an embedding for each column of categories."""

import torch
from torch import nn

# Widest embedding of a category.
_EMBEDDING = 8


class TabularNetwork(nn.Module):
    """Encoded rows in, features or outputs out; see `TableInput` for encoded rows.

    Each category has an embedding, of up to eight numbers, and so has what is unknown or missing.
    They go with the numbers, and with the signs that these are missing, through fully connected
    layers. Nothing depends on the other rows of a batch.

    Parameters
    ----------
    n_numeric : int
        Number of columns of numbers.
    cardinalities : sequence of int
        Number of categories of each column of categories, the unknown one left out.
    hidden_layer_sizes : sequence of int, default=(128, 128)
    dropout : float, default=0.15
        After each hidden layer, in training.
    n_outputs : int or None, default=None
        Of a fully connected layer at the end; None: the network gives its last hidden layer.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.backbones import TabularNetwork
    >>> network = TabularNetwork(2, (3,), hidden_layer_sizes=(16,), n_outputs=4)
    >>> network(torch.tensor([[0.5, 0.0, 0.0, 1.0, 2.0]])).shape
    torch.Size([1, 4])
    """

    def __init__(
        self,
        n_numeric,
        cardinalities,
        hidden_layer_sizes=(128, 128),
        dropout=0.15,
        n_outputs=None,
    ):
        super().__init__()
        self.n_numeric, self.cardinalities = int(n_numeric), tuple(map(int, cardinalities))
        self.hidden_layer_sizes = tuple(map(int, hidden_layer_sizes))
        self.dropout = float(dropout)
        self.n_outputs = None if n_outputs is None else int(n_outputs)
        self.embeddings = CategoryEmbeddings(self.cardinalities)
        width = 2 * self.n_numeric + self.embeddings.n_features
        self.hidden = nn.Sequential()
        for i, size in enumerate(self.hidden_layer_sizes):
            layer = nn.Sequential(nn.Linear(width, size), nn.GELU(), nn.Dropout(self.dropout))
            self.hidden.add_module(str(i), layer)
            width = size
        self.output = nn.Identity() if n_outputs is None else nn.Linear(width, self.n_outputs)

    def forward(self, rows):
        numbers, codes = rows[:, : 2 * self.n_numeric], rows[:, 2 * self.n_numeric :].long()
        # Rows stay in full precision, which codes need, where the network has a lower one.
        numbers = numbers.to(next(self.parameters(), numbers).dtype)
        if self.cardinalities:
            numbers = torch.cat([numbers, self.embeddings(codes)], dim=1)
        return self.output(self.hidden(numbers))


class CategoryEmbeddings(nn.Module):
    """The embeddings of several columns of categories, side by side.

    Parameters
    ----------
    cardinalities : sequence of int
    """

    def __init__(self, cardinalities):
        super().__init__()
        # Slot 0 is for what is unknown or missing.
        self.columns = nn.ModuleList(
            nn.Embedding(n + 1, min(_EMBEDDING, n + 1)) for n in cardinalities
        )
        self.n_features = sum(column.embedding_dim for column in self.columns)

    def forward(self, codes):
        embedded = [column(codes[:, i]) for i, column in enumerate(self.columns)]
        return torch.cat(embedded, dim=1)
