"""Was transfer worth it, and which backbone or layer: scores that need no training of a network."""

from sktransfer.evaluation._hscore import HScore
from sktransfer.evaluation._knn_probe import KNNProbe
from sktransfer.evaluation._leep import LEEP
from sktransfer.evaluation._logme import LogME
from sktransfer.evaluation._nce import NCE
from sktransfer.evaluation._rank import rank_backbones, rank_layers
from sktransfer.evaluation._ridge_probe import RidgeProbe
from sktransfer.evaluation._transferability_method import TransferabilityMethod
from sktransfer.evaluation._transferability_ranking import TransferabilityRanking
from sktransfer.evaluation._transferability_score import transferability_score
from sktransfer.evaluation._transferability_scorer import transferability_scorer

__all__ = [
    "LEEP",
    "NCE",
    "HScore",
    "KNNProbe",
    "LogME",
    "RidgeProbe",
    "TransferabilityMethod",
    "TransferabilityRanking",
    "rank_backbones",
    "rank_layers",
    "transferability_score",
    "transferability_scorer",
]
