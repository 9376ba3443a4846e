"""Columns of encoded rows that go missing, or are taken from other rows, while training."""

import dataclasses

import numpy as np
import torch


@dataclasses.dataclass(frozen=True)
class EncodedColumns:
    """Where the columns of a table are in its encoded rows.

    First the numbers, then for each of them whether it is missing, then the codes of categories,
    0 for an unknown one.

    Parameters
    ----------
    n_numeric, n_categorical : int
    """

    n_numeric: int
    n_categorical: int

    def __len__(self):
        return self.n_numeric + self.n_categorical

    def drop(self, rows, share):
        """Return rows of which this share of the columns is missing, others in each row.

        So that a network gets to know missing values and unknown categories, also of columns which
        are complete in the source.
        """
        numeric, missing, codes = self._split(rows)
        drops = torch.rand(len(rows), len(self)) < share
        drops_number, drops_code = drops[:, : self.n_numeric], drops[:, self.n_numeric :]
        return torch.cat(
            [
                numeric.masked_fill(drops_number, 0),
                missing.masked_fill(drops_number, 1),
                codes.masked_fill(drops_code, 0),
            ],
            dim=1,
        )

    def corrupt(self, rows, donors, share):
        """Return rows of which this share of the columns is taken from other rows.

        Each value comes from a row of its own, that is, from the marginal distribution of the
        column.

        Parameters
        ----------
        rows : tensor of shape (n, d)
        donors : tensor of shape (m, d)
        share : float
            Of the columns of each row; at least one.
        """
        n_columns = len(self)
        n_replaced = min(n_columns, max(1, round(share * n_columns)))
        # The columns with the lowest of some random numbers: the same count in each row.
        order = torch.rand(len(rows), n_columns).argsort(dim=1)
        replaces = self._spread(order < n_replaced)
        source = self._spread(torch.randint(len(donors), (len(rows), n_columns)))
        return torch.where(replaces, donors.gather(0, source), rows)

    def _split(self, rows):
        return rows.split([self.n_numeric, self.n_numeric, self.n_categorical], dim=1)

    def _spread(self, values):
        """Return values of columns as values of encoded columns."""
        numeric = values[:, : self.n_numeric]
        return torch.cat([numeric, numeric, values[:, self.n_numeric :]], dim=1)


@dataclasses.dataclass(frozen=True)
class RowNoise:
    """Turn a batch of encoded rows into what a network is pretrained on.

    Parameters
    ----------
    columns : EncodedColumns
    dropout : float
        Share of columns that go missing.
    scarf : SCARF or None
        With it each row comes with its damaged copy.
    donors : ndarray of shape (m, d)
        Encoded rows that values in copies are taken from.
    """

    columns: EncodedColumns
    dropout: float
    scarf: object
    donors: np.ndarray

    def __call__(self, rows):
        """Return rows of shape (n, d), or pairs of a row and its copy, (n, 2, d)."""
        rows = torch.as_tensor(rows)
        noisy = self.columns.drop(rows, self.dropout) if self.dropout else rows
        if self.scarf is None:
            return noisy
        copies = self.columns.corrupt(rows, torch.as_tensor(self.donors), self.scarf.corruption)
        return torch.stack([noisy, copies], dim=1)
