"""A network up to one of its layers, as a module of its own."""

from torch import nn

from sktransfer.backbones._taps import make_tap, run_taps


class FeatureExtractor(nn.Module):
    """A network up to one layer, pooled: rows in, (n, d) features out, with gradients.

    Parameters
    ----------
    network : nn.Module
    layer : str, default="penultimate"
    pooling : str or callable, default="auto"
    """

    def __init__(self, network, layer="penultimate", pooling="auto"):
        super().__init__()
        self.network = network
        self.layer = layer
        self.pooling = pooling

    def forward(self, inputs):
        names = [name for name, _ in self.network.named_modules()]
        (features,) = run_taps(self.network, inputs, [make_tap(self.layer, names, self.pooling)])
        return features
