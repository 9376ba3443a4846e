import pytest
import torch

from sktransfer.training import SCARF


def test_rows_that_are_nearest_to_their_copies_have_a_low_loss():
    rows = torch.eye(4)
    own = SCARF(temperature=0.1).losses(rows, rows)
    others = SCARF(temperature=0.1).losses(rows, rows.flip(0))
    assert own.shape == (4,)
    assert (own < 0.01).all()
    assert (others > 5).all()


def test_rows_that_are_all_alike_are_found_by_chance():
    losses = SCARF().losses(torch.ones(8, 3), torch.ones(8, 3))
    assert losses.tolist() == pytest.approx([torch.tensor(8.0).log().item()] * 8)


@pytest.mark.parametrize(
    "options",
    [{"weight": 0}, {"corruption": 0}, {"corruption": 1.5}, {"temperature": 0}],
)
def test_values_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"Got {name}="):
        SCARF(**options)
