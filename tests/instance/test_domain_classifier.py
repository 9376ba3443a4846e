"""DomainClassifierWeighting: its quality, and what it takes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC

from sktransfer.datasets import make_covariate_shift
from sktransfer.exceptions import LowOverlapWarning
from sktransfer.instance import DomainClassifierWeighting


def normalized_error(weights, log_ratio):
    ratio = np.exp(log_ratio)
    ratio /= ratio.mean()
    return np.mean((weights - ratio) ** 2) / np.mean(ratio**2)


@pytest.mark.parametrize("n_values", [0, 1])
@pytest.mark.parametrize("value", [1.0, "b"])
def test_columns_that_are_empty_in_some_fold(value, n_values):
    domains = make_covariate_shift(200, 60, kind="mean", random_state=0)
    source, target = (
        pd.DataFrame(rows, columns=["a", "b"]) for rows in (domains.X_source, domains.X_target)
    )
    dtype = float if value == 1.0 else object
    rare = pd.Series([value] * n_values + [None] * (200 - n_values), dtype=dtype)
    source["rare"], target["rare"] = rare, pd.Series([None] * 60, dtype=dtype)
    weights = DomainClassifierWeighting(random_state=0).compute_weights(source, target)
    assert np.corrcoef(np.log(weights), domains.log_ratio)[0, 1] > 0.4  # the other columns tell


@pytest.mark.parametrize(
    ("kind", "n_features", "most"),
    [("mean", 2, 0.1), ("mean", 10, 0.15), ("variance", 2, 0.05), ("correlation", 2, 0.12)],
)
def test_error_against_the_true_ratio(kind, n_features, most):
    errors = []
    for seed in range(2):
        domains = make_covariate_shift(1000, 800, n_features, kind=kind, random_state=seed)
        weights = DomainClassifierWeighting(random_state=0).compute_weights(
            domains.X_source, domains.X_target
        )
        errors.append(normalized_error(weights, domains.log_ratio))
    assert np.mean(errors) < most


def test_level_of_the_ratio_is_right_for_unequal_domains():
    domains = make_covariate_shift(1000, 100, shift=1.0, random_state=0)
    weighting = DomainClassifierWeighting(random_state=0)
    weighting.compute_weights(domains.X_source, domains.X_target)
    assert np.median(weighting.log_ratio_ - domains.log_ratio) == pytest.approx(0, abs=0.25)


@pytest.mark.filterwarnings("ignore::sktransfer.exceptions.LowOverlapWarning")
def test_calibration_stands_against_a_classifier_that_is_too_sure():
    domains = make_covariate_shift(300, 300, 10, shift=0, random_state=0)
    sure = HistGradientBoostingClassifier(min_samples_leaf=2, max_iter=40, random_state=0)
    sizes = [
        DomainClassifierWeighting(sure, calibrate=calibrate, clip=None, random_state=0)
        for calibrate in (True, False)
    ]
    for weighting in sizes:
        weighting.compute_weights(domains.X_source, domains.X_target)
    assert sizes[0].effective_sample_size_ > 290
    assert sizes[1].effective_sample_size_ < 200
    assert sizes[0].domain_auc_ == pytest.approx(0.5, abs=0.1)


class MemorizingClassifier(ClassifierMixin, BaseEstimator):
    """Know the rows of fit, and nothing else."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.rows_ = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
        return self

    def predict_proba(self, X):
        target = np.array([self.rows_.get(row.tobytes(), 0.5) for row in X])
        return np.column_stack([1 - target, target])


def test_no_row_is_judged_by_a_classifier_that_saw_it():
    rows = np.repeat(np.arange(30.0), 2)[:, None]  # each twice, and all in both domains
    weighting = DomainClassifierWeighting(MemorizingClassifier(), calibrate=False, random_state=0)
    np.testing.assert_array_equal(weighting.compute_weights(rows, rows[:40]), np.ones(60))


def test_separated_domains_warn_of_preprocessing():
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.warns(LowOverlapWarning, match=r"AUC 1\.000.*a scaler before this step"):
        DomainClassifierWeighting(random_state=0).compute_weights(X, 100 + X)


def make_frames(n_rows, share_of_nurses, rng):
    job = np.where(rng.random(n_rows) < share_of_nurses, "nurse", "judge")
    age = rng.normal(size=n_rows)
    age[rng.random(n_rows) < 0.2] = np.nan
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 9, n_rows), unit="D")
    return pd.DataFrame({"job": job, "age": age, "day": day, "new": rng.random(n_rows) < 0.5})


