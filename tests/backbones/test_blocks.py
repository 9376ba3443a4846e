import pytest
from torch import nn

from sktransfer.backbones._blocks import list_block_outputs


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class WithTokens(nn.Module):
    """A parameter of its own, then layers in a list, a norm behind them."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(nn.Linear(1, 4).weight[:, 0].detach())
        self.layers = nn.ModuleList([Residual(4), Residual(4)])
        self.norm = nn.LayerNorm(4)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # What follows in a Sequential and acts value by value belongs to the block before it.
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), ["1", "2"]),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            ["2"],
        ),
        (nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), Residual(4)), ["0.1", "1"]),
        (nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.ReLU()), ["0"]),
        # Elsewhere the order is not known; own parameters of the network give no activations.
        (WithTokens(), ["layers.0", "layers.1"]),
        (nn.Linear(4, 2), []),
        (nn.Flatten(), []),
    ],
)
def test_the_output_of_a_block_is_what_the_next_one_is_given(network, expected):
    assert list_block_outputs(network) == expected


def test_the_head_is_left_out():
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    assert list_block_outputs(network, leave_out=[network[2]]) == ["1"]
