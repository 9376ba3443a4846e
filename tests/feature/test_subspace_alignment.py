import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances

from sktransfer import SourceDomain, SubspaceAlignment


def rows(n_rows, seed, n_columns=8):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, n_columns)) * np.arange(1, n_columns + 1) @ np.linalg.qr(
        rng.normal(size=(n_columns, n_columns))
    )[0] + rng.normal(size=n_columns)


def test_formula_of_the_paper_with_axes_of_scikit_learn():
    X_source, X_target = rows(60, 0), rows(50, 1)
    P_source, P_target = (PCA(3).fit(X).components_.T for X in (X_source, X_target))
    alignment = SubspaceAlignment(SourceDomain(X_source), n_components=3, standardize=False)
    target = alignment.fit(X_target).transform(X_target)
    expected_target = (X_target - X_target.mean(axis=0)) @ P_target
    expected_source = (X_source - X_source.mean(axis=0)) @ P_source @ P_source.T @ P_target
    # Up to the signs of the axes of the target.
    signs = np.sign((target * expected_target).sum(axis=0))
    np.testing.assert_allclose(target, expected_target * signs, atol=1e-9)
    np.testing.assert_allclose(alignment.transform_source(), expected_source * signs, atol=1e-9)


def test_domains_that_share_a_plane_keep_their_distances():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    X_source, X_target = rng.normal(size=(40, 2)) @ plane, rng.normal(size=(30, 2)) @ plane
    alignment = SubspaceAlignment(SourceDomain(X_source), n_components=2, standardize=False)
    alignment.fit(X_target)
    for X, mapped in (
        (X_source, alignment.transform_source()),
        (X_target, alignment.transform(X_target)),
    ):
        np.testing.assert_allclose(pairwise_distances(mapped), pairwise_distances(X), atol=1e-9)


@pytest.mark.parametrize(("n_columns", "expected"), [(1, 1), (2, 1), (8, 4), (100, 20)])
def test_default_leaves_out_some_axes(n_columns, expected):
    X_source, X_target = rows(150, 0, n_columns), rows(150, 1, n_columns)
    alignment = SubspaceAlignment(SourceDomain(X_source)).fit(X_target)
    assert alignment.n_components_ == expected
    assert alignment.get_feature_names_out()[0] == "subspacealignment0"


def test_no_more_components_than_directions():
    alignment = SubspaceAlignment(SourceDomain(rows(60, 0)), n_components=5)
    assert alignment.fit(rows(4, 1)).n_components_ == 3


def test_too_many_components():
    alignment = SubspaceAlignment(SourceDomain(rows(60, 0)), n_components=9)
    with pytest.raises(ValueError, match="Got n_components=9, but expected at most 8"):
        alignment.fit(rows(50, 1))


def test_standardize_divides_each_domain_by_its_own_scales():
    X_source, X_target = rows(60, 0), rows(50, 1)
    plain = SubspaceAlignment(SourceDomain(X_source), n_components=3).fit(X_target)
    scaled = SubspaceAlignment(SourceDomain(X_source * 1000), n_components=3).fit(X_target)
    np.testing.assert_allclose(scaled.transform_source(), plain.transform_source(), atol=1e-9)
