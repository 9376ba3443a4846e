"""Instance transfer in the space of an alignment."""

import pickle

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sktransfer import (
    CorrelationAlignment,
    InstanceTransferClassifier,
    OptimalTransportAlignment,
    SourceDomain,
    SubspaceAlignment,
    TransferComponentAnalysis,
)
from sktransfer.instance import BaseWeighting


class EqualWeighting(BaseWeighting):
    """Give all source rows the same weight: quick, and known."""

    def _compute_log_weights(self, X_source, X_target):
        return np.zeros(len(X_source))


ALIGNMENTS = [
    CorrelationAlignment(),
    OptimalTransportAlignment(class_regularization=0),
    SubspaceAlignment(n_components=2),
    TransferComponentAnalysis(n_components=2),
]
each_alignment = pytest.mark.parametrize("alignment", ALIGNMENTS, ids=lambda a: type(a).__name__)


def make_domains(n_source=150, seed=0, move=5.0):
    """Two classes in four columns; the source is stretched and moved."""
    rng = np.random.default_rng(seed)
    y, y_source = np.arange(60) % 2, np.arange(n_source) % 2
    centers = np.array([[0.0, 0, 0, 0], [3.0, 3, 0, 0]])
    X = centers[y] + rng.normal(size=(60, 4))
    X_source = (centers[y_source] + rng.normal(size=(n_source, 4))) * [2, 1, 1, 1] + move
    return X, y, X_source, y_source


def make_classifier(source, alignment, **parameters):
    return InstanceTransferClassifier(
        source=source, alignment=alignment, weighting=EqualWeighting(), **parameters
    )


@each_alignment
def test_aligned_rows_are_learned_and_predicted(alignment):
    X, y, X_source, y_source = make_domains()
    source = SourceDomain(X_source, y_source)
    fitted = make_classifier(source, alignment).fit(X)
    by_hand = alignment.__class__(**{**alignment.get_params(), "source": source}).fit(X)
    learner = LogisticRegression(max_iter=1000).fit(by_hand.transform_source(), y_source)
    np.testing.assert_allclose(
        fitted.predict_proba(X), learner.predict_proba(by_hand.transform(X)), atol=1e-6
    )
    assert fitted.score(X, y) > 0.8 > make_classifier(source, None).fit(X).score(X, y)
    assert alignment.source is None and not hasattr(alignment, "source_")
    assert isinstance(fitted.estimator_, Pipeline)


@pytest.mark.filterwarnings("ignore:Transfer loses")
def test_the_target_alone_and_the_pool_are_not_aligned():
    X, y, X_source, y_source = make_domains()
    source = SourceDomain(X_source, y_source)
    fitted = make_classifier(source, SubspaceAlignment(n_components=2), random_state=0)
    plain = make_classifier(source, None, random_state=0)
    losses = [estimator.fit(X[:10], y[:10]).oof_loss_ for estimator in (fitted, plain)]
    for name in ("target_only", "pooled"):
        # Not equal, since each is made as sure of itself as the aligned candidates are.
        assert losses[0][name] == pytest.approx(losses[1][name], rel=0.01)
    assert losses[0]["weighted"] != losses[1]["weighted"]


@each_alignment
def test_several_sources(alignment):
    X, y, X_source, y_source = make_domains()
    _, _, X_other, y_other = make_domains(90, seed=1, move=-20.0)
    sources = [SourceDomain(X_source, y_source), SourceDomain(X_other, y_other)]
    fitted = make_classifier(sources, alignment, fallback=None).fit(X, y)
    assert [len(weights) for weights in fitted.source_weights_] == [150, 90]
    assert fitted.score(X, y) > 0.8


def test_each_source_is_aligned_on_its_own_where_the_target_stays():
    X, _, X_source, y_source = make_domains()
    _, _, X_other, y_other = make_domains(90, seed=1, move=-20.0)
    sources = [SourceDomain(X_source, y_source), SourceDomain(X_other, y_other)]
    fitted = make_classifier(sources, CorrelationAlignment()).fit(X)
    moved = [CorrelationAlignment(source).fit(X).transform_source() for source in sources]
    sizes = [150, 90]
    learner = LogisticRegression(max_iter=1000).fit(
        np.concatenate(moved), np.concatenate([y_source, y_other]), np.ones(sum(sizes))
    )
    np.testing.assert_allclose(fitted.predict_proba(X), learner.predict_proba(X), atol=1e-6)


@each_alignment
def test_dropped_source_rows_are_not_in_the_alignment(alignment):
    X, y, X_source, y_source = make_domains(2000)
    if isinstance(alignment, OptimalTransportAlignment):
        X_source, y_source = X_source[:1000], y_source[:1000]
    source = SourceDomain(X_source, y_source)
    fitted = make_classifier(source, alignment, drop_source=True, fallback=None).fit(X, y)
    # Two numbers a row stay: the weight, and what it was computed from.
    assert len(pickle.dumps(fitted)) < 2 * 8 * len(X_source) + 10_000
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match="without source rows, which maps target rows only"):
        loaded.alignment_.transform_source()


def test_nested_parameters():
    X, y, X_source, y_source = make_domains()
    source = SourceDomain(X_source, y_source)
    classifier = make_classifier(source, CorrelationAlignment(), fallback=None)
    classifier.set_params(alignment__regularization=0.0).fit(X, y)
    assert classifier.alignment_.regularization == 0
