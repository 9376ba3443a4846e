"""Networks of tables whose weights move: frames in, heads reused, transfer after transfer."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from sktransfer import (
    ColumnMismatchWarning,
    NegativeTransferWarning,
    ParameterTransferClassifier,
    ParameterTransferRegressor,
    TabularBackbone,
    load_backbone,
)
from sktransfer.backbones import TableInput, TabularNetwork
from sktransfer.training import Mixup

STRATEGIES = ["frozen", "fine_tune", "auto"]


def make_classifier(backbone, **params):
    return ParameterTransferClassifier(backbone, **{"max_epochs": 5, "random_state": 0, **params})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_classifier_takes_frames(strategy, patients, tabular_backbone, tensors_of):
    X, y = patients(40)
    X_test, y_test = patients(200, seed=7)
    before = tensors_of(tabular_backbone.copy_module())
    classifier = make_classifier(tabular_backbone, strategy=strategy).fit(X, y)
    assert classifier.classes_.tolist() == ["ill", "well"]
    auc = roc_auc_score(y_test, classifier.predict_proba(X_test)[:, 1])
    assert auc > 0.85
    assert classifier.n_features_in_ == 5
    assert classifier.feature_names_in_.tolist() == list(X.columns)
    polars_frame = pl.from_pandas(X_test.astype({"stage": "int64"}))
    np.testing.assert_array_equal(
        classifier.predict_proba(polars_frame), classifier.predict_proba(X_test)
    )
    assert tensors_of(tabular_backbone.copy_module()) == before


def test_order_of_columns_does_not_matter(patients, tabular_backbone):
    X, y = patients(40)
    turned = X[["stage", "age", "smokes", "pressure", "sex"]]
    one, other = (
        make_classifier(tabular_backbone, strategy="fine_tune").fit(frame, y)
        for frame in (X, turned)
    )
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert other.feature_names_in_.tolist() == list(turned.columns)


def test_the_model_without_transfer_is_one_of_the_encoded_rows(patients, tabular_backbone):
    """Categories count there, although they are no numbers; and the guard says that it wins."""
    X, _ = patients(60)
    sex = X["sex"].fillna("unknown")
    X = X.assign(sex=sex)
    with pytest.warns(NegativeTransferWarning, match="a linear model on the input alone"):
        classifier = make_classifier(tabular_backbone, strategy="auto").fit(X, sex)
    members = {member.name: member for member in classifier._model.members}
    member = members["no_transfer"]
    features = member.compute_features(tabular_backbone.input.encode_rows(X), None, "cpu")
    says = member.compute_outputs(features).argmax(1).numpy()
    assert (classifier.classes_[says] == sex).mean() > 0.95


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_missing_and_other_columns(strategy, patients, tabular_backbone):
    X, y = patients(40)
    X = X.drop(columns="pressure").assign(city="Rome")
    classifier = make_classifier(tabular_backbone, strategy=strategy)
    with pytest.warns(ColumnMismatchWarning, match=r"'pressure'.*'city'") as told:
        classifier.fit(X, y)
    assert len(told) == 1
    assert classifier.score(X, y) > 0.7
    with pytest.raises(ValueError, match=r"without the columns 'city', which it had in fit"):
        classifier.predict(X.drop(columns="city"))


def test_the_head_of_the_source_is_reused_for_its_classes(patients, tabular_backbone):
    """From labels that say nothing a new head learns nothing; a reused one knows it before."""
    X, y = patients(40)
    X_test, y_test = patients(200, seed=7)

    def find_auc(head, X, y):
        classifier = make_classifier(tabular_backbone, strategy="frozen", head=head).fit(X, y)
        return roc_auc_score(y_test, classifier.predict_proba(X_test)[:, 1])

    senseless = np.array(["ill", "well"] * 4)
    assert find_auc("reuse", X[:8], senseless) > 0.9
    assert find_auc("new", X[:8], senseless) < 0.7
    two = [np.flatnonzero(y == label)[0] for label in ("ill", "well")]
    # Where no row can be held out to compare the two.
    assert find_auc("auto", X.iloc[two], y[two]) == find_auc("reuse", X.iloc[two], y[two])


@pytest.fixture(scope="module")
def three_class_backbone(patients):
    X, _ = patients(100)
    table = TableInput.learn(X)
    network = TabularNetwork(table.n_numeric, table.cardinalities, (16,), n_outputs=3)
    return TabularBackbone(network, input=table, classes=["dead", "ill", "well"])


def test_a_subset_of_the_classes_takes_its_slices_of_the_head(patients, three_class_backbone):
    X, y = patients(20)
    classifier = make_classifier(three_class_backbone, strategy="frozen", head="reuse")
    classifier.partial_fit(X[: 0 + 1], y[:1], classes=["ill", "well"], sample_weight=[1e-12])
    module = three_class_backbone.copy_module()
    with pytest.raises(ValueError, match="no output for the classes"):
        clone(classifier).fit(X, np.where(y == "ill", "ill", "cured"))
    inputs = torch.from_numpy(three_class_backbone.input.prepare(X))
    with torch.no_grad():
        expected = module.eval()(inputs)[:, 1:].softmax(1).numpy()
    # The single step of the row without weight moves the head by its learning rate at most.
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=0.01)


def test_a_multilabel_source_gives_a_new_head(patients, three_class_backbone):
    """Its outputs stand for labels that do not exclude each other, so it names no classes."""
    X, y = patients(40)
    backbone = TabularBackbone(three_class_backbone.copy_module(), input=three_class_backbone.input)
    assert make_classifier(backbone, strategy="frozen").fit(X, y).score(X, y) > 0.6
    with pytest.raises(ValueError, match="does not say what its outputs stand for"):
        make_classifier(backbone, head="reuse").fit(X, y)


def test_several_labels_per_row(patients, tabular_backbone):
    X, y = patients(40)
    labels = np.stack([y == "ill", X["smokes"]], axis=1).astype(int)
    classifier = make_classifier(tabular_backbone, strategy="frozen").fit(X, labels)
    assert classifier.predict(X).shape == (40, 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_regressor(strategy, patients, tabular_backbone):
    X, y = patients(60)
    risk = (y == "ill") * 2.0 + 10
    regressor = ParameterTransferRegressor(
        tabular_backbone, strategy=strategy, max_epochs=5, random_state=0
    )
    assert regressor.fit(X, risk).score(X, risk) > 0.4
    assert isinstance(regressor.backbone_, TabularBackbone)


def test_a_regressor_reuses_a_head_of_the_same_unit(patients, tabular_backbone):
    X, y = patients(200)
    risk = (y == "ill") * 2.0 + 10
    first = ParameterTransferRegressor(tabular_backbone, strategy="frozen").fit(X, risk)
    second = ParameterTransferRegressor(first, strategy="frozen", head="reuse")
    few = X[:6]
    second.fit(few, risk[:6])
    np.testing.assert_allclose(second.predict(X), first.predict(X), atol=1.5)
    assert second.score(X, risk) > 0.3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fitted_estimator_is_the_next_source(strategy, patients, tabular_backbone, tmp_path):
    X, y = patients(60)
    first = make_classifier(tabular_backbone, strategy=strategy).fit(X, y)
    backbone = first.backbone_
    assert isinstance(backbone, TabularBackbone)
    assert backbone.input == tabular_backbone.input
    assert backbone.source_classes_.tolist() == ["ill", "well"]
    second = make_classifier(first, strategy="frozen").fit(X[:10], y[:10])
    assert second.score(X, y) > 0.75
    backbone.save(tmp_path / "next.safetensors")
    loaded = load_backbone(tmp_path / "next.safetensors")
    assert loaded == backbone
    third = make_classifier(loaded, strategy="frozen").fit(X[:10], y[:10])
    np.testing.assert_array_equal(third.predict_proba(X), second.predict_proba(X))


def test_module_takes_prepared_rows(patients, tabular_backbone):
    X, y = patients(40)
    classifier = make_classifier(tabular_backbone, strategy="fine_tune").fit(X, y)
    inputs = torch.from_numpy(classifier.backbone_.input.prepare(X))
    with torch.no_grad():
        outputs = classifier.module_(inputs).softmax(1)
    np.testing.assert_allclose(classifier.predict_proba(X), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainable", ["all", 1, ["hidden.0.0"], "bias"])
def test_what_moves(trainable, patients, tabular_backbone):
    X, y = patients(40)
    classifier = make_classifier(
        tabular_backbone, strategy="fine_tune", trainable=trainable, layer_decay=0.5
    ).fit(X, y)
    old = tabular_backbone.copy_module().state_dict()
    new = classifier.backbone_.copy_module().state_dict()
    moved = {
        name
        for name, value in old.items()
        if any(k.endswith(name) and not new[k].equal(value) for k in new)
    }
    embeddings = {name for name in old if name.startswith("embeddings")}
    assert "hidden.0.0.bias" in moved
    assert (embeddings & moved == embeddings) == (trainable == "all")


def test_grid_search_in_processes(patients, tabular_backbone):
    X, y = patients(60)
    grid = {"head": ["new", "reuse"], "strategy": ["frozen"]}
    search = GridSearchCV(make_classifier(tabular_backbone), grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.7
    assert search.best_estimator_.backbone is tabular_backbone


def test_cross_validation_of_a_polars_frame(patients, tabular_backbone):
    X, y = patients(60)
    classifier = make_classifier(tabular_backbone, strategy="frozen")
    scores = cross_val_score(classifier, pl.from_pandas(X), y, cv=3)
    assert scores.mean() > 0.7


def test_clone_and_pickle(patients, tabular_backbone):
    X, y = patients(40)
    classifier = make_classifier(tabular_backbone, strategy="frozen").fit(X, y)
    assert clone(classifier).backbone is tabular_backbone
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_warm_start_partial_fit_and_checkpoints(patients, tabular_backbone, tmp_path):
    X, y = patients(40)
    classifier = make_classifier(
        tabular_backbone, strategy="fine_tune", warm_start=True, checkpoint_dir=tmp_path
    )
    classifier.fit(X, y).fit(X, y).partial_fit(X[:3], y[:3])
    assert classifier.score(X, y) > 0.7


def test_arrays_of_numbers(tabular_backbone):
    rng = np.random.default_rng(0)
    X_source = rng.normal(5, 2, (200, 4))
    table = TableInput.learn(X_source)
    backbone = TabularBackbone(TabularNetwork(table.n_numeric, (), (16,)), input=table)
    X = rng.normal(5, 2, (40, 4)).astype(np.float32)
    X[0, 0] = np.nan
    y = X[:, 1] > 5
    classifier = make_classifier(backbone, strategy="frozen").fit(X, y)
    assert classifier.score(X, y) > 0.9
    assert not hasattr(classifier, "feature_names_in_")
    with pytest.warns(ColumnMismatchWarning, match="another scale"):
        make_classifier(backbone, strategy="frozen").fit((X - 5) / 20, y)
    with pytest.raises(ValueError, match="infinity in the column 'x1'"):
        classifier.predict(np.where(np.arange(4) == 1, np.inf, X))


def test_tags_say_that_frames_are_welcome(tabular_backbone):
    tags = make_classifier(tabular_backbone).__sklearn_tags__().input_tags
    assert tags.allow_nan
    assert tags.string
    assert tags.categorical
    assert not make_classifier(None).__sklearn_tags__().input_tags.allow_nan


def test_a_fit_that_fails_changes_nothing(patients, tabular_backbone):
    X, y = patients(40)
    classifier = make_classifier(tabular_backbone, strategy="frozen").fit(X, y)
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="infinity"):
        classifier.fit(X.assign(age=np.inf).drop(columns="sex"), y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


def test_augment_is_for_images(patients, tabular_backbone):
    X, y = patients(40)
    with pytest.raises(ValueError, match=r"augment=Mixup.*backbone for tables.*expected None"):
        make_classifier(tabular_backbone, augment=Mixup()).fit(X, y)


def test_frames_with_named_rows(patients, tabular_backbone):
    X, y = patients(40)
    index = pd.Index([f"row {i}" for i in range(40)])
    classifier = make_classifier(tabular_backbone, strategy="frozen")
    one = classifier.fit(X.set_index(index), pd.Series(y, index=index)).predict(X)
    np.testing.assert_array_equal(one, classifier.fit(X, y).predict(X))
