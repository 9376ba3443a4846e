"""Instance transfer between frames that are compared in the space of a network of tables."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from sktransfer import (
    ColumnMismatchWarning,
    DomainClassifierWeighting,
    InstanceTransferClassifier,
    KernelMeanMatching,
    ParameterTransferClassifier,
    SourceDomain,
)


@pytest.mark.parametrize("weighting", [DomainClassifierWeighting, KernelMeanMatching])
def test_weights_go_by_activations(weighting, patients, tabular_backbone):
    """Source rows that are like the target, old men here, weigh more than others."""
    X_source, _ = patients(300)
    X, _ = patients(300, seed=3)
    X = X[(X["age"] > 50) & (X["sex"] == "male")]
    weights = weighting(backbone=tabular_backbone).compute_weights(X_source, X)
    is_alike = (X_source["age"] > 50) & (X_source["sex"] == "male")
    assert weights[is_alike].mean() > 1.5 * weights[~is_alike].mean()


def test_what_differs_is_said(patients, tabular_backbone):
    X_source, X = (patients(60, seed=seed)[0].drop(columns="pressure") for seed in (1, 2))
    weighting = DomainClassifierWeighting(backbone=tabular_backbone)
    with pytest.warns(ColumnMismatchWarning, match="without the columns 'pressure'"):
        weighting.compute_weights(X_source, X)


def test_source_rows_of_frames(patients, tabular_backbone):
    X_source, y_source = patients(200)
    X, y = patients(30, seed=3)
    X_test, y_test = patients(200, seed=4)
    frames = [frame.astype({"sex": "category"}) for frame in (X_source, X, X_test)]
    classifier = InstanceTransferClassifier(
        HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20),
        source=SourceDomain(frames[0], y_source),
        weighting=KernelMeanMatching(backbone=tabular_backbone),
        fallback=None,
    )
    assert classifier.fit(frames[1], y).score(frames[2], y_test) > 0.75


def test_weighted_source_rows_for_a_network_of_tables(patients, tabular_backbone):
    """Both ways to transfer at once."""
    X_source, y_source = patients(200)
    X, y = patients(20, seed=3)
    X_test, y_test = patients(200, seed=4)
    classifier = InstanceTransferClassifier(
        ParameterTransferClassifier(tabular_backbone, strategy="frozen", random_state=0),
        source=SourceDomain(X_source, y_source),
        weighting=DomainClassifierWeighting(backbone=tabular_backbone),
        fallback=None,
    )
    classifier.fit(X, y)
    assert classifier.score(X_test, y_test) > 0.75
    assert np.isfinite(classifier.predict_proba(X_test)).all()
