"""scikit-learn's own checks, on every public estimator as constructed with its defaults.

And with other parameters where these make fit do something else.
"""

import pytest
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from sktransfer import (
    CorrelationAlignment,
    FeatureTransferTransformer,
    GroupLassoSelector,
    InContextEmbedding,
    InstanceTransferClassifier,
    InstanceTransferRegressor,
    InstanceWeightingSampler,
    OptimalTransportAlignment,
    ParameterTransferClassifier,
    ParameterTransferRegressor,
    SubspaceAlignment,
    TrAdaBoostClassifier,
    TrAdaBoostRegressor,
    TransferComponentAnalysis,
)

ESTIMATORS = [
    CorrelationAlignment(),
    FeatureTransferTransformer(),
    FeatureTransferTransformer(mode="concat"),
    GroupLassoSelector(),
    InContextEmbedding(),
    InstanceTransferClassifier(),
    InstanceTransferRegressor(),
    InstanceWeightingSampler(),
    OptimalTransportAlignment(),
    ParameterTransferClassifier(),
    ParameterTransferRegressor(),
    SubspaceAlignment(),
    TrAdaBoostClassifier(),
    TrAdaBoostClassifier(DecisionTreeClassifier(max_depth=1), voting="hard"),
    TrAdaBoostRegressor(),
    TransferComponentAnalysis(),
]

_CROSS_VALIDATED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "the penalty of the head is cross-validated, and repeated rows make other folds than "
        "weighted ones"
    ),
}
EXPECTED_FAILURES = {
    "ParameterTransferClassifier": _CROSS_VALIDATED,
    "ParameterTransferRegressor": _CROSS_VALIDATED,
}


@pytest.mark.filterwarnings("ignore:Got source=None:UserWarning")
@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get(type(estimator).__name__, {}),
)
def test_estimator(estimator, check):
    check(estimator)
