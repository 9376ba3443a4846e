import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from sktransfer.backbones.tables._encoded_rows import EncodedRows, TableRows, mark_encoded
from sktransfer.utils._torch import to_tensor


def test_parts_are_marked_too():
    rows = mark_encoded(np.arange(12.0).reshape(4, 3))
    parts = (rows[1:3], rows[[0, 2]], rows[np.array([True, False, True, False])], rows.copy())
    for part in (*parts, pickle.loads(pickle.dumps(rows))):
        assert isinstance(part, EncodedRows)
    assert rows.dtype == np.float32
    assert type(np.asarray(rows)) is np.ndarray
    assert torch.equal(to_tensor(rows), torch.arange(12.0).reshape(4, 3))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, lambda columns: columns["a"]])
def test_rows_beside_what_they_were_made_of(make):
    original = make({"a": np.arange(5)})
    rows = TableRows(mark_encoded(np.arange(5.0).reshape(5, 1)), original)
    part = rows[2:4]
    assert (len(rows), rows.shape, rows.ndim) == (5, (5, 1), 2)
    assert part.encoded.ravel().tolist() == [2, 3]
    assert np.ravel(part.original).tolist() == [2, 3]
