"""A pretrained network, from wherever it comes, up to its activations."""

from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._load import load_backbone
from sktransfer.backbones._pretraining_report import PretrainingReport
from sktransfer.backbones.cache._tiers import clear_row_cache
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.backbones.tables._table_input import TableInput
from sktransfer.backbones.tables._tabular_backbone import TabularBackbone
from sktransfer.backbones.tables._tabular_network import TabularNetwork

__all__ = [
    "Backbone",
    "ImageRows",
    "NetworkInput",
    "PretrainingReport",
    "TableInput",
    "TabularBackbone",
    "TabularNetwork",
    "clear_row_cache",
    "load_backbone",
]
