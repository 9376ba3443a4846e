"""What becomes of a target table that is not like the source: every case with its message.

Each case is made of patients like those of the source by one change.
"""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

from sktransfer import (
    ColumnMismatchWarning,
    FeatureTransferTransformer,
    ParameterTransferClassifier,
)
from sktransfer.backbones import TableInput

# What is wrong, the change, the error, and what it has to say.
ERRORS = {
    "most columns are missing": (
        lambda X: X[["sex", "smokes"]],
        ValueError,
        r"3 of 5 are missing, more than half",
    ),
    "all columns have other names": (
        lambda X: X.rename(columns=str.upper),
        ValueError,
        r"'AGE'.*expected those of the source, 'age'.*near: 'AGE' for 'age', 'SEX' for 'sex'",
    ),
    "an array is too narrow": (
        lambda X: X.to_numpy()[:, :3],
        ValueError,
        r"with 3 columns, but the backbone was trained on 5: 'age', 'sex'",
    ),
    "an array is too wide": (
        lambda X: np.c_[X.to_numpy(), X.to_numpy()],
        ValueError,
        r"with 10 columns, but the backbone was trained on 5",
    ),
    "numbered columns of another number": (
        lambda X: X.set_axis(range(5), axis=1)[[0, 1]],
        ValueError,
        r"with 2 columns, but the backbone was trained on 5",
    ),
    "a mark for missing numbers": (
        lambda X: X.assign(age=X["age"].astype(object).where(X["age"].notna(), "?")),
        ValueError,
        r"texts such as '\?' in the column 'age'.*Make NaN of",
    ),
    "a decimal comma": (
        lambda X: X.assign(pressure=X["pressure"].map(str).str.replace(".", ",")),
        ValueError,
        r"texts such as '.*,.*' in the column 'pressure'.*1\.5 of '1,5'",
    ),
    "numbers with underscores": (
        lambda X: X.assign(pressure="1_000"),
        ValueError,
        r"texts such as '1_000' in the column 'pressure'",
    ),
    "infinity": (
        lambda X: X.assign(age=np.inf),
        ValueError,
        r"infinity in the column 'age'",
    ),
    "infinity as text": (
        lambda X: X.assign(age="-inf"),
        ValueError,
        r"infinity in the column 'age'",
    ),
    "infinity among categories": (
        lambda X: X.assign(stage=-np.inf),
        ValueError,
        r"infinity in the column 'stage'",
    ),
    "dates for numbers": (
        lambda X: X.assign(age=pd.date_range("2020", periods=len(X))),
        ValueError,
        r"dates or times in the column 'age'.*skrub\.TableVectorizer",
    ),
    "dates for categories": (
        lambda X: X.assign(sex=pd.date_range("2020", periods=len(X), tz="UTC")),
        ValueError,
        r"dates or times in the column 'sex'.*skrub\.TableVectorizer",
    ),
    "dates as objects": (
        lambda X: X.assign(age=list(pd.date_range("2020", periods=len(X)).date)),
        ValueError,
        r"dates or times in the column 'age'",
    ),
    "durations": (
        lambda X: X.assign(age=pd.to_timedelta(range(len(X)), unit="D")),
        ValueError,
        r"dates or times in the column 'age'",
    ),
    "dates of polars": (
        lambda X: pl.from_pandas(X).with_columns(age=pl.date(2020, 1, 1)),
        ValueError,
        r"dates or times in the column 'age'",
    ),
    "lists": (
        lambda X: X.assign(sex=[["male"]] * len(X)),
        ValueError,
        r"lists or other objects in the column 'sex'",
    ),
    "structs of polars": (
        lambda X: pl.from_pandas(X).with_columns(sex=pl.struct("age")),
        ValueError,
        r"lists or other objects in the column 'sex'",
    ),
    "complex numbers": (
        lambda X: X.assign(age=1j),
        ValueError,
        r"complex numbers in the column 'age'",
    ),
    "repeated names": (
        lambda X: pd.concat([X, X[["age"]]], axis=1),
        ValueError,
        r"repeated columns: \['age'\]",
    ),
    "names of two types": (
        lambda X: X.rename(columns={"age": 0}),
        TypeError,
        r"names of columns of the types int, str.*astype\(str\)",
    ),
    "no rows": (
        lambda X: X.iloc[:0],
        ValueError,
        r"0 sample\(s\) \(shape=\(0, 5\)\)",
    ),
    "one column alone": (
        lambda X: X["age"].to_numpy(),
        ValueError,
        r"Expected 2D array or a frame",
    ),
    "images": (
        lambda X: np.zeros((len(X), 8, 8)),
        ValueError,
        r"shape \(30, 8, 8\), but the backbone takes rows of a table",
    ),
    "a sparse matrix": (
        lambda X: scipy.sparse.csr_matrix(np.zeros((len(X), 5))),
        TypeError,
        r"sparse matrix.*X\.toarray\(\)",
    ),
    "a dict of columns": (
        lambda X: X.to_dict("list"),
        TypeError,
        r"pandas\.DataFrame\(X\)",
    ),
    "a lazy frame": (
        lambda X: pl.from_pandas(X).lazy(),
        TypeError,
        r"lazy frame.*X\.collect\(\)",
    ),
    "rows of different lengths": (
        lambda X: [["a"], ["a", "b"]],
        ValueError,
        r"rows of",
    ),
}

