import numpy as np
import pytest
from scipy.linalg import inv, sqrtm

from sktransfer import CorrelationAlignment, SourceDomain


def correlated(n_rows, n_columns, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, n_columns)) @ rng.normal(size=(n_columns, n_columns)) + shift


@pytest.mark.parametrize(("n_source", "n_target"), [(200, 150), (30, 500), (60, 6)])
def test_source_gets_mean_and_covariance_of_the_target(n_source, n_target):
    X_source, X_target = correlated(n_source, 5, 0, shift=3.4), correlated(n_target, 5, 1)
    alignment = CorrelationAlignment(SourceDomain(X_source), regularization=0).fit(X_target)
    aligned = alignment.transform_source()
    np.testing.assert_allclose(aligned.mean(axis=0), X_target.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(np.cov(aligned.T), np.cov(X_target.T), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(alignment.transform(X_target), X_target)


def test_formula_of_the_paper_on_standardized_domains():
    X_source, X_target = (
        (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
        for X in (correlated(80, 4, 0), correlated(70, 4, 1))
    )
    eye = np.eye(4)
    expected = X_source @ inv(sqrtm(np.cov(X_source.T) + eye)) @ sqrtm(np.cov(X_target.T) + eye)
    alignment = CorrelationAlignment(SourceDomain(X_source), regularization=1).fit(X_target)
    np.testing.assert_allclose(alignment.transform_source(), expected, atol=1e-10)


def test_large_regularization_matches_mean_and_scales_only():
    X_source, X_target = correlated(80, 4, 0), correlated(70, 4, 1)
    alignment = CorrelationAlignment(SourceDomain(X_source), regularization=1e9).fit(X_target)
    standardized = (X_source - X_source.mean(axis=0)) / X_source.std(axis=0, ddof=1)
    expected = standardized * X_target.std(axis=0, ddof=1) + X_target.mean(axis=0)
    np.testing.assert_allclose(alignment.transform_source(), expected, atol=1e-6)


def test_fewer_rows_than_columns_gives_what_the_full_matrices_give():
    X_source, X_target = correlated(12, 30, 0), correlated(9, 30, 1)
    alignment = CorrelationAlignment(SourceDomain(X_source)).fit(X_target)
    matrices = []
    for X, power in ((X_source, -0.5), (X_target, 0.5)):
        values, vectors = np.linalg.eigh(np.corrcoef(X.T) + np.eye(30))
        matrices.append(vectors * values**power @ vectors.T)
    standardized = (X_source - X_source.mean(axis=0)) / X_source.std(axis=0, ddof=1)
    expected = standardized @ matrices[0] @ matrices[1]
    expected = expected * X_target.std(axis=0, ddof=1) + X_target.mean(axis=0)
    np.testing.assert_allclose(alignment.transform_source(), expected, atol=1e-9)


def test_weights_of_the_source_are_those_of_its_mean():
    X_source, X_target = correlated(50, 3, 0), correlated(70, 3, 1)
    weight = np.linspace(0.1, 3, 50)
    source = SourceDomain(X_source, sample_weight=weight)
    aligned = CorrelationAlignment(source).fit(X_target).transform_source()
    mean = np.average(aligned, axis=0, weights=weight)
    np.testing.assert_allclose(mean, X_target.mean(axis=0), atol=1e-10)
    assert np.abs(aligned.mean(axis=0) - mean).max() > 0.02


def test_column_that_is_constant_in_the_target_becomes_constant():
    X_source, X_target = correlated(50, 3, 0), correlated(70, 3, 1)
    X_target[:, 1] = 0.1
    aligned = CorrelationAlignment(SourceDomain(X_source)).fit(X_target).transform_source()
    np.testing.assert_allclose(aligned[:, 1], 0.1)


def test_units_of_one_domain_do_not_matter():
    X_source, X_target = correlated(50, 3, 0), correlated(70, 3, 1)
    aligned = CorrelationAlignment(SourceDomain(X_source)).fit(X_target).transform_source()
    in_inches = SourceDomain(X_source / 2.54 + 7)
    again = CorrelationAlignment(in_inches).fit(X_target).transform_source()
    np.testing.assert_allclose(again, aligned, atol=1e-9)
