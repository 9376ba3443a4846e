"""Parameter transfer: the weights of a pretrained network move to the target."""

from sktransfer.parameter._classifier import ParameterTransferClassifier

__all__ = ["ParameterTransferClassifier"]
