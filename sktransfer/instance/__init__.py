"""Instance-based transfer: rows of the source, each with a weight."""

from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._classifier import InstanceTransferClassifier
from sktransfer.instance._domain_classifier import DomainClassifierWeighting
from sktransfer.instance._sampler import InstanceWeightingSampler

__all__ = [
    "BaseWeighting",
    "DomainClassifierWeighting",
    "InstanceTransferClassifier",
    "InstanceWeightingSampler",
]
