"""Feature-representation transfer: activations of a pretrained network move to the target.

Alignments put the rows of two domains into one space; selection keeps the features that tell.
"""

from sktransfer.feature._base_alignment import BaseAlignment
from sktransfer.feature._correlation_alignment import CorrelationAlignment
from sktransfer.feature._group_lasso_selector import GroupLassoSelector
from sktransfer.feature._in_context_embedding import InContextEmbedding
from sktransfer.feature._optimal_transport_alignment import OptimalTransportAlignment
from sktransfer.feature._subspace_alignment import SubspaceAlignment
from sktransfer.feature._transfer_component_analysis import TransferComponentAnalysis
from sktransfer.feature._transformer import FeatureTransferTransformer

__all__ = [
    "BaseAlignment",
    "CorrelationAlignment",
    "FeatureTransferTransformer",
    "GroupLassoSelector",
    "InContextEmbedding",
    "OptimalTransportAlignment",
    "SubspaceAlignment",
    "TransferComponentAnalysis",
]
