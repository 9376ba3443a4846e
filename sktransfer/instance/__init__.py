"""Instance-based transfer: rows of the source, each with a weight."""

from sktransfer.instance._balanced import BalancedWeighting
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._classifier import InstanceTransferClassifier
from sktransfer.instance._domain_classifier import DomainClassifierWeighting
from sktransfer.instance._kernel_density import KernelDensityWeighting
from sktransfer.instance._kernel_mean_matching import KernelMeanMatching
from sktransfer.instance._kliep import KLIEP
from sktransfer.instance._label_shift import LabelShiftWeighting
from sktransfer.instance._nearest_neighbor import NearestNeighborWeighting
from sktransfer.instance._regressor import InstanceTransferRegressor
from sktransfer.instance._sampler import InstanceWeightingSampler
from sktransfer.instance._tradaboost_classifier import TrAdaBoostClassifier
from sktransfer.instance._tradaboost_regressor import TrAdaBoostRegressor
from sktransfer.instance._ulsif import ULSIF

__all__ = [
    "KLIEP",
    "ULSIF",
    "BalancedWeighting",
    "BaseWeighting",
    "DomainClassifierWeighting",
    "InstanceTransferClassifier",
    "InstanceTransferRegressor",
    "InstanceWeightingSampler",
    "KernelDensityWeighting",
    "KernelMeanMatching",
    "LabelShiftWeighting",
    "NearestNeighborWeighting",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
]
