import numpy as np
import pytest
from sklearn.linear_model import Ridge

from sktransfer.evaluation import RidgeProbe
from sktransfer.evaluation._principal_axes import standardize
from sktransfer.evaluation._ridge_probe import predict_left_out


def predict_by_refitting(features, columns, alpha):
    n = len(features)
    predictions = np.empty(columns.shape)
    for row in range(n):
        others = np.arange(n) != row
        model = Ridge(alpha, solver="svd").fit(features[others], columns[others])
        predictions[row] = model.predict(features[row : row + 1])
    return predictions


def draw(n, d, n_classes=3):
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    return rng.normal(size=(n, d)) + rng.normal(size=(n_classes, d))[y], y


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(("n", "d"), [(40, 5), (40, 40), (40, 200), (5, 1)])
def test_equals_refitting_without_each_row(n, d, alpha):
    F, y = draw(n, d)
    features, columns = standardize(F), np.eye(3)[y]
    expected = predict_by_refitting(features, columns, alpha)
    found = predict_left_out(features, columns, [alpha])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_score_is_the_accuracy_of_refitting():
    F, y = draw(60, 30)
    alpha = 0.01
    features = standardize(F)
    predicted = predict_by_refitting(features, np.eye(3)[y], alpha * 60).argmax(axis=1)
    probe = RidgeProbe(alphas=[alpha])
    np.testing.assert_array_equal(probe.score_rows(F, y), predicted == y)
    assert probe.score(F, y) == (predicted == y).mean()


def test_score_of_numbers_is_that_of_refitting():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(30, 4))
    y = F @ [1.0, 2.0, 0.0, 0.0] + rng.normal(size=30)
    predicted = predict_by_refitting(standardize(F), y[:, None], 3.0)[:, 0]
    means = (y.sum() - y) / 29
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - means) ** 2).sum()
    assert RidgeProbe(alphas=[0.1]).score(F, y) == pytest.approx(expected, abs=1e-8)


def test_penalty_is_chosen_by_the_error_of_rows_left_out():
    rng = np.random.default_rng(0)
    F, columns = standardize(rng.normal(size=(40, 100))), rng.normal(size=(40, 1))
    alphas = [1e-6, 1.0, 1e3, 1e6]
    errors = [((predict_left_out(F, columns, [a]) - columns) ** 2).sum() for a in alphas]
    chosen = predict_left_out(F, columns, alphas)
    assert ((chosen - columns) ** 2).sum() == pytest.approx(min(errors))
    assert errors[0] > 1.5 * min(errors)


def test_noise_with_more_columns_than_rows_does_not_saturate():
    """In the fit itself such features tell every class."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 10
    assert RidgeProbe().score(rng.normal(size=(200, 512)), y) < 0.2
