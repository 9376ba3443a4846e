"""Count scikit-learn's estimator checks that each public estimator passes, as constructed.

python benchmarks/estimator_checks.py
"""

import collections
import warnings

from sklearn.utils.estimator_checks import check_estimator

from sktransfer import (
    FeatureTransferTransformer,
    InstanceTransferClassifier,
    InstanceWeightingSampler,
    ParameterTransferClassifier,
    ParameterTransferRegressor,
)

ESTIMATORS = [
    FeatureTransferTransformer(),
    InstanceTransferClassifier(),
    InstanceWeightingSampler(),
    ParameterTransferClassifier(),
    ParameterTransferRegressor(),
]


def main():
    # Instance-based estimators warn that they have no source, and checks that they skip.
    warnings.simplefilter("ignore")
    print(f"{'estimator':30} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for estimator in ESTIMATORS:
        results = check_estimator(estimator, on_fail=None)
        counts = collections.Counter(result["status"] for result in results)
        name = type(estimator).__name__
        print(f"{name:30} {counts['passed']:>7} {counts['failed']:>7} {counts['skipped']:>8}")
        for result in results:
            if result["status"] in ("failed", "skipped"):
                print(f"    {result['status']}: {result['check_name']}")


if __name__ == "__main__":
    main()
