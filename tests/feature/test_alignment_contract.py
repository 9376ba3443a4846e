"""What every alignment keeps; a new one is one more line in ALIGNMENTS."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from sktransfer import (
    CorrelationAlignment,
    OptimalTransportAlignment,
    SourceDomain,
    SubspaceAlignment,
    TransferComponentAnalysis,
)

ALIGNMENTS = [
    CorrelationAlignment(),
    OptimalTransportAlignment(),
    OptimalTransportAlignment(regularization=0, class_regularization=0),
    SubspaceAlignment(),
    TransferComponentAnalysis(),
    TransferComponentAnalysis(kernel="rbf"),
]
NORMAL = np.random.default_rng(0).normal(size=(10, 40))
NAMED = ("kernel", "regularization")
each_alignment = pytest.mark.parametrize(
    "alignment",
    [clone(a) for a in ALIGNMENTS],
    ids=lambda a: "-".join(
        [type(a).__name__, *(f"{k}={v}" for k, v in a.get_params().items() if k in NAMED)]
    ),
)


@pytest.fixture
def domains():
    """Two classes in five columns; the target is stretched, turned and moved."""
    rng = np.random.default_rng(0)
    y_source, y_target = rng.integers(2, size=90), rng.integers(2, size=60)
    centers = np.array([[0.0] * 5, [4.0, 4.0, 0.0, 0.0, 0.0]])
    X_source = centers[y_source] + rng.normal(size=(90, 5))
    turned, triangle = np.linalg.qr(np.eye(5) + 0.3 * rng.normal(size=(5, 5)))
    turned *= np.sign(np.diag(triangle))  # a turn by less than a right angle, and no reflection
    X_target = (centers[y_target] + rng.normal(size=(60, 5))) @ turned * [2, 1, 1, 0.5, 1] + 3
    return X_source, y_source, X_target, y_target


def fit(alignment, X_source, X_target, y_source=None, **source):
    source = SourceDomain(X_source, y_source, **source)
    return clone(alignment).set_params(source=source).fit(X_target)


@each_alignment
def test_learner_of_aligned_source_rows_predicts_the_target(alignment, domains):
    X_source, y_source, X_target, y_target = domains
    before = KNeighborsClassifier().fit(X_source, y_source).score(X_target, y_target)
    fitted = fit(alignment, X_source, X_target, y_source)
    learner = KNeighborsClassifier().fit(fitted.transform_source(), y_source)
    after = learner.score(fitted.transform(X_target), y_target)
    assert after > before + 0.1
    # Rows that are far apart are all alike to an rbf kernel, so that it corrects the least.
    assert after > (0.65 if alignment.get_params().get("kernel") == "rbf" else 0.85)


@each_alignment
def test_rows_of_the_source_and_rows_like_them_are_mapped_alike(alignment, domains):
    X_source, y_source, X_target, _ = domains
    fitted = fit(alignment, X_source, X_target, y_source)
    aligned = fitted.transform_source()
    assert aligned.shape == (90, len(fitted.get_feature_names_out()))
    assert fitted.transform(X_target).shape == (60, aligned.shape[1])
    np.testing.assert_allclose(fitted.transform_source(X_source), aligned, atol=1e-12)
    np.testing.assert_allclose(fitted.transform_source(X_source[5:6]), aligned[5:6], atol=1e-9)
    # What is returned may be changed without harm.
    aligned[:] = 0
    assert fitted.transform_source().any()


@each_alignment
def test_same_domains_stay_the_same(alignment, domains):
    X = domains[0]
    fitted = fit(alignment, X, X)
    atol = 1e-6
    if isinstance(alignment, OptimalTransportAlignment) and alignment.regularization:
        # Entropy draws each row a little to its neighbours.
        fitted.set_params(regularization=0.001).fit(X)
        atol = 0.1
    np.testing.assert_allclose(fitted.transform_source(), fitted.transform(X), atol=atol)


@each_alignment
def test_permuting_rows_permutes_the_result(alignment, domains):
    X_source, y_source, X_target, _ = domains
    rng = np.random.default_rng(1)
    order, other = rng.permutation(90), rng.permutation(60)
    fitted = fit(alignment, X_source, X_target, y_source)
    again = fit(alignment, X_source[order], X_target[other], y_source[order])
    np.testing.assert_allclose(
        again.transform_source(), fitted.transform_source()[order], atol=1e-5
    )
    np.testing.assert_allclose(
        again.transform(X_target[other]), fitted.transform(X_target)[other], atol=1e-5
    )


@each_alignment
def test_rows_without_weight_count_as_little_as_absent_ones(alignment, domains):
    X_source, y_source, X_target, _ = domains
    weight = np.where(np.arange(90) < 70, 2.0, 0.0)
    weighted = fit(alignment, X_source, X_target, y_source, sample_weight=weight)
    left_out = fit(alignment, X_source[:70], X_target, y_source[:70])
    np.testing.assert_allclose(
        weighted.transform_source()[:70], left_out.transform_source(), atol=1e-9
    )
    np.testing.assert_allclose(
        weighted.transform_source()[70:], left_out.transform_source(X_source[70:]), atol=1e-9
    )
    np.testing.assert_allclose(
        weighted.transform(X_target), left_out.transform(X_target), atol=1e-9
    )


@each_alignment
def test_units_of_the_columns_do_not_matter(alignment, domains):
    X_source, y_source, X_target, _ = domains
    scale = np.array([1e3, 1, 1e-3, 10, 1])
    fitted = fit(alignment, X_source, X_target, y_source)
    scaled = fit(alignment, X_source * scale, X_target * scale, y_source)
    back = scale if fitted._keeps_columns else 1.0
    np.testing.assert_allclose(
        scaled.transform_source() / back, fitted.transform_source(), atol=1e-5
    )


@each_alignment
def test_float32_stays_float32(alignment, domains):
    X_source, y_source, X_target, _ = domains
    fitted = fit(alignment, X_source, X_target, y_source)
    single = fit(alignment, X_source.astype(np.float32), X_target.astype(np.float32), y_source)
    assert single.transform_source().dtype == np.float32
    assert single.transform(X_target.astype(np.float32)).dtype == np.float32
    assert single.transform(X_target).dtype == np.float64
    np.testing.assert_allclose(single.transform_source(), fitted.transform_source(), atol=1e-3)


@each_alignment
@pytest.mark.parametrize("library", [pd, pl])
def test_frames_in_and_out(alignment, domains, library):
    X_source, y_source, X_target, _ = domains
    names = list("abcde")
    arrays = fit(alignment, X_source, X_target, y_source)
    X_source, X_target = (
        library.DataFrame(dict(zip(names, X.T, strict=True))) for X in (X_source, X_target)
    )
    with_frames = clone(alignment).set_output(transform=library.__name__)
    fitted = fit(with_frames, X_source, X_target, y_source)
    aligned, target = fitted.transform_source(), fitted.transform(X_target)
    assert isinstance(aligned, library.DataFrame)
    assert list(aligned.columns) == list(target.columns) == list(fitted.get_feature_names_out())
    if fitted._keeps_columns:
        assert list(aligned.columns) == names
    np.testing.assert_allclose(aligned.to_numpy(), arrays.transform_source(), atol=1e-12)
    assert isinstance(fitted.transform_source(X_source), library.DataFrame)
    # A learner of these frames finds the same names in both, or else would warn.
    LinearDiscriminantAnalysis().fit(aligned, y_source).predict(target)


@each_alignment
def test_frame_of_the_source_keeps_its_index(alignment, domains):
    X_source, y_source, X_target, _ = domains
    X_source = pd.DataFrame(X_source, index=np.arange(90) + 1000, columns=list("abcde"))
    X_target = pd.DataFrame(X_target, columns=list("abcde"))
    fitted = fit(clone(alignment).set_output(transform="pandas"), X_source, X_target, y_source)
    assert fitted.transform_source().index.equals(X_source.index)


@each_alignment
def test_in_a_pipeline_and_a_grid(alignment, domains):
    X_source, y_source, X_target, y_target = domains
    aligned = clone(alignment).set_params(source=SourceDomain(X_source, y_source))
    pipeline = make_pipeline(aligned, LinearDiscriminantAnalysis())
    step = type(alignment).__name__.lower()
    name = "regularization" if hasattr(alignment, "regularization") else "n_components"
    values = [alignment.regularization, 0.2] if name == "regularization" else [1, 3]
    if isinstance(alignment, OptimalTransportAlignment) and not alignment.regularization:
        values = [0]
    search = GridSearchCV(pipeline, {f"{step}__{name}": values}, cv=3, error_score="raise")
    search.fit(X_target, y_target)
    assert search.best_score_ > 0.9
    # Every candidate and fold shares the rows of the source.
    assert search.best_estimator_[0].source is aligned.source


@each_alignment
def test_clone_and_pickle(alignment, domains):
    X_source, y_source, X_target, _ = domains
    fitted = fit(alignment, X_source, X_target, y_source)
    assert clone(fitted).source is fitted.source
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.transform_source(), fitted.transform_source())
    np.testing.assert_array_equal(loaded.transform(X_target), fitted.transform(X_target))


@each_alignment
def test_fit_changes_neither_rows_nor_global_generator(alignment, domains):
    X_source, y_source, X_target, _ = (values.copy() for values in domains)
    state = np.random.get_state()[1].copy()
    first = fit(alignment, X_source, X_target, y_source)
    first.transform(X_target)[:] = 0
    again = fit(alignment, X_source, X_target, y_source)
    np.testing.assert_array_equal(X_source, domains[0])
    np.testing.assert_array_equal(X_target, domains[2])
    np.testing.assert_array_equal(first.transform_source(), again.transform_source())
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@each_alignment
def test_without_a_source_nothing_moves(alignment, domains):
    X = domains[0]
    with pytest.warns(UserWarning, match="Got source=None, so there is nothing to align") as caught:
        fitted = clone(alignment).fit(X)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(fitted.transform(X), X)
    np.testing.assert_array_equal(fitted.transform_source(X), X)
    assert fitted.get_feature_names_out().tolist() == ["x0", "x1", "x2", "x3", "x4"]
    assert fitted.source_ is None
    with pytest.raises(ValueError, match="no source rows"):
        fitted.transform_source()


@each_alignment
@pytest.mark.parametrize(
    ("X_source", "X_target"),
    [
        (np.array([[1.0, 2.0, 4.0]]), np.arange(15.0).reshape(5, 3) ** 1.5),
        (np.arange(15.0).reshape(5, 3) ** 1.5, np.array([[1.0, 2.0, 4.0]])),
        (np.array([[1.0, 2.0, 4.0]]), np.array([[3.0, 2.0, 1.0]])),
        (np.zeros((4, 3)), np.ones((5, 3))),
        (np.c_[np.arange(6.0), np.full(6, 0.1)], np.c_[np.arange(5.0) ** 2, np.full(5, 1e9)]),
        (np.arange(6.0)[:, None], np.arange(4.0)[:, None] * 2 + 1),
        (NORMAL[:6], NORMAL[6:10]),
        (np.repeat(np.eye(3), 4, axis=0), np.repeat(np.eye(3), 2, axis=0) * 2),
        (1e100 * NORMAL[:, :3], NORMAL[:, 3:6]),
        (np.arange(12, dtype=np.uint8).reshape(4, 3), np.arange(9, dtype=np.int64).reshape(3, 3)),
    ],
    ids=[
        "one source row",
        "one target row",
        "one row each",
        "all rows equal",
        "constant column",
        "one column",
        "fewer rows than columns",
        "repeated rows",
        "huge values",
        "integers",
    ],
)
def test_degenerate_rows(alignment, X_source, X_target):
    fitted = fit(alignment, X_source, X_target)
    aligned, target = fitted.transform_source(), fitted.transform(X_target)
    assert aligned.shape[0] == len(X_source)
    assert aligned.shape[1] == target.shape[1] == len(fitted.get_feature_names_out()) >= 1
    assert np.isfinite(aligned).all()
    assert np.isfinite(target).all()


@each_alignment
def test_one_target_row_moves_the_mean_and_keeps_the_spread(alignment, domains):
    X_source = domains[0]
    fitted = fit(alignment, X_source, np.full((1, 5), 3.0))
    assert (np.ptp(fitted.transform_source(), axis=0) > 0.1).any()
    if not isinstance(alignment, TransferComponentAnalysis):
        np.testing.assert_allclose(
            fitted.transform_source().mean(axis=0),
            fitted.transform(np.full((1, 5), 3.0))[0],
            atol=1e-9,
        )


@each_alignment
def test_bad_source(alignment, domains):
    X_source, _, X_target, _ = domains
    with pytest.raises(TypeError, match="source of type ndarray, but expected a SourceDomain"):
        clone(alignment).set_params(source=X_source).fit(X_target)
    with pytest.raises(ValueError, match="source with 4 columns and a target with 5 columns"):
        fit(alignment, X_source[:, :4], X_target)
    with pytest.raises(ValueError, match="expected a table; align features of images"):
        fit(alignment, X_source.reshape(90, 5, 1), X_target)
    with_nan = X_source.copy()
    with_nan[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input source.X contains NaN"):
        fit(alignment, with_nan, X_target)
    with pytest.raises(ValueError, match="column 0 .* in the source.*make numbers of the text"):
        fit(alignment, np.array([["a"] * 5]), X_target.astype(object))
    frame = pd.DataFrame(X_source, columns=list("abcde"))
    with pytest.raises(ValueError, match="rename or select the columns of the source"):
        fit(alignment, frame, pd.DataFrame(X_target, columns=list("abcdf")))
    with pytest.raises(TypeError, match="same kind of container"):
        fit(alignment, frame, X_target)


@each_alignment
def test_bad_rows(alignment, domains):
    X_source, _, X_target, _ = domains
    fitted = fit(alignment, X_source, X_target)
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(np.full((2, 5), np.nan))
    with pytest.raises(ValueError, match="4 features"):
        fitted.transform_source(X_source[:, :4])
    expected = fitted.transform_source()
    with pytest.raises(ValueError, match="NaN"):
        fitted.fit(np.full((2, 5), np.nan))
    # A fit that fails leaves what was there.
    np.testing.assert_array_equal(fitted.transform_source(), expected)


@each_alignment
@pytest.mark.parametrize("value", [-1, 0.5, "many", None, True])
def test_bad_parameters(alignment, value):
    for name in set(alignment.get_params()) & {"n_components", "max_landmarks"}:
        with pytest.raises((TypeError, ValueError), match=f"Got {name}={value!r}"):
            clone(alignment).set_params(**{name: value}).fit(np.eye(3))
    if isinstance(value, float):
        return
    for name in set(alignment.get_params()) & {"regularization", "class_regularization"}:
        with pytest.raises((TypeError, ValueError), match=f"Got {name}={value!r}"):
            clone(alignment).set_params(**{name: value}).fit(np.eye(3))


@each_alignment
def test_without_source_rows(alignment, domains):
    X_source, y_source, X_target, _ = domains
    fitted = fit(alignment, X_source, X_target, y_source)
    lighter = fitted.without_source()
    np.testing.assert_array_equal(lighter.transform(X_target), fitted.transform(X_target))
    np.testing.assert_array_equal(lighter.get_feature_names_out(), fitted.get_feature_names_out())
    assert lighter.source is None and lighter.source_.shape[0] == 0
    for rows in ((), (X_source,)):
        with pytest.raises(ValueError, match="without source rows, which maps target rows only"):
            lighter.transform_source(*rows)
    assert fitted.transform_source().shape[0] == 90
    refitted = lighter.set_params(source=SourceDomain(X_source, y_source)).fit(X_target)
    np.testing.assert_array_equal(refitted.transform_source(), fitted.transform_source())
