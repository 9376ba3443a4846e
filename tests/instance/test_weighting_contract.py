"""What every weighting keeps; a new one is one more line in a list.

``RATIOS`` are those that estimate the density ratio of the rows. ``OTHERS`` go by something else.
"""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from torch import nn

from sktransfer.datasets import make_covariate_shift
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import (
    KLIEP,
    ULSIF,
    BalancedWeighting,
    DomainClassifierWeighting,
    KernelDensityWeighting,
    KernelMeanMatching,
    LabelShiftWeighting,
    NearestNeighborWeighting,
)

RATIOS = [
    DomainClassifierWeighting(random_state=0),
    KLIEP(random_state=0),
    KernelDensityWeighting(random_state=0),
    KernelMeanMatching(random_state=0),
    NearestNeighborWeighting(),
    ULSIF(random_state=0),
    ULSIF(alpha=0.3, random_state=0),
]
OTHERS = [
    BalancedWeighting(),
    LabelShiftWeighting(cv=2, random_state=0),
]
TAKE_MISSING_VALUES = (BalancedWeighting, DomainClassifierWeighting, LabelShiftWeighting)


def for_each(*weightings):
    return pytest.mark.parametrize(
        "weighting", [clone(w) for w in weightings], ids=lambda w: type(w).__name__
    )


each_weighting = for_each(*RATIOS, *OTHERS)
each_ratio = for_each(*RATIOS)
each_tunable = for_each(*(w for w in [*RATIOS, *OTHERS] if "flatten" in w.get_params()))
each_in_space = for_each(*(w for w in [*RATIOS, *OTHERS] if "backbone" in w.get_params()))


def compute(weighting, X_source, X_target):
    """Give also those that go by labels what they need: labels that differ from row to row."""
    y_source = np.arange(len(X_source)) % 3
    return weighting.compute_weights(X_source, X_target, y_source=y_source)


def check_weights(weights, n_source):
    assert weights.shape == (n_source,)
    assert weights.dtype == np.float64
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1)


def normalized_error(weights, log_ratio):
    """Return the mean squared error, as a share of that of equal weights."""
    ratio = np.exp(log_ratio)
    ratio /= ratio.mean()
    return np.mean((weights - ratio) ** 2) / np.mean((1 - ratio) ** 2)


@each_ratio
@pytest.mark.parametrize(("n_source", "n_target"), [(300, 300), (300, 40), (40, 300)])
@pytest.mark.parametrize("kind", ["mean", "variance", "correlation"])
def test_follows_the_true_ratio(weighting, kind, n_source, n_target):
    domains = make_covariate_shift(n_source, n_target, kind=kind, shift=1.2, random_state=3)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    check_weights(weights, n_source)
    assert spearmanr(weights, domains.log_ratio).statistic > 0.5
    assert normalized_error(weights, domains.log_ratio) < 1


@each_ratio
@pytest.mark.parametrize(("n_features", "kind"), [(2, "mean"), (5, "variance"), (10, "mean")])
def test_error_in_several_dimensions(weighting, n_features, kind):
    domains = make_covariate_shift(800, 500, n_features, kind=kind, random_state=1)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    assert spearmanr(weights, domains.log_ratio).statistic > 0.75
    assert normalized_error(weights, domains.log_ratio) < 0.75


