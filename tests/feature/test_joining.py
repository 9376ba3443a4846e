import numpy as np
import pandas as pd
import polars as pl
import pytest

from sktransfer.feature._joining import join, take_numbers

COLUMNS = {
    "age": [20.0, 40.0, 60.0],
    "count": [1, 2, 3],
    "is_new": [True, False, True],
    "name": ["a", "b", "c"],
}


@pytest.mark.parametrize("frame", [pd.DataFrame(COLUMNS), pl.DataFrame(COLUMNS)], ids=type)
@pytest.mark.parametrize("scale", [1, 4.0])
def test_of_a_frame_all_that_counts_as_numbers_is_divided(frame, scale):
    features = np.arange(6.0).reshape(3, 2)
    joined = join(frame, [features], [scale, 2.0], lambda: [*COLUMNS, "f0", "f1"])
    assert list(joined.columns) == [*COLUMNS, "f0", "f1"]
    assert list(joined["name"]) == COLUMNS["name"]
    # What `block_scales_` is computed from.
    numbers = take_numbers(frame)
    assert numbers.shape == (3, 3)
    found = np.column_stack([joined[name] for name in ("age", "count", "is_new")])
    np.testing.assert_allclose(found.astype(float), numbers / scale)
    np.testing.assert_allclose(np.column_stack([joined["f0"], joined["f1"]]), features / 2)


def test_nullable_truth_values_are_divided():
    frame = pd.DataFrame({"is_new": pd.array([True, None, False], "boolean"), "name": list("abc")})
    joined = join(frame, [np.zeros((3, 1))], [4.0, 1.0], lambda: ["is_new", "name", "f0"])
    found = joined["is_new"].to_numpy(dtype=float, na_value=np.nan)
    np.testing.assert_array_equal(found, take_numbers(frame)[:, 0] / 4)