@pytest.mark.parametrize("kind", ["object", "category", "polars", "array"])
def test_tables_with_categories_and_missing_values(kind):
    rng = np.random.default_rng(0)
    source, target = make_frames(400, 0.5, rng), make_frames(300, 0.9, rng)
    is_nurse = (source["job"] == "nurse").to_numpy()
    if kind == "category":
        source, target = (frame.astype({"job": "category"}) for frame in (source, target))
    elif kind == "polars":
        source, target = (pl.DataFrame(frame.to_dict("list")) for frame in (source, target))
    elif kind == "array":
        source, target = (
            frame[["job", "age"]].astype(object).to_numpy() for frame in (source, target)
        )
    weights = DomainClassifierWeighting(random_state=0).compute_weights(source, target)
    assert weights[is_nurse].mean() == pytest.approx(1.8, abs=0.25)
    assert weights[~is_nurse].mean() == pytest.approx(0.2, abs=0.15)


def test_own_classifier_gets_frames_as_frames():
    rng = np.random.default_rng(0)
    source, target = (make_frames(n, share, rng) for n, share in ((200, 0.5), (100, 0.9)))
    classifier = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["job"])), LogisticRegression()
    )
    weighting = DomainClassifierWeighting(classifier, random_state=0)
    weights = weighting.compute_weights(source, target)
    assert weights[(source["job"] == "nurse").to_numpy()].mean() > 1.3
    assert weighting.classifier_ is classifier


def test_many_categories():
    names = np.array([f"town {i}" for i in range(400)], dtype=object)[:, None]
    weights = DomainClassifierWeighting(random_state=0).compute_weights(names, names[:200])
    assert weights.mean() == pytest.approx(1)


def test_classifier_without_probabilities():
    with pytest.raises(TypeError, match=r"classifier=SVC\(\).*CalibratedClassifierCV"):
        DomainClassifierWeighting(SVC()).compute_weights(np.eye(3), np.eye(3))


def test_folds_are_checked():
    with pytest.raises(ValueError, match="Got cv=1, but expected an integer >= 2"):
        DomainClassifierWeighting(cv=1).compute_weights(np.eye(3), np.eye(3))


class CountingClassifier(LogisticRegression):
    """Remember the numbers of rows of each fit."""

    n_rows = []

    def fit(self, X, y):
        self.n_rows.append(np.bincount(y, minlength=2).tolist())
        return super().fit(X, y)


def test_classifiers_are_fitted_on_a_bounded_number_of_rows():
    domains = make_covariate_shift(2000, 100, shift=1.0, random_state=0)
    CountingClassifier.n_rows.clear()
    weighting = DomainClassifierWeighting(
        CountingClassifier(), max_fit_rows=300, calibrate=False, clip=None, random_state=0
    )
    weights = weighting.compute_weights(domains.X_source, domains.X_target)
    # The smaller domain whole, as far as it is in the other folds.
    assert CountingClassifier.n_rows == [[220, 80]] * 5
    # The odds are those of all rows: the draw is corrected for.
    assert np.median(weighting.log_ratio_ - domains.log_ratio) == pytest.approx(0, abs=0.3)
    assert normalized_error(weights, domains.log_ratio) < 0.1
    order = np.random.default_rng(0).permutation(2000)
    again = weighting.compute_weights(domains.X_source[order], domains.X_target)
    np.testing.assert_allclose(again, weights[order], rtol=1e-9)


@pytest.mark.parametrize("kind", ["mean", "variance"])
def test_bounded_fits_do_nearly_as_well(kind):
    domains = make_covariate_shift(2000, 1500, 3, kind=kind, random_state=0)
    errors = []
    for max_fit_rows in (None, 800):
        weighting = DomainClassifierWeighting(max_fit_rows=max_fit_rows, random_state=0)
        weights = weighting.compute_weights(domains.X_source, domains.X_target)
        errors.append(normalized_error(weights, domains.log_ratio))
    assert errors[1] < errors[0] + 0.05


def test_bound_with_few_distinct_rows():
    rows = np.repeat(np.arange(2.0), 50)[:, None]
    weighting = DomainClassifierWeighting(max_fit_rows=10, random_state=0)
    weights = weighting.compute_weights(rows, rows[40:])
    assert np.isfinite(weights).all()
    with pytest.raises(ValueError, match="Got max_fit_rows=5, but expected an integer >= 10"):
        DomainClassifierWeighting(max_fit_rows=5).compute_weights(rows, rows)


@pytest.mark.parametrize("kind", ["missing value", "category"])
def test_one_missing_value_or_a_useless_category_costs_little(kind):
    domains = make_covariate_shift(200, 60, 4, shift=1.2, random_state=0)
    source, target = pd.DataFrame(domains.X_source), pd.DataFrame(domains.X_target)
    if kind == "missing value":
        source.iloc[3, 1] = np.nan
    else:
        rng = np.random.default_rng(0)
        source["kind"], target["kind"] = rng.choice(["a", "b"], 200), rng.choice(["a", "b"], 60)
        source.columns = target.columns = [str(name) for name in source.columns]
    weighting = DomainClassifierWeighting(random_state=0)
    weighting.compute_weights(source, target)
    assert spearmanr(weighting.log_ratio_, domains.log_ratio).statistic > 0.9
