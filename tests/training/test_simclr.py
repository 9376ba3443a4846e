import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sktransfer.training import SimCLR


def test_the_loss_is_that_of_the_paper():
    """Written out pair by pair."""
    rng = np.random.default_rng(0)
    rows, copies = (torch.as_tensor(rng.normal(size=(5, 3))) for _ in range(2))
    views = F.normalize(torch.cat([rows, copies]), dim=1)
    alike = torch.exp(views @ views.T / 0.3)
    expected = []
    for i in range(5):
        of_views = []
        for own, other in ((i, i + 5), (i + 5, i)):
            rest = sum(alike[own, k] for k in range(10) if k != own)
            of_views.append(-torch.log(alike[own, other] / rest))
        expected.append(sum(of_views) / 2)
    found = SimCLR(temperature=0.3).losses(rows, copies)
    torch.testing.assert_close(found, torch.stack(expected))


def test_views_that_are_found_cost_little():
    views = torch.eye(6)
    simclr = SimCLR(temperature=0.05)
    assert simclr.losses(views, views).max() < 1e-6
    assert simclr.losses(views, views.roll(1, 0)).min() > 1
    assert (simclr.compare(views, 3 * views).argmax(1) == torch.arange(6)).all()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"weight": 0}, ValueError, "Got weight=0"),
        ({"temperature": -1}, ValueError, "Got temperature=-1"),
        ({"n_components": 0}, ValueError, "Got n_components=0"),
        ({"augment": "flip"}, TypeError, "Got augment='flip', but expected a callable"),
    ],
)
def test_what_cannot_be(parameters, error, message):
    with pytest.raises(error, match=message):
        SimCLR(**parameters)
