import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sktransfer import (
    Backbone,
    ParameterTransferClassifier,
    ParameterTransferRegressor,
    load_backbone,
)

DIGITS = np.arange(10)
WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@pytest.fixture(scope="module")
def rows():
    """Real handwritten digits in rows: of the source, of the target, and to test on."""
    X, y = load_digits(return_X_y=True)
    return {
        "source": (X[800:], y[800:]),
        "target": (X[:200], y[:200]),
        "test": (X[200:500], y[200:500]),
    }


@pytest.fixture(scope="module")
def source(rows):
    """A network that tells the ten digits apart."""
    X, y = (torch.as_tensor(array) for array in rows["source"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X.float()), y).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def logits(source, rows):
    """What the source makes of the test rows."""
    with torch.no_grad():
        return source(torch.as_tensor(rows["test"][0]).float()).numpy()


def take(rows, n_per_class, labels=DIGITS, classes=DIGITS):
    """Return so many target rows per class."""
    X, y = rows["target"]
    chosen = np.concatenate([np.flatnonzero(y == digit)[:n_per_class] for digit in classes])
    return X[chosen], labels[y[chosen]]


def make_classifier(backbone, **parameters):
    defaults = {"strategy": "frozen", "max_epochs": 1, "random_state": 0}
    return ParameterTransferClassifier(backbone, **{**defaults, **parameters})


def assert_same_logits(outputs, expected):
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
@pytest.mark.parametrize(("n_per_class", "lead"), [(1, 0.1), (2, 0.0)])
def test_at_few_rows_the_head_of_the_source_is_hard_to_beat(
    source, rows, logits, n_per_class, lead, strategy
):
    X, y = rows["test"]
    backbone = Backbone(source, classes=DIGITS)
    scores = {
        head: make_classifier(backbone, head=head, strategy=strategy)
        .fit(*take(rows, n_per_class))
        .score(X, y)
        for head in ("auto", "reuse", "new")
    }
    alone = (logits.argmax(1) == y).mean()
    assert alone > 0.9
    assert scores["auto"] == scores["reuse"] >= alone - 0.02
    assert scores["auto"] > scores["new"] + lead


def test_many_rows_move_it_away_where_it_is_wrong(source, rows):
    X, y = rows["target"]
    backbone = Backbone(source, classes=np.roll(DIGITS, 1))
    kept = make_classifier(backbone).fit(*take(rows, 1))
    assert kept.score(*rows["test"]) < 0.2
    moved = make_classifier(backbone).fit(X[:100], y[:100])
    assert moved.score(*rows["test"]) > 0.8


def test_without_a_row_to_hold_out_it_is_the_head_of_the_source(source, rows, logits):
    classifier = make_classifier(Backbone(source, classes=DIGITS)).fit(*take(rows, 1))
    assert_same_logits(classifier.decision_function(rows["test"][0]), logits)


@pytest.mark.parametrize("chosen", [[2, 5, 7], [9, 0], [8, 6, 4, 3]])
def test_some_of_the_classes_take_their_outputs(source, rows, logits, chosen):
    classifier = make_classifier(Backbone(source, classes=DIGITS), head="reuse")
    classifier.fit(*take(rows, 1, classes=chosen))
    expected = logits[:, sorted(chosen)]
    if len(chosen) == 2:
        expected = expected[:, 1] - expected[:, 0]
    assert_same_logits(classifier.decision_function(rows["test"][0]), expected)


@pytest.mark.parametrize(
    "labels",
    [
        DIGITS[::-1],
        DIGITS.astype(np.uint8),
        np.array([3, 1, 4, 15, 9, 2, 6, 5, 35, 8]),
        10.0 * DIGITS,
        WORDS,
        WORDS.astype(object),
        np.array([f"n0{i:03d}" for i in (7, 1, 5, 3, 2, 0, 9, 4, 6, 8)]),
    ],
)
def test_classes_in_any_order_and_of_any_kind(source, rows, logits, labels):
    classifier = make_classifier(Backbone(source, classes=labels), head="reuse")
    classifier.fit(*take(rows, 1, labels))
    outputs = classifier.decision_function(rows["test"][0])
    assert_same_logits(outputs, logits[:, np.argsort(labels)])
    np.testing.assert_array_equal(
        classifier.predict(rows["test"][0]), np.asarray(labels)[logits.argmax(1)]
    )


