"""What weightings make of columns of all kinds: they work, or say what is wrong with which one."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

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

TAKE_MISSING_VALUES = [
    BalancedWeighting(),
    DomainClassifierWeighting(cv=2, random_state=0),
    LabelShiftWeighting(cv=2, random_state=0),
]
MEASURE_DISTANCES = [
    KLIEP(random_state=0),
    KernelDensityWeighting(),
    KernelMeanMatching(random_state=0),
    NearestNeighborWeighting(),
    ULSIF(random_state=0),
]
N_SOURCE, N_TARGET = 24, 16


def for_each(weightings):
    return pytest.mark.parametrize("weighting", weightings, ids=lambda w: type(w).__name__)


def compute(weighting, X_source, X_target):
    return clone(weighting).compute_weights(X_source, X_target, y_source=np.arange(N_SOURCE) % 2)


def make_domains(make_column, make_other=None, to_frame=pd.DataFrame):
    """Return source and target with a column of numbers and one of ``n`` values, a function."""
    rng = np.random.default_rng(0)
    makers = ((N_SOURCE, make_column), (N_TARGET, make_other or make_column))
    return [to_frame({"age": rng.normal(size=n), "what": make(rng, n)}) for n, make in makers]


def numbers(rng, n):
    return rng.normal(size=n)


def objects(make):
    return lambda rng, n: pd.Series(list(make(rng, n)), dtype=object)


def words(rng, n):
    return rng.choice(["nurse", "judge"], n).tolist()


def numbers_as_text(rng, n):
    return [f"{value:.2f}" for value in rng.normal(size=n)]


def numbers_and_words(rng, n):
    return np.array([7, "nurse"] * (n // 2), dtype=object)


def days(rng, n):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D")


def days_in_a_zone(rng, n):
    return days(rng, n).tz_localize("Europe/Paris")


def dates(rng, n):
    return [day.date() for day in days(rng, n)]


def moments(rng, n):
    return [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=int(h)) for h in range(n)]


def with_missing(make, value):
    def make_with_missing(rng, n):
        column = pd.Series(make(rng, n))
        return column.where(np.arange(n) != 3, value)

    return make_with_missing


WORKING = {
    "words and categories": make_domains(
        words, lambda rng, n: pd.Categorical(rng.choice(["nurse", "cook"], n))
    ),
    "mixed": make_domains(numbers_and_words),
    "mixed and words": make_domains(numbers_and_words, words),
    "booleans": make_domains(lambda rng, n: rng.random(n) > 0.5),
    "booleans and numbers": make_domains(lambda rng, n: rng.random(n) > 0.5, numbers),
    "datetimes": make_domains(days),
    "datetimes of a zone": make_domains(days_in_a_zone),
    "dates": make_domains(dates),
    "durations": make_domains(lambda rng, n: days(rng, n) - days(rng, n)),
    "missing word": make_domains(with_missing(words, None)),
    "lists": make_domains(lambda rng, n: [[1, 2], [3]] * (n // 2)),
}
OTHER_CONTAINERS = {
    "array of objects": make_domains(words, to_frame=lambda data: pd.DataFrame(data).to_numpy()),
    "dates of polars": make_domains(dates, to_frame=pl.DataFrame),
    "datetimes of polars": make_domains(moments, to_frame=pl.DataFrame),
    "categories of polars": make_domains(
        lambda rng, n: pl.Series(words(rng, n)).cast(pl.Categorical), words, to_frame=pl.DataFrame
    ),
}


def check_weights(weights):
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)


@for_each(MEASURE_DISTANCES)
@pytest.mark.parametrize("kind", [*WORKING, *OTHER_CONTAINERS])
def test_columns_that_work(weighting, kind):
    check_weights(compute(weighting, *(WORKING | OTHER_CONTAINERS)[kind]))


@for_each(TAKE_MISSING_VALUES)
def test_all_of_them_at_once(weighting):
    domains = [
        pd.concat([frames[i]["what"].rename(kind) for kind, frames in WORKING.items()], axis=1)
        for i in (0, 1)
    ]
    check_weights(compute(weighting, *domains))
    check_weights(compute(weighting, *OTHER_CONTAINERS["array of objects"]))
    check_weights(compute(weighting, *OTHER_CONTAINERS["dates of polars"]))


@for_each([*MEASURE_DISTANCES, TAKE_MISSING_VALUES[1]])
@pytest.mark.parametrize("make", [days, days_in_a_zone, dates])
def test_dates_are_weighted_as_the_days_that_they_are(weighting, make):
    def count_days(rng, n):
        return (days(rng, n) - pd.Timestamp("1970-01-01")).days.astype(float)

    expected = compute(weighting, *make_domains(count_days))
    # In one zone, an hour comes and goes with summer.
    np.testing.assert_allclose(compute(weighting, *make_domains(make)), expected, atol=0.03)


@for_each(TAKE_MISSING_VALUES + MEASURE_DISTANCES)
@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (
            make_domains(numbers, numbers_as_text),
            r"column 'what' with dtype=float64 \(such as [-.0-9]+\) in the source.* of the target, "
            r"dtype=str \(such as '[-.0-9]+'\); make numbers of the text \(pandas.to_numeric",
        ),
        (
            make_domains(words, numbers),
            r"column 'what' with dtype=str \(such as '(judge|nurse)'\) in the source.*float64",
        ),
        (
            make_domains(words, numbers, to_frame=pl.DataFrame),
            r"column 'what' with dtype=String \(such as '(judge|nurse)'\) in the source.*Float64",
        ),
        (
            make_domains(objects(numbers), objects(words)),
            "column 'what' with dtype=object .* in the source.*dtype=object .*make numbers",
        ),
        (
            make_domains(numbers, words, to_frame=lambda data: pd.DataFrame(data).to_numpy()),
            "column 1 with dtype=float64 .* in the source.*dtype=object .*make numbers",
        ),
        (
            make_domains(days, lambda rng, n: days(rng, n).astype(str)),
            r"column 'what' with dtype=datetime64\[\w+\] \(such as 2024-.*dtype=str .* make dates",
        ),
        (make_domains(days, numbers), "column 'what' with dtype=datetime.*make dates of the other"),
        (make_domains(numbers, objects(numbers)), "column 'what' .*dtype=object.*to the dtype of"),
        (
            [frame.set_axis(["age", "age"], axis=1) for frame in make_domains(numbers)],
            "the column name 'age' 2 times, but expected names that differ; rename or drop",
        ),
        (make_domains(with_missing(numbers, np.inf)), "infinity in the column 'what'.*remove"),
        (
            make_domains(objects(with_missing(numbers, np.inf))),
            "infinity in the column 'what'.*remove",
        ),
        (
            make_domains(objects(with_missing(numbers, np.inf)),
                         to_frame=lambda data: pd.DataFrame(data).to_numpy()),
            "infinity in the column 1, .*remove",
        ),
        (
            make_domains(lambda rng, n: 1e200 + numbers(rng, n)),
            r"values up to 1e\+200 in the column 'what'.*scale the column",
        ),
        (make_domains(lambda rng, n: numbers(rng, n) * 1j), "complex numbers in the column 'what'"),
    ],
    ids=[
        "numbers and text", "text and numbers", "of polars", "objects", "arrays of objects",
        "dates and text", "dates and numbers", "numbers and objects", "equal names", "infinity",
        "infinity among objects", "infinity in an array", "huge", "complex",
    ],
)  # fmt: skip
def test_columns_that_are_refused(weighting, domains, message):
    with pytest.raises(ValueError, match=message):
        compute(weighting, *domains)


@for_each(MEASURE_DISTANCES)
@pytest.mark.parametrize(
    "make", [with_missing(days, pd.NaT), with_missing(numbers, np.nan), with_missing(dates, None)]
)
def test_missing_numbers_and_dates_are_named(weighting, make):
    name = type(weighting).__name__
    message = rf"missing values \(NaN\) in 2 rows, in the column 'what', but {name}.*impute"
    with pytest.raises(ValueError, match=message):
        compute(weighting, *make_domains(make))
    source, target = make_domains(make)
    source.loc[5, "age"] = np.nan
    with pytest.raises(ValueError, match="in 3 rows, in the column 'age' and 1 more,"):
        compute(weighting, source, target)


@for_each(MEASURE_DISTANCES)
def test_a_column_of_names_is_named(weighting):
    names = [f"person {i}" for i in range(1100)]
    source = pd.DataFrame({"age": np.arange(1100.0), "name": names})
    with pytest.raises(ValueError, match="column of 1100 categories, 'name', but .* leave it out"):
        clone(weighting).compute_weights(source, source[:50])


@for_each(TAKE_MISSING_VALUES)
@pytest.mark.parametrize("make", [with_missing(days, pd.NaT), with_missing(numbers, np.nan)])
def test_missing_numbers_and_dates_are_taken(weighting, make):
    assert compute(weighting, *make_domains(make)).mean() == pytest.approx(1)
