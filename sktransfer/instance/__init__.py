"""Instance-based transfer: rows of the source, each with a weight."""

from sktransfer.instance._balanced import BalancedWeighting
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._classifier import InstanceTransferClassifier
from sktransfer.instance._domain_classifier import DomainClassifierWeighting
from sktransfer.instance._kernel_density import KernelDensityWeighting
from sktransfer.instance._label_shift import LabelShiftWeighting
from sktransfer.instance._nearest_neighbor import NearestNeighborWeighting
from sktransfer.instance._sampler import InstanceWeightingSampler

__all__ = [
    "BalancedWeighting",
    "BaseWeighting",
    "DomainClassifierWeighting",
    "InstanceTransferClassifier",
    "InstanceWeightingSampler",
    "KernelDensityWeighting",
    "LabelShiftWeighting",
    "NearestNeighborWeighting",
]