@pytest.mark.parametrize("labels", [DIGITS, WORDS])
def test_a_file_keeps_the_classes(source, rows, logits, labels, tmp_path):
    path = tmp_path / "digits.safetensors"
    Backbone(source, classes=labels).save(path)
    np.testing.assert_array_equal(load_backbone(path).classes, labels)
    classifier = make_classifier(path, head="reuse").fit(*take(rows, 1, labels))
    outputs = classifier.decision_function(rows["test"][0])
    assert_same_logits(outputs, logits[:, np.argsort(labels)])


@pytest.mark.parametrize(
    ("make_backbone", "message"),
    [
        (lambda net: Backbone(net, classes=WORDS), r"no output for the classes \[0, 1, 2, 3, 4\]"),
        (lambda net: Backbone(net, classes=range(1, 11)), r"no output for the classes \[0\]"),
        (lambda net: net, "does not say what its outputs stand for .classes=..."),
        (lambda net: Backbone(net, classes=range(11)), "last layer has 10 outputs, not 11"),
        (
            lambda net: Backbone(nn.Sequential(net, nn.ReLU()), classes=DIGITS),
            "does not end in a fully connected layer",
        ),
    ],
)
def test_where_no_head_fits_reuse_is_an_error_and_auto_takes_a_new_one(
    source, rows, make_backbone, message
):
    backbone = make_backbone(source)
    with pytest.raises(ValueError, match=f"Got head='reuse', but .*{message}.*; expected"):
        make_classifier(backbone, head="reuse").fit(*take(rows, 1))
    auto, new = (
        make_classifier(backbone, head=head).fit(*take(rows, 1)).predict_proba(rows["test"][0])
        for head in ("auto", "new")
    )
    np.testing.assert_array_equal(auto, new)


def test_yes_and_no_are_not_the_classes_one_and_zero(source, rows):
    X, y = take(rows, 1)
    backbone = Backbone(source, classes=DIGITS)
    with pytest.raises(ValueError, match="Got head='reuse', but the backbone has no output"):
        make_classifier(backbone, head="reuse").fit(X, y > 4)
    auto, new = (
        make_classifier(backbone, head=head).fit(X, y > 4).predict_proba(X)
        for head in ("auto", "new")
    )
    np.testing.assert_array_equal(auto, new)
    yes_or_no = make_classifier(backbone).fit(X, y > 4).backbone_
    make_classifier(yes_or_no, head="reuse").fit(X, y % 2 == 0)


def test_hidden_layers_make_a_head_new(source, rows):
    backbone = Backbone(source, classes=DIGITS)
    with pytest.raises(ValueError, match=r"head='reuse' with hidden_layer_sizes=\(8,\)"):
        make_classifier(backbone, head="reuse", hidden_layer_sizes=(8,)).fit(*take(rows, 1))
    classifier = make_classifier(backbone, hidden_layer_sizes=(8,)).fit(*take(rows, 1))
    assert classifier.module_.head.hidden1.out_features == 8


def test_an_unknown_way_to_begin(source, rows):
    with pytest.raises(ValueError, match="Got head='old'"):
        make_classifier(source, head="old").fit(*take(rows, 1))


def test_softmax_behind_the_head_does_not_count(source, rows, logits):
    backbone = Backbone(nn.Sequential(source, nn.Softmax(dim=1)), classes=DIGITS)
    classifier = make_classifier(backbone, head="reuse").fit(*take(rows, 1))
    assert_same_logits(classifier.decision_function(rows["test"][0]), logits)


def test_a_head_without_bias_or_with_computed_weights(source, rows, logits):
    network = nn.Sequential(source[0], nn.ReLU(), nn.Linear(32, 10, bias=False))
    network[2].weight = source[2].weight
    classifier = make_classifier(Backbone(network, classes=DIGITS), head="reuse")
    bias = source[2].bias.detach().numpy()
    outputs = classifier.fit(*take(rows, 1)).decision_function(rows["test"][0])
    assert_same_logits(outputs, logits - bias)
    network[2] = nn.utils.parametrizations.weight_norm(network[2])
    classifier = make_classifier(Backbone(network, classes=DIGITS), head="reuse")
    outputs = classifier.fit(*take(rows, 1)).decision_function(rows["test"][0])
    assert_same_logits(outputs, logits - bias)