@each_ratio
def test_many_columns(weighting):
    domains = make_covariate_shift(200, 150, 50, shift=2.0, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    check_weights(weights, 200)
    assert not np.isnan(weighting.log_ratio_).any()
    assert spearmanr(weights, domains.log_ratio).statistic > 0


@each_ratio
def test_no_shift_gives_nearly_equal_weights(weighting):
    domains = make_covariate_shift(500, 500, shift=0, random_state=0)
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    check_weights(weights, 500)
    assert weighting.effective_sample_size_ > 450


@each_ratio
def test_rows_far_from_the_target_get_less_weight_than_those_within(weighting):
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + [4, 0]
    target = np.vstack([rng.normal(size=(30, 2)), rng.normal(size=(3, 2)) + [4, 0]])
    weights = weighting.compute_weights(np.vstack([near, far]), target)
    assert weights[:60].mean() > 2 * weights[60:].mean()


@each_ratio
def test_equal_rows_get_equal_weights(weighting):
    domains = make_covariate_shift(60, 50, shift=1.0, random_state=0)
    source, target = (np.round(X) for X in (domains.X_source, domains.X_target))
    weights = weighting.compute_weights(source, target)
    _, row_ids = np.unique(source, axis=0, return_inverse=True)
    for row_id in np.unique(row_ids):
        of_equal = weights[row_ids.ravel() == row_id]
        np.testing.assert_allclose(of_equal, of_equal[0], rtol=1e-6)


@each_weighting
def test_permuting_rows_permutes_weights(weighting):
    domains = make_covariate_shift(120, 80, shift=1.0, random_state=1)
    y = domains.y_source
    weights = weighting.compute_weights(domains.X_source, domains.X_target, y_source=y)
    rng = np.random.default_rng(0)
    permuted, other = rng.permutation(120), rng.permutation(80)
    again = weighting.compute_weights(
        domains.X_source[permuted], domains.X_target[other], y_source=y[permuted]
    )
    np.testing.assert_allclose(again, weights[permuted], rtol=1e-9)


@each_weighting
def test_scale_of_columns_does_not_matter(weighting):
    domains = make_covariate_shift(150, 100, shift=1.0, random_state=1)
    scale = np.array([1e6, 1e-6])
    y = domains.y_source
    weights = weighting.compute_weights(domains.X_source, domains.X_target, y_source=y)
    scaled = weighting.compute_weights(
        domains.X_source * scale, domains.X_target * scale, y_source=y
    )
    np.testing.assert_allclose(scaled, weights, rtol=1e-3)


@each_weighting
@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
@pytest.mark.parametrize(
    ("X_source", "X_target"),
    [
        (np.zeros((1, 2)), np.ones((5, 2))),
        (np.arange(8.0).reshape(4, 2), np.ones((1, 2))),
        (np.zeros((6, 3)), np.zeros((4, 3))),
        (np.arange(20.0).reshape(10, 2), np.arange(20.0).reshape(10, 2)),
        (np.arange(20.0).reshape(10, 2) % 3, np.arange(8.0).reshape(4, 2) % 3),
        (np.arange(6.0).reshape(3, 2), 100 + np.arange(6.0).reshape(3, 2)),
        (np.c_[np.arange(9.0), np.ones(9)], np.c_[np.arange(5.0), np.ones(5)]),
        (np.arange(10, dtype=np.uint8)[:, None], np.arange(4, dtype=np.float32)[:, None]),
    ],
    ids=[
        "one source row",
        "one target row",
        "all rows equal",
        "same rows in both",
        "duplicates in both",
        "no overlap",
        "constant column",
        "other dtypes",
    ],
)
def test_degenerate_rows(weighting, X_source, X_target):
    check_weights(compute(weighting, X_source, X_target), len(X_source))


@each_weighting
def test_images_are_weighted_as_flat_rows(weighting):
    domains = make_covariate_shift(60, 40, 4, shift=1.0, random_state=0)
    flat = compute(weighting, domains.X_source, domains.X_target)
    images = [X.reshape(-1, 2, 2) for X in (domains.X_source, domains.X_target)]
    np.testing.assert_array_equal(compute(weighting, *images), flat)


@each_ratio
def test_flatten_and_clip(weighting):
    domains = make_covariate_shift(200, 100, shift=2.0, random_state=0)
    rows = domains.X_source, domains.X_target
    equal = clone(weighting).set_params(flatten=0).compute_weights(*rows)
    np.testing.assert_array_equal(equal, np.ones(200))
    clipped = clone(weighting).set_params(clip=2)
    weights = clipped.compute_weights(*rows)
    check_weights(weights, 200)
    assert weights.max() == pytest.approx(2)
    free = clone(weighting).set_params(clip=None)
    free.compute_weights(*rows)
    np.testing.assert_array_equal(free.log_ratio_, clipped.log_ratio_)
    assert free.effective_sample_size_ < clipped.effective_sample_size_
    assert free.max_share_ > clipped.max_share_ == pytest.approx(2 / 200)


@each_tunable
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"flatten": -0.5}, ValueError, "Got flatten=-0.5"),
        ({"flatten": 2}, ValueError, "Got flatten=2"),
        ({"clip": 0.5}, ValueError, "Got clip=0.5"),
        ({"clip": "no"}, TypeError, "Got clip='no'"),
    ],
)
def test_bad_parameters(weighting, parameters, error, message):
    with pytest.raises(error, match=message):
        compute(clone(weighting).set_params(**parameters), np.eye(3), np.eye(3))


@each_weighting
def test_bad_rows(weighting):
    with pytest.raises(ValueError, match="source with 2 columns and a target with 3 columns"):
        weighting.compute_weights(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="infinity"):
        weighting.compute_weights(np.zeros((4, 2)), np.full((4, 2), np.inf))
    with pytest.raises(ValueError, match=r"X_target of shape \(0, 2\)"):
        weighting.compute_weights(np.zeros((4, 2)), np.zeros((0, 2)))