# What differs, the change, and what the warning has to say.
WARNINGS = {
    "a column is missing": (
        lambda X: X.drop(columns="age"),
        r"without the columns 'age' of the source, whose values count as missing\. Expected",
    ),
    "two columns are missing": (
        lambda X: X.drop(columns=["age", "stage"]),
        r"without the columns 'age', 'stage' of the source",
    ),
    "a column has another name": (
        lambda X: X.rename(columns={"age": "Age"}),
        r"near: 'Age' for 'age'; rename them",
    ),
    "there is another column": (
        lambda X: X.assign(city="Rome"),
        r"with the columns 'city', which the backbone does not know and which are left out",
    ),
    "categories became codes": (
        lambda X: X.assign(sex=(X["sex"] == "male") * 1),
        r"100% of the values in the column 'sex' unknown.*such as 0.*such as 'female', 'male'",
    ),
    "categories are written otherwise": (
        lambda X: X.assign(sex=X["sex"].str[0].str.upper()),
        r"column 'sex' unknown to the backbone, such as '[FM]', '[FM]'",
    ),
    "an array was scaled": (
        lambda X: X.assign(
            age=(X["age"] - 50) / 12, pressure=(X["pressure"] - 130) / 20
        ).to_numpy(),
        r"another scale.*in the columns 'age', 'pressure'.*Leave out a scaler",
    ),
    "a frame was scaled": (
        lambda X: X.assign(age=X["age"] / 12 - 4, pressure=X["pressure"] / 20 - 6),
        r"another scale.*in the columns 'age', 'pressure'.*Leave out a scaler",
    ),
    "an array is of other units": (
        lambda X: X.assign(age=X["age"] * 365).to_numpy(),
        r"another scale.*in the columns 'age'; .*in the same units",
    ),
}

