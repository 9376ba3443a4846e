import numpy as np
import pytest

from sktransfer.evaluation._principal_axes import PrincipalAxes, standardize


@pytest.mark.parametrize(("n", "d"), [(30, 7), (7, 30), (12, 12), (5, 1), (1, 5), (2, 2)])
def test_rows_and_projections_are_those_of_the_singular_values(n, d):
    rng = np.random.default_rng(0)
    F, Y = rng.normal(size=(n, d)), rng.normal(size=(n, 3))
    axes = PrincipalAxes(F)
    singular = np.linalg.svd(F, compute_uv=False)
    np.testing.assert_allclose(np.sort(axes.squares)[::-1], singular**2, rtol=1e-9)
    rows = axes.rows()
    np.testing.assert_allclose(rows @ rows.T, F @ F.T, atol=1e-10)
    np.testing.assert_allclose(rows.T @ rows, np.diag(axes.squares), atol=1e-10)
    np.testing.assert_allclose(axes.project(Y), rows.T @ Y, atol=1e-10)


def test_axes_without_variance_are_left_out():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20))
    assert len(PrincipalAxes(F).squares) == 3
    assert PrincipalAxes(np.zeros((4, 3))).rows().shape == (4, 0)


def test_standardize():
    F = np.random.default_rng(0).normal(size=(20, 4)) * 1e200 + 3e200
    features = standardize(F)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    assert (features**2).sum() == pytest.approx(20)
    assert not standardize(np.full((20, 4), 0.1)).any()
