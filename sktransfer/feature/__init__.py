"""Feature-representation transfer: activations of a pretrained network move to the target."""

from sktransfer.feature._transformer import FeatureTransferTransformer

__all__ = ["FeatureTransferTransformer"]
