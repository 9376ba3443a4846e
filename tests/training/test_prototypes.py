import numpy as np
import torch

from sktransfer.training._prototypes import make_prototype_head

rng = np.random.default_rng(0)


def compute_logits(head, features):
    with torch.no_grad():
        return head(torch.as_tensor(features, dtype=torch.float32)).numpy()


def test_one_row_per_class_is_its_own_prototype():
    features = np.eye(4) + 0.01 * rng.normal(size=(4, 4))
    logits = compute_logits(make_prototype_head(features, np.eye(4), np.ones(4)), features)
    np.testing.assert_array_equal(logits.argmax(1), np.arange(4))
    np.testing.assert_allclose(logits.max(1), 10, rtol=1e-4)


def test_scale_and_position_of_the_features_do_not_matter():
    features, targets = rng.normal(size=(30, 5)), np.eye(3)[np.arange(30) % 3]
    plain = compute_logits(make_prototype_head(features, targets, np.ones(30)), features)
    moved = make_prototype_head(7 * features + 3, targets, np.ones(30))
    np.testing.assert_allclose(compute_logits(moved, 7 * features + 3), plain, atol=1e-3)


def test_weights_are_repetitions():
    features, targets = rng.normal(size=(12, 5)), np.eye(3)[np.arange(12) % 3]
    weight = rng.integers(1, 4, size=12)
    weighted = make_prototype_head(features, targets, weight.astype(float))
    rows = np.repeat(np.arange(12), weight)
    repeated = make_prototype_head(features[rows], targets[rows], np.ones(len(rows)))
    np.testing.assert_allclose(
        compute_logits(weighted, features), compute_logits(repeated, features), atol=1e-4
    )


def test_rows_without_direction_do_no_harm():
    head = make_prototype_head(np.zeros((4, 3)), np.eye(2)[[0, 1, 0, 1]], np.ones(4))
    np.testing.assert_array_equal(compute_logits(head, np.zeros((2, 3))), 0)
