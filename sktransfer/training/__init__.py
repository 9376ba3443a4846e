"""Everything that trains a network; here are the objects that parameters of estimators take."""

from sktransfer.training._adapters import LowRankAdapters
from sktransfer.training._augment import (
    Augmentation,
    AugmentationSequence,
    ColorJitter,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomShift,
    default_image_augmentation,
)
from sktransfer.training._penalties import BSS, DELTA, L2SP, Penalty
from sktransfer.training._pretrain import pretrain_backbone
from sktransfer.training._scarf import SCARF
from sktransfer.training._schedules import GradualUnfreezing
from sktransfer.training._simclr import SimCLR

__all__ = [
    "BSS",
    "DELTA",
    "L2SP",
    "SCARF",
    "Augmentation",
    "AugmentationSequence",
    "ColorJitter",
    "GradualUnfreezing",
    "LowRankAdapters",
    "Mixup",
    "Penalty",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "SimCLR",
    "default_image_augmentation",
    "pretrain_backbone",
]