@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_a_fitted_classifier_hands_its_head_on(source, rows, strategy, hidden_layer_sizes):
    first = make_classifier(source, strategy=strategy, hidden_layer_sizes=hidden_layer_sizes)
    first.fit(*take(rows, 4, WORDS))
    np.testing.assert_array_equal(first.backbone_.classes, first.classes_)
    X, y = take(rows, 1, WORDS, classes=(3, 1, 8))
    X_test = rows["test"][0]
    for backbone in (first, first.backbone_):
        second = make_classifier(backbone, head="reuse").fit(X, y)
        outputs = first.decision_function(X_test)[:, np.searchsorted(first.classes_, np.unique(y))]
        assert_same_logits(second.decision_function(X_test), outputs)


def test_partial_fit_begins_with_the_head_of_the_source(source, rows, logits):
    classifier = make_classifier(Backbone(source, classes=DIGITS), head_lr=1e-6)
    X, y = take(rows, 1)
    classifier.partial_fit(X[:3], y[:3], classes=DIGITS)
    assert_same_logits(classifier.decision_function(rows["test"][0]), logits)


def test_the_source_is_as_it_was(source, rows, tensors_of):
    before = tensors_of(source)
    for strategy in ("frozen", "fine_tune"):
        make_classifier(Backbone(source, classes=DIGITS), strategy=strategy).fit(*take(rows, 1))
    assert tensors_of(source) == before
    assert all(parameter.requires_grad for parameter in source.parameters())


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("strategy", ["frozen", "fine_tune"])
def test_a_fitted_regressor_hands_its_head_on(source, rows, strategy, n_outputs):
    X, _ = rows["target"]
    # Far from standardised.
    y = 100 + 50 * np.stack([X[:, :32].mean(1), X[:, 32:].mean(1)], axis=1)
    y = y[:, 0] if n_outputs == 1 else y
    parameters = {"strategy": strategy, "max_epochs": 1, "random_state": 0}
    first = ParameterTransferRegressor(source, **parameters).fit(X[:100], y[:100])
    few = X[100:106], y[100:106]
    second = ParameterTransferRegressor(first.backbone_, head="reuse", random_state=0)
    second.set_params(strategy="frozen").fit(*few)
    X_test = rows["test"][0]
    np.testing.assert_allclose(second.predict(X_test), first.predict(X_test), rtol=1e-3)
    new = ParameterTransferRegressor(first.backbone_, strategy="frozen", random_state=0)
    assert second.score(X[106:], y[106:]) > new.fit(*few).score(X[106:], y[106:]) + 0.1


def test_a_regressor_wants_an_output_for_each_column(source, rows):
    X, y = take(rows, 1)
    regressor = ParameterTransferRegressor(source, head="reuse", strategy="frozen")
    with pytest.raises(ValueError, match="its last layer has 10 outputs, not 1"):
        regressor.fit(X, y.astype(float))


def test_a_regressor_wants_an_output_for_each_column_and_not_for_each_class(source, rows):
    X, y = take(rows, 1)
    backbone = Backbone(source, classes=DIGITS)
    regressor = ParameterTransferRegressor(backbone, head="reuse", strategy="frozen")
    with pytest.raises(ValueError, match="10 outputs, not 1"):
        regressor.fit(X, y.astype(float))


def test_several_labels_per_row_want_a_new_head(source, rows):
    X, y = take(rows, 1)
    Y = np.eye(10, dtype=int)[y]
    backbone = Backbone(source, classes=DIGITS)
    with pytest.raises(ValueError, match="Got head='reuse', but y has several labels per row"):
        make_classifier(backbone, head="reuse").fit(X, Y)


def test_labels_are_not_taken_for_classes(source, rows):
    X, y = take(rows, 2)
    Y = np.stack([y % 2, y > 4, y % 3 == 0], axis=1).astype(int)
    first = make_classifier(source).fit(X, Y)
    with pytest.raises(ValueError, match="Got head='reuse'"):
        make_classifier(first.backbone_, head="reuse").fit(X, y % 3)
