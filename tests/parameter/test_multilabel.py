import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.metrics import accuracy_score

from sktransfer import Backbone, ParameterTransferClassifier

STRATEGIES = ["frozen", "fine_tune", "auto"]
pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


def make(backbone, **parameters):
    defaults = {"strategy": "frozen", "max_epochs": 2, "n_threads": 1, "random_state": 0}
    return ParameterTransferClassifier(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    """Digits with two labels: odd, and more than four."""
    X, y = digits[0][:48], digits[1][:48]
    return X, np.c_[y % 2, y > 4].astype(int)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_have_a_column_per_label(backbone, few, strategy):
    X, y = few
    model = make(backbone, strategy=strategy).fit(X, y)
    np.testing.assert_array_equal(model.classes_, [0, 1])
    proba, logits, predicted = (
        getattr(model, name)(X) for name in ("predict_proba", "decision_function", "predict")
    )
    assert proba.shape == logits.shape == predicted.shape == (48, 2)
    assert proba.dtype == logits.dtype == np.float64
    assert predicted.dtype == y.dtype
    np.testing.assert_array_equal(predicted, proba > 0.5)
    np.testing.assert_array_equal(predicted, logits > 0)
    np.testing.assert_allclose(proba, 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(proba))
    outputs = model.module_(torch.as_tensor(X[:, None], dtype=torch.float32)).detach()
    np.testing.assert_allclose(outputs, logits, rtol=1e-3, atol=1e-3)
    assert model.score(X, y) == accuracy_score(y, predicted) > 0.5


def test_auto_says_what_held_out_rows_say(backbone, few):
    model = make(backbone, strategy="auto").fit(*few)
    assert sum(model.weights_.values()) == pytest.approx(1)
    assert {"no_transfer", "frozen", "average", "random_backbone"} <= model.oof_loss_.keys()
    assert model.transfer_gain_.keys() == {"no_transfer", "random_backbone"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("n_rows", [8, 48])
def test_labels_that_never_or_always_occur(backbone, few, strategy, n_rows):
    X, y = few[0][:n_rows], few[1][:n_rows]
    y = np.c_[y, 0 * y[:, 0], 0 * y[:, 0] + 1]
    proba = make(backbone, strategy=strategy, max_epochs=1).fit(X, y).predict_proba(few[0])
    assert np.isfinite(proba).all()
    assert (proba[:, 2] < 0.2).all()
    assert (proba[:, 3] > 0.8).all()


@pytest.mark.parametrize(
    "container",
    [
        scipy.sparse.csr_array,
        scipy.sparse.csc_matrix,
        pd.DataFrame,
        np.ndarray.tolist,
        lambda y: y.astype(bool),
        lambda y: y.astype(float),
        lambda y: y.astype(np.uint8),
    ],
)
def test_any_indicator_matrix(backbone, few, container):
    X, y = few
    expected = make(backbone).fit(X, y)
    model = make(backbone).fit(X, container(y))
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.score(X, container(y)) == expected.score(X, y)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 2}])
def test_class_weights_are_refused(backbone, few, class_weight):
    with pytest.raises(ValueError, match="Got class_weight=.*several labels.*sample_weight"):
        make(backbone, class_weight=class_weight).fit(*few)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: 2 * y, "0 and 1|0 or 1"),
        (lambda y: 2 * y - 1, "0 and 1|0 or 1"),
        (lambda y: np.c_[y, 2 * y], "1d array"),
        (lambda y: y[:-1], "inconsistent"),
        (lambda y: y[:, :, None], "."),
    ],
)
def test_what_is_no_indicator_matrix(backbone, few, change, message):
    X, y = few
    with pytest.raises(ValueError, match=message):
        make(backbone).fit(X, change(y))


def test_heavy_rows_count_more(backbone, few):
    X, y = few
    weight = np.where(y[:, 0], 20.0, 1.0)
    heavy, plain = make(backbone).fit(X, y, sample_weight=weight), make(backbone).fit(X, y)
    assert heavy.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean()


def test_one_column_is_one_class_per_row(backbone, few):
    X, y = few
    with pytest.warns(UserWarning, match="column-vector"):
        model = make(backbone).fit(X, y[:, :1])
    assert model.predict(X).shape == (48,)
