"""A pretrained network, from wherever it comes, up to its activations."""

from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._load import load_backbone
from sktransfer.backbones.cache._tiers import clear_row_cache
from sktransfer.backbones.images._image_rows import ImageRows

__all__ = ["Backbone", "ImageRows", "NetworkInput", "clear_row_cache", "load_backbone"]
