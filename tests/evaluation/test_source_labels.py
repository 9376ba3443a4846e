"""LEEP and NCE."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from sktransfer.evaluation import LEEP, NCE


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.full(5, 0.3), size=80), np.arange(80) % 3


def score_by_definition(proba, y, left_out):
    classes = np.unique(y)
    logs = []
    for i, label in enumerate(y):
        others = np.arange(len(y)) != i if left_out else np.full(len(y), True)
        joint = np.array([proba[others & (y == c)].sum(axis=0) for c in classes])
        if left_out:
            members = np.array([(others & (y == c)).sum() + 1 / len(classes) for c in classes])
            joint = joint + (members / members.sum())[:, None]
        given = joint / joint.sum(axis=0)
        logs.append(np.log(given[list(classes).index(label)] @ proba[i]))
    return np.mean(logs)


@pytest.mark.parametrize("left_out", [True, False])
def test_equal_their_definition(rows, left_out):
    proba, y = rows
    expected = score_by_definition(proba, y, left_out)
    assert LEEP(leave_one_out=left_out).score(proba, y) == pytest.approx(expected, rel=1e-9)
    labels = np.eye(5)[proba.argmax(axis=1)]
    expected = score_by_definition(labels, y, left_out)
    assert NCE(leave_one_out=left_out).score(proba, y) == pytest.approx(expected, rel=1e-9)


def test_nce_of_the_paper_is_the_conditional_entropy(rows):
    proba, y = rows
    z = proba.argmax(axis=1)
    shares = np.bincount(y) / len(y)
    entropy = -(shares * np.log(shares)).sum() - mutual_info_score(y, z)
    assert NCE().score(proba, y) == pytest.approx(-entropy)


@pytest.mark.parametrize("left_out", [True, False])
@pytest.mark.parametrize("method", [LEEP, NCE])
def test_classes_of_the_source_without_any_mass(rows, method, left_out):
    proba, y = rows
    padded = np.hstack([np.zeros((80, 3)), proba, np.zeros((80, 900))])
    method = method(leave_one_out=left_out)
    assert method.score(padded, y) == pytest.approx(method.score(proba, y))


@pytest.mark.parametrize("method", [LEEP, NCE])
def test_a_source_class_for_each_row_tells_nothing(method):
    """The paper's score is perfect there, whatever the head knows."""
    y = np.arange(30) % 3
    one_each = np.eye(1000)[:30]
    assert method().score(one_each, y) == pytest.approx(0, abs=1e-12)
    assert method(leave_one_out=True).score(one_each, y) < np.log(1 / 3)


@pytest.mark.parametrize("method", [LEEP, NCE])
def test_random_heads_of_many_classes_are_no_better_than_of_few(method):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    few, many = (rng.dirichlet(np.full(n, 2 / n), size=60) for n in (4, 1000))
    assert method().score(many, y) > method().score(few, y)
    assert (
        abs(method(leave_one_out=True).score(many, y) - method(leave_one_out=True).score(few, y))
        < 0.15
    )


@pytest.mark.parametrize("method", [LEEP, NCE])
def test_at_most_zero(rows, method):
    y = rows[1]
    assert method().score(np.eye(3)[y], y) == pytest.approx(0)
    assert -0.05 < method(leave_one_out=True).score(np.eye(3)[y], y) < 0
