"""What a scikit-learn script expects of the estimators besides fitting and predicting."""

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer import Backbone, ParameterTransferClassifier
from sktransfer.training import Mixup, RandomFlip, RandomShift
from sktransfer.training._objectives import Multiclass, Regression

pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


@pytest.fixture
def few(digits):
    return digits[0][:60], digits[1][:60] % 3


def make_classifier(network, **parameters):
    defaults = {"strategy": "fine_tune", "max_epochs": 2, "random_state": 0, "n_threads": 1}
    return ParameterTransferClassifier(Backbone(network), **{**defaults, **parameters})


def test_sample_weight_is_routed(small_network, few):
    X, y = few
    weight = np.where(y == 0, 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = make_classifier(small_network, strategy="frozen")
        classifier.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), classifier)
        results = cross_validate(
            pipeline, X, y, cv=2, params={"sample_weight": weight}, return_estimator=True
        )
    heavy = results["estimator"][0].predict_proba(X)[:, 0].mean()
    plain = make_classifier(small_network, strategy="frozen").fit(X[::2], y[::2])
    assert heavy > plain.predict_proba(X)[:, 0].mean() + 0.05


def test_workers_share_the_cores():
    threads = joblib.Parallel(n_jobs=2)(joblib.delayed(torch.get_num_threads)() for _ in range(2))
    assert max(threads) <= max(1, joblib.cpu_count() // 2)


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune", "auto"])
def test_a_weight_of_one_is_none(small_network, few, strategy):
    X, y = few
    classifier = make_classifier(small_network, strategy=strategy)
    plain = classifier.fit(X, y).predict_proba(X)
    weighted = classifier.fit(X, y, sample_weight=np.full(60, 7.0)).predict_proba(X)
    np.testing.assert_allclose(weighted, plain, rtol=1e-6)
    ones = classifier.fit(X, y, sample_weight=np.ones(60)).predict_proba(X)
    np.testing.assert_array_equal(ones, plain)


@pytest.mark.parametrize("objective", [Multiclass(3), Regression(3)])
def test_integer_weights_are_repetitions_to_a_head(objective):
    rng = np.random.default_rng(0)
    X, targets = rng.normal(size=(30, 4)), np.eye(3)[np.arange(30) % 3]
    weight = rng.integers(1, 4, size=30)
    rows = np.repeat(np.arange(30), weight)
    ((coef, intercept),) = objective.solve(X, targets, weight[None].astype(float), [3.0])
    ones = np.ones((1, len(rows)))
    ((again, intercept_again),) = objective.solve(X[rows], targets[rows], ones, [3.0])
    np.testing.assert_allclose(coef, again, atol=1e-4)
    np.testing.assert_allclose(intercept, intercept_again, atol=1e-4)


def test_integer_weights_are_nearly_repetitions_to_fine_tuning(small_network, few):
    X, y = few
    weight = 1 + (np.arange(60) % 2)
    rows = np.repeat(np.arange(60), weight)
    classifier = make_classifier(small_network, head_init="random", head_lr=1e-2, max_epochs=40)
    weighted = classifier.fit(X, y, sample_weight=weight).predict_proba(X)
    repeated = classifier.fit(X[rows], y[rows]).predict_proba(X)
    assert np.abs(weighted - repeated).mean() < 0.05


@pytest.mark.parametrize("augment", [RandomFlip(), RandomShift(0.2), Mixup(0.4), lambda x: x + 0.1])
def test_augmentation_changes_the_training_and_follows_the_seed(small_network, few, augment):
    X, y = few
    plain = make_classifier(small_network).fit(X, y).predict_proba(X)
    augmented = make_classifier(small_network, augment=augment)
    first = augmented.fit(X, y).predict_proba(X)
    assert not np.array_equal(first, plain)
    np.testing.assert_array_equal(augmented.fit(X, y).predict_proba(X), first)


def test_bfloat16_trains_or_says_why_not(small_network, few, monkeypatch, recwarn):
    X, y = few
    monkeypatch.setattr("sktransfer.utils._torch._cpu_has_bfloat16", lambda: False)
    classifier = make_classifier(small_network, precision="bfloat16", device="cpu")
    with pytest.warns(UserWarning, match="has no fast bfloat16; going on in float32"):
        plain = classifier.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(plain, make_classifier(small_network).fit(X, y).predict_proba(X))
    monkeypatch.setattr("sktransfer.utils._torch._cpu_has_bfloat16", lambda: True)
    mixed = classifier.fit(X, y).predict_proba(X)
    assert mixed.dtype == np.float64
    assert 0 < np.abs(mixed - plain).max() < 0.2


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"trainable": "last"}, ValueError, "Got trainable='last', but expected 'all', 'norm'"),
        ({"trainable": 0}, ValueError, "Got trainable=0, but expected an integer >= 1"),
        ({"trainable": 99}, ValueError, "Got trainable=99, but the backbone has 2 blocks|1 blocks"),
        ({"trainable": ("cnv*",)}, ValueError, "pattern 'cnv\\*' matches no layer"),
        ({"layer_decay": 0}, ValueError, "Got layer_decay=0, but expected a number > 0 and <= 1"),
        ({"head": "old"}, ValueError, "Got head='old'"),
        ({"head": "reuse"}, ValueError, "Got head='reuse', but the backbone does not say what"),
        ({"l2_sp": -1}, ValueError, "Got l2_sp=-1"),
        ({"penalty": 0.1}, TypeError, "Got penalty=0.1, but expected an object such as L2SP"),
        ({"unfreezing": "slow"}, TypeError, "Got unfreezing='slow', but expected a GradualUnf"),
        ({"adapters": 8}, TypeError, "Got adapters=8, but expected a LowRankAdapters"),
        ({"augment": "flip"}, TypeError, "Got augment='flip', but expected a function"),
        ({"precision": "float16"}, ValueError, "Got precision='float16'"),
        ({"validation_fraction": 0.9}, ValueError, "Got validation_fraction=0.9"),
        ({"n_iter_no_change": 0}, ValueError, "Got n_iter_no_change=0"),
        ({"early_stopping": "yes"}, ValueError, "Got early_stopping='yes'"),
        ({"checkpoint_every": 0}, ValueError, "Got checkpoint_every=0"),
        (
            {"checkpoint_dir": "fits", "random_state": None},
            ValueError,
            "Got checkpoint_dir=... with random_state=None",
        ),
        (
            {"head": "reuse", "hidden_layer_sizes": (8,)},
            ValueError,
            "Got head='reuse' with hidden_layer_sizes",
        ),
        ({"head": "reuse", "head_init": "random"}, ValueError, "a random head reuses nothing"),
    ],
)
def test_errors_name_the_parameter_and_say_what_was_expected(
    small_network, few, parameters, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    classifier = make_classifier(small_network).set_params(**parameters)
    with pytest.raises(error, match=message):
        classifier.fit(*few)
