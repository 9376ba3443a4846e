"""How well domains can be told apart: near 1 where they do not overlap, and only there."""

import numpy as np
import pandas as pd
import pytest

from sktransfer.datasets import make_covariate_shift
from sktransfer.instance._domain_auc import measure_domain_auc


def make_ring(n_source, n_target, n_columns, rng):
    """Return a source around the target, that no line separates from it."""
    X_source = rng.normal(size=(n_source, n_columns))
    X_source *= 10 * np.sqrt(n_columns) / np.linalg.norm(X_source, axis=1, keepdims=True)
    return X_source, rng.normal(size=(n_target, n_columns))


@pytest.mark.parametrize(("n_source", "n_target"), [(500, 500), (1000, 50), (300, 12), (12, 300)])
@pytest.mark.parametrize("n_columns", [1, 5, 50])
def test_domains_apart(n_source, n_target, n_columns):
    rng = np.random.default_rng(0)
    X_source = rng.normal(size=(n_source, n_columns))
    X_target = rng.normal(size=(n_target, n_columns))
    X_target[:, 0] += 12
    assert measure_domain_auc(X_source, X_target) > 0.99
    if n_columns > 1 and n_source > 12:  # twelve rows around others are not yet a ring
        assert measure_domain_auc(*make_ring(n_source, n_target, n_columns, rng)) > 0.99


@pytest.mark.parametrize("n_rows", [(500, 500), (1000, 50), (300, 10), (15, 300)])
@pytest.mark.parametrize("n_columns", [2, 20])
@pytest.mark.parametrize(
    ("kind", "shift"), [("mean", 0.0), ("mean", 2.0), ("variance", 1.5), ("correlation", 1.0)]
)
def test_domains_that_overlap(kind, shift, n_columns, n_rows):
    for seed in range(3):
        domains = make_covariate_shift(
            *n_rows, n_columns, kind=kind, shift=shift, random_state=seed
        )
        assert measure_domain_auc(domains.X_source, domains.X_target) < 0.98


def test_of_equal_domains_it_is_a_half():
    aucs = []
    for seed in range(10):
        domains = make_covariate_shift(400, 200, 5, shift=0, random_state=seed)
        aucs.append(measure_domain_auc(domains.X_source, domains.X_target))
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.05)


def test_scale_of_columns_does_not_matter():
    domains = make_covariate_shift(100, 80, 3, shift=1.0, random_state=0)
    scale = np.array([1e6, 1.0, 1e-6])
    auc = measure_domain_auc(domains.X_source, domains.X_target)
    scaled = measure_domain_auc(domains.X_source * scale, domains.X_target * scale)
    assert scaled == pytest.approx(auc, abs=1e-6)


def test_equal_rows_share_a_fold():
    """Else a row of the source would be known by its twins, without any shift."""
    rng = np.random.default_rng(0)
    X_source, X_target = np.repeat(rng.normal(size=(30, 3)), 10, axis=0), rng.normal(size=(100, 3))
    assert measure_domain_auc(X_source, X_target) < 0.8
    assert measure_domain_auc(X_source, X_source) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("n_rows", [(9, 100), (100, 9), (1, 1)])
def test_few_rows_say_nothing(n_rows):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows[0], 2)), rng.normal(size=(n_rows[1], 2)) + 20
    assert measure_domain_auc(*rows) is None
    assert measure_domain_auc(np.zeros((50, 2)), np.ones((50, 2))) is None


def test_tables_with_categories_and_missing_values():
    rng = np.random.default_rng(0)

    def make(n_rows, jobs):
        frame = pd.DataFrame({"age": rng.normal(size=n_rows), "job": rng.choice(jobs, n_rows)})
        return frame.assign(empty=np.nan, age=frame["age"].where(rng.random(n_rows) > 0.3))

    assert 0.3 < measure_domain_auc(make(80, ["a", "b"]), make(60, ["a", "b"])) < 0.7
    assert measure_domain_auc(make(80, ["a", "b"]), make(60, ["c", "d"])) > 0.99


def test_images():
    rng = np.random.default_rng(0)
    dark, bright = rng.random((40, 6, 6)), 5 + rng.random((30, 6, 6))
    assert measure_domain_auc(dark, bright) == 1
    assert measure_domain_auc(dark, rng.random((30, 6, 6))) < 0.8
