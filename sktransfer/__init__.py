"""Transfer learning for scikit-learn, in three kinds: parameters, features and instances."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sktransfer.backbones import Backbone, TabularBackbone, load_backbone
    from sktransfer.domain import SourceDomain
    from sktransfer.evaluation import (
        rank_backbones,
        rank_layers,
        transferability_score,
        transferability_scorer,
    )
    from sktransfer.exceptions import (
        ChannelConversionWarning,
        ColumnMismatchWarning,
        LowOverlapWarning,
        NegativeTransferWarning,
        RowCacheWarning,
    )
    from sktransfer.feature import (
        CorrelationAlignment,
        FeatureTransferTransformer,
        GroupLassoSelector,
        InContextEmbedding,
        OptimalTransportAlignment,
        SubspaceAlignment,
        TransferComponentAnalysis,
    )
    from sktransfer.instance import (
        KLIEP,
        ULSIF,
        BalancedWeighting,
        DomainClassifierWeighting,
        InstanceTransferClassifier,
        InstanceTransferRegressor,
        InstanceWeightingSampler,
        KernelDensityWeighting,
        KernelMeanMatching,
        LabelShiftWeighting,
        NearestNeighborWeighting,
        TrAdaBoostClassifier,
        TrAdaBoostRegressor,
    )
    from sktransfer.parameter import ParameterTransferClassifier, ParameterTransferRegressor
    from sktransfer.training import pretrain_backbone

__version__ = "0.1.0.dev0"

__all__ = [
    "KLIEP",
    "ULSIF",
    "Backbone",
    "BalancedWeighting",
    "ChannelConversionWarning",
    "ColumnMismatchWarning",
    "CorrelationAlignment",
    "DomainClassifierWeighting",
    "FeatureTransferTransformer",
    "GroupLassoSelector",
    "InContextEmbedding",
    "InstanceTransferClassifier",
    "InstanceTransferRegressor",
    "InstanceWeightingSampler",
    "KernelDensityWeighting",
    "KernelMeanMatching",
    "LabelShiftWeighting",
    "LowOverlapWarning",
    "NearestNeighborWeighting",
    "NegativeTransferWarning",
    "OptimalTransportAlignment",
    "ParameterTransferClassifier",
    "ParameterTransferRegressor",
    "RowCacheWarning",
    "SourceDomain",
    "SubspaceAlignment",
    "TabularBackbone",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
    "TransferComponentAnalysis",
    "load_backbone",
    "pretrain_backbone",
    "rank_backbones",
    "rank_layers",
    "transferability_score",
    "transferability_scorer",
]

# Importing torch takes seconds, so nothing is imported before it is asked for (PEP 562). A new
# public name goes here, above in `__all__`, and in the imports that type checkers read.
_MODULE_OF = {
    "Backbone": "backbones",
    "BalancedWeighting": "instance",
    "ChannelConversionWarning": "exceptions",
    "ColumnMismatchWarning": "exceptions",
    "CorrelationAlignment": "feature",
    "DomainClassifierWeighting": "instance",
    "FeatureTransferTransformer": "feature",
    "GroupLassoSelector": "feature",
    "InContextEmbedding": "feature",
    "InstanceTransferClassifier": "instance",
    "InstanceTransferRegressor": "instance",
    "InstanceWeightingSampler": "instance",
    "KLIEP": "instance",
    "KernelDensityWeighting": "instance",
    "KernelMeanMatching": "instance",
    "LabelShiftWeighting": "instance",
    "LowOverlapWarning": "exceptions",
    "NearestNeighborWeighting": "instance",
    "NegativeTransferWarning": "exceptions",
    "OptimalTransportAlignment": "feature",
    "ParameterTransferClassifier": "parameter",
    "ParameterTransferRegressor": "parameter",
    "RowCacheWarning": "exceptions",
    "SourceDomain": "domain",
    "SubspaceAlignment": "feature",
    "TabularBackbone": "backbones",
    "TrAdaBoostClassifier": "instance",
    "TrAdaBoostRegressor": "instance",
    "TransferComponentAnalysis": "feature",
    "ULSIF": "instance",
    "load_backbone": "backbones",
    "pretrain_backbone": "training",
    "rank_backbones": "evaluation",
    "rank_layers": "evaluation",
    "transferability_score": "evaluation",
    "transferability_scorer": "evaluation",
}

_SUBMODULES = (
    "backbones",
    "base",
    "datasets",
    "domain",
    "evaluation",
    "exceptions",
    "feature",
    "instance",
    "parameter",
    "training",
    "utils",
)


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value  # so that the next access does not come here
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{_suggestion(name)}")


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES})


def _suggestion(name):
    from difflib import get_close_matches

    lower = {known.lower(): known for known in (*__all__, *_SUBMODULES)}
    near = get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[near[0]]!r}?" if near else ""