@each_weighting
def test_same_seed_same_weights_and_global_generator_untouched(weighting):
    domains = make_covariate_shift(60, 40, shift=1.0, random_state=0)
    before = np.random.get_state()[1].copy()
    first, second = (
        compute(clone(weighting), domains.X_source, domains.X_target) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@each_weighting
def test_attributes(weighting):
    domains = make_covariate_shift(60, 40, shift=1.0, random_state=0)
    weights = compute(weighting, domains.X_source, domains.X_target)
    assert weighting.log_ratio_.shape == (60,)
    assert weighting.effective_sample_size_ == pytest.approx(
        weights.sum() ** 2 / (weights**2).sum()
    )
    assert weighting.max_share_ == pytest.approx(weights.max() / 60)
    assert weighting.domain_auc_ is None or 0.3 < weighting.domain_auc_ <= 1


@each_weighting
def test_every_public_attribute_is_documented_and_set(weighting):
    domains = make_covariate_shift(60, 40, shift=1.0, random_state=0)
    compute(weighting, domains.X_source, domains.X_target)
    found = {name for name in vars(weighting) if name.endswith("_") and name[0] != "_"}
    section = inspect.getdoc(type(weighting)).split("Attributes\n----------\n")[1]
    names = [line for line in section.split("\n\n") if not line.startswith(" ")]
    documented = set(re.findall(r"\b\w+_\b", "\n".join(n.split("\n")[0] for n in names)))
    assert found == documented
    assert "compute_weights(" in section.split("Examples\n--------\n")[1]


@each_weighting
@pytest.mark.parametrize("n_rows", [(150, 60), (40, 12), (12, 100)])
@pytest.mark.parametrize("n_columns", [2, 20])
def test_domains_apart_are_noticed(weighting, n_columns, n_rows):
    rng = np.random.default_rng(0)
    X_source, X_target = (rng.normal(size=(n, n_columns)) for n in n_rows)
    rows = X_source, 100 + X_target
    if isinstance(weighting, BalancedWeighting):  # its weights hold wherever the rows are
        np.testing.assert_array_equal(compute(weighting, *rows), np.ones(n_rows[0]))
        return
    with pytest.warns(LowOverlapWarning, match=r"AUC 1\.000.*preprocessing that differs"):
        check_weights(compute(weighting, *rows), n_rows[0])
    assert weighting.domain_auc_ > 0.99


@each_weighting
@pytest.mark.parametrize(
    ("kind", "shift"), [("mean", 0.0), ("mean", 1.5), ("variance", 1.5), ("correlation", 1.0)]
)
def test_domains_that_overlap_raise_no_alarm(weighting, kind, shift):
    """Warnings are errors here."""
    domains = make_covariate_shift(150, 25, 5, kind=kind, shift=shift, random_state=1)
    compute(weighting, domains.X_source, domains.X_target)


@each_weighting
def test_pickles_and_clones(weighting):
    domains = make_covariate_shift(30, 20, shift=1.0, random_state=0)
    compute(weighting, domains.X_source, domains.X_target)
    copied = pickle.loads(pickle.dumps(weighting))
    np.testing.assert_array_equal(copied.log_ratio_, weighting.log_ratio_)
    assert clone(weighting).get_params().keys() == weighting.get_params().keys()


def make_table(n_rows, share_of_nurses, rng):
    job = np.where(rng.random(n_rows) < share_of_nurses, "nurse", "judge").astype(object)
    return pd.DataFrame({"job": job, "age": rng.normal(size=n_rows)})


@each_ratio
@pytest.mark.parametrize("kind", ["object", "category", "polars", "array"])
def test_tables_with_categories(weighting, kind):
    rng = np.random.default_rng(0)
    source, target = make_table(200, 0.5, rng), make_table(150, 0.9, rng)
    is_nurse = (source["job"] == "nurse").to_numpy()
    if kind == "category":
        source, target = (frame.astype({"job": "category"}) for frame in (source, target))
    elif kind == "polars":
        source, target = (pl.DataFrame(frame.to_dict("list")) for frame in (source, target))
    elif kind == "array":
        source, target = (frame.to_numpy() for frame in (source, target))
    weights = weighting.compute_weights(source, target)
    assert weights[is_nurse].mean() > 2 * weights[~is_nurse].mean()


@each_weighting
def test_missing_values_are_taken_or_refused(weighting):
    rng = np.random.default_rng(0)
    source, target = make_table(60, 0.5, rng), make_table(50, 0.9, rng)
    source.loc[3, "age"] = np.nan
    if isinstance(weighting, TAKE_MISSING_VALUES):
        check_weights(compute(weighting, source, target), 60)
    else:
        name = type(weighting).__name__
        with pytest.raises(ValueError, match=f"{name}.*impute"):
            compute(weighting, source, target)


@each_weighting
def test_a_missing_category_is_no_missing_number(weighting):
    rng = np.random.default_rng(0)
    source, target = make_table(60, 0.5, rng), make_table(50, 0.9, rng)
    source.loc[3, "job"] = None
    check_weights(compute(weighting, source, target), 60)


@each_in_space
def test_weights_in_the_space_of_a_backbone_are_those_of_its_activations(weighting):
    domains = make_covariate_shift(60, 40, shift=1.0, random_state=0)
    hidden = nn.Linear(2, 4)
    with torch.no_grad():
        hidden.weight[:] = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
        hidden.bias[:] = 0
    network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(4, 3))
    in_space = clone(weighting).set_params(backbone=network)
    weights = compute(in_space, domains.X_source, domains.X_target)
    activations = [
        np.maximum(np.hstack([X, -X]).astype(np.float32), 0).astype(np.float64)
        for X in (domains.X_source, domains.X_target)
    ]
    np.testing.assert_allclose(weights, compute(weighting, *activations), rtol=1e-5)
