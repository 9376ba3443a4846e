"""Parameter transfer: the weights of a pretrained network move to the target."""

from sktransfer.parameter._classifier import ParameterTransferClassifier
from sktransfer.parameter._regressor import ParameterTransferRegressor

__all__ = ["ParameterTransferClassifier", "ParameterTransferRegressor"]
