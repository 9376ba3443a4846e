"""Count scikit-learn's estimator checks that each public estimator passes, as constructed.

python benchmarks/estimator_checks.py
"""

import collections
import warnings

from sklearn.utils.estimator_checks import check_estimator

import sktransfer


def list_estimators():
    """Return the public classes that have a fit, as constructed by default."""
    public = (getattr(sktransfer, name) for name in sktransfer.__all__)
    return [kind() for kind in public if isinstance(kind, type) and hasattr(kind, "fit")]


def main():
    # Instance-based estimators warn that they have no source, and checks that they skip.
    warnings.simplefilter("ignore")
    print(f"{'estimator':30} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for estimator in list_estimators():
        results = check_estimator(estimator, on_fail=None)
        counts = collections.Counter(result["status"] for result in results)
        name = type(estimator).__name__
        print(f"{name:30} {counts['passed']:>7} {counts['failed']:>7} {counts['skipped']:>8}")
        for result in results:
            if result["status"] in ("failed", "skipped"):
                print(f"    {result['status']}: {result['check_name']}")


if __name__ == "__main__":
    main()