# What is written otherwise but means the same.
ALIKE = {
    "order of columns": lambda X: X[X.columns[::-1]],
    "polars": lambda X: pl.from_pandas(X.astype({"stage": "int64"})),
    "categories of polars": lambda X: pl.from_pandas(X).with_columns(
        pl.col("sex").cast(pl.Categorical), pl.col("stage").cast(pl.String).cast(pl.Enum("123"))
    ),
    "objects": lambda X: X.astype(object),
    "an array of objects": lambda X: X.to_numpy(),
    "lists": lambda X: X.to_numpy().tolist(),
    "numbered columns": lambda X: X.set_axis(range(5), axis=1),
    "numbers as text": lambda X: X.assign(pressure=X["pressure"].map(str), age=X["age"].map(str)),
    "float32 that holds them": lambda X: X.assign(age=X["age"].astype("float32")),
    "integers for categories": lambda X: X.astype({"stage": "int8"}),
    "floats for categories": lambda X: X.astype({"stage": "float64"}),
    "texts for categories": lambda X: X.assign(stage=X["stage"].astype(str)),
    "texts of floats for categories": lambda X: X.assign(stage=X["stage"].astype(float).map(str)),
    "texts with spaces": lambda X: X.assign(sex=" " + X["sex"] + " "),
    "numbers for truth values": lambda X: X.astype({"smokes": "int64"}),
    "floats for truth values": lambda X: X.astype({"smokes": "float32"}),
    "texts for truth values": lambda X: X.assign(smokes=X["smokes"].map(str)),
    "small letters for truth values": lambda X: X.assign(smokes=X["smokes"].map(str).str.lower()),
    "nullable types": lambda X: X.convert_dtypes(),
    "types of Arrow": lambda X: X.astype({"stage": "int64"}).convert_dtypes(
        dtype_backend="pyarrow"
    ),
    "Int64 and boolean": lambda X: X.astype(
        {"age": "Int64", "stage": "Int64", "smokes": "boolean"}
    ),
    "string[pyarrow]": lambda X: X.astype({"sex": "string[pyarrow]"}),
    "string[python]": lambda X: X.astype({"sex": "string[python]"}),
    "str": lambda X: X.astype({"sex": "str"}),
    "category": lambda X: X.astype({"sex": "category", "smokes": "category"}),
    "another index": lambda X: X.set_index(np.arange(len(X))[::-1] * 2),
    "NaN for no text": lambda X: X.assign(sex=X["sex"].astype(object).fillna(np.nan)),
    "NA for no text": lambda X: X.assign(sex=X["sex"].astype(object).fillna(pd.NA)),
    "an empty text for none": lambda X: X.assign(sex=X["sex"].astype(object).fillna("")),
    "None for no number": lambda X: X.assign(
        age=X["age"].astype(object).where(X["age"].notna(), None)
    ),
}


@pytest.fixture(scope="module")
def table(patients):
    X, _ = patients(400, seed=1)
    return TableInput.learn(X)


@pytest.mark.parametrize("case", ERRORS)
def test_error(case, patients, tabular_backbone):
    change, kind, message = ERRORS[case]
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone)
    with pytest.raises(kind, match=f"(?s){message}"):
        transformer.fit(change(X))


@pytest.mark.parametrize("case", WARNINGS)
def test_warning(case, patients, tabular_backbone):
    change, message = WARNINGS[case]
    X, _ = patients(30)
    transformer = FeatureTransferTransformer(tabular_backbone)
    with pytest.warns(ColumnMismatchWarning, match=f"(?s){message}") as told:
        transformer.fit(change(X))
    assert len(told) == 1


@pytest.mark.parametrize("case", ALIKE)
def test_alike(case, patients, table):
    """Nothing is said, and the rows are the same to the bit."""
    X, _ = patients(30)
    expected = table.prepare(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = table.prepare(ALIKE[case](X))
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, expected)


def test_names_and_number_of_columns_are_those_of_the_frame(patients, tabular_backbone):
    X, _ = patients(30)
    X = X.assign(city="Rome")[["city", *X.columns[::-1]]]
    with pytest.warns(ColumnMismatchWarning):
        transformer = FeatureTransferTransformer(tabular_backbone).fit(X)
    assert transformer.n_features_in_ == 6
    assert transformer.feature_names_in_.tolist() == list(X.columns)


MISSING = [None, np.nan, pd.NA, float("nan"), "", np.datetime64("NaT")]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_a_missing_category_is_as_an_unknown_one(value, patients, table):
    X, _ = patients(3)
    sex = table.n_encoded - 3
    changed = X.assign(sex=pd.Series([value, "unheard of", "male"], dtype=object))
    assert table.prepare(changed)[:, sex].tolist() == [0, 0, 2]


@pytest.mark.parametrize("value", [None, np.nan, pd.NA, float("nan")], ids=repr)
def test_a_missing_number_is_told_apart(value, patients, table):
    X, _ = patients(2)
    changed = X.assign(age=pd.Series([value, 50.0], dtype=object))
    age, is_missing = table.prepare(changed)[:, [0, table.n_numeric]].T
    assert age[0] == 0
    assert is_missing.tolist() == [1, 0]


def test_a_column_may_be_empty_in_either_domain(patients):
    """As in the hospitals of the heart data, one of which never took some measurement."""
    X, _ = patients(30)
    empty = X.assign(age=np.nan, sex=None)
    table = TableInput.learn(empty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(TableInput.learn(X).prepare(empty)).all()
        prepared = table.prepare(X)
    # The network has never seen a value there.
    np.testing.assert_array_equal(prepared, table.prepare(empty.assign(**X[["pressure"]])))
    for name in ("stage", "smokes"):
        assert len(np.unique(prepared[:, list(table.encoded_names).index(name) + 2])) > 1


def test_a_constant_column_keeps_its_scale():
    table = TableInput.learn(pd.DataFrame({"a": [3.0, 3.0, 3.0]}))
    np.testing.assert_allclose(table.prepare(pd.DataFrame({"a": [3.0]}))[:, 0], [0])
    np.testing.assert_allclose(table.prepare(pd.DataFrame({"a": [4.0]}))[:, 0], [0.9486833])


def test_numbers_far_away_stay_within_three(patients, table):
    X, _ = patients(4)
    far = X.assign(age=[1e300, -1e300, 1e12, 50.0])
    prepared = table.prepare(far)[:, 0]
    np.testing.assert_allclose(prepared[:3], [3, -3, 3], rtol=1e-5)


SOURCES = {
    "dates": (pd.date_range("2020", periods=100), r"dates or times.*skrub\.TableVectorizer"),
    "texts": (
        [f"patient {i}" for i in range(100)],
        r"100 distinct texts, such as 'patient 0'.*categorical=.*skrub\.TableVectorizer",
    ),
    "lists": ([[1]] * 100, r"lists or other objects"),
    "objects": ([object()] * 100, r"lists or other objects"),
    "marks": ([*map(str, range(99)), "?"], r"'\?' among the numbers of the column 'a'.*Make NaN"),
    "infinity": ([np.inf] * 100, r"infinity in the column 'a'"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_error_about_the_source(case):
    values, message = SOURCES[case]
    with pytest.raises(ValueError, match=message):
        TableInput.learn(pd.DataFrame({"a": values}))


# Rows of the table that are about labels.


def test_other_label_names_cannot_be_reused(patients, tabular_backbone):
    X, y = patients(40)
    classifier = ParameterTransferClassifier(tabular_backbone, head="reuse", strategy="frozen")
    with pytest.raises(ValueError, match=r"(?s)head='reuse'.*y has 0, 1.*source had 'ill', 'well'"):
        classifier.fit(X, (y == "ill") * 1)
    classifier.set_params(head="new").fit(X, (y == "ill") * 1)
    assert classifier.score(X, (y == "ill") * 1) > 0.7


def test_one_class_is_too_few(patients, tabular_backbone):
    X, _ = patients(10)
    with pytest.raises(ValueError, match="one class"):
        ParameterTransferClassifier(tabular_backbone).fit(X, ["ill"] * 10)


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_a_class_of_one_row_and_a_batch_of_one(strategy, patients, tabular_backbone):
    X, y = patients(12)
    y = y.copy()
    y[0] = "dead"
    classifier = ParameterTransferClassifier(
        tabular_backbone, strategy=strategy, max_epochs=2, batch_size=1, random_state=0
    )
    classifier.fit(X, y)
    assert classifier.predict_proba(X[:1]).shape == (1, 3)


def test_sample_weight_counts(patients, tabular_backbone):
    X, y = patients(40)
    classifier = ParameterTransferClassifier(tabular_backbone, strategy="frozen", head="new")
    weight = np.where(y == "ill", 1.0, 1e-3)
    n_ill = (classifier.fit(X, y).predict(X) == "ill").sum()
    assert (classifier.fit(X, y, sample_weight=weight).predict(X) == "ill").sum() > n_ill
