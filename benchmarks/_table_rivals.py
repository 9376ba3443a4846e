"""Ways to predict a few labelled rows of a table, without and with transfer.

A rival is a function of a `Source`, labelled rows, their labels, rows to predict and a seed, and
returns probabilities in the order of the sorted labels. All get the frames as they come.
"""

import functools
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from sktransfer import (
    Backbone,
    FeatureTransferTransformer,
    InstanceTransferClassifier,
    ParameterTransferClassifier,
    SourceDomain,
    TrAdaBoostClassifier,
    pretrain_backbone,
)

PENALTIES = (0.01, 0.1, 1.0, 10.0)
# Rows from which a penalty by cross-validation costs time and changes nothing.
MANY = 1000
HIDDEN = (128, 128)


class Source:
    """The rows of a source, and what was learned from them once, when it is first asked for."""

    def __init__(self, task, seed):
        self.X, self.y, self.seed = task.X_source, task.y_source, seed
        self.has_same_label = task.has_same_label

    @functools.cached_property
    def hgb(self):
        return make_hgb(self.seed).fit(self.X, self.y)

    @functools.cached_property
    def logistic(self):
        return fit_logistic(self.X, self.y)

    @functools.cached_property
    def backbone(self):
        return pretrain_backbone(self.X, self.y, random_state=self.seed)

    @functools.cached_property
    def unlabelled_backbone(self):
        return pretrain_backbone(self.X, random_state=self.seed)

    @functools.cached_property
    def combined_backbone(self):
        return pretrain_backbone(self.X, self.y, self_supervised=1.0, random_state=self.seed)

    @functools.cached_property
    def domain(self):
        return SourceDomain(self.X, self.y)

    @functools.cached_property
    def encoder(self):
        return make_encoder().fit(self.X)

    def pool(self, X, y):
        """Return rows and labels of both domains, the target's first."""
        # Categories of one domain alone become categories of both.
        words = list(X.select_dtypes("category").columns)
        frames = [rows.astype(dict.fromkeys(words, object)) for rows in (X, self.X)]
        rows = pd.concat(frames, ignore_index=True).astype(dict.fromkeys(words, "category"))
        return rows, np.concatenate([y, self.y])


# Learners


def make_encoder():
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore")
    )
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (words, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )


def fit_logistic(X, y, sample_weight=None):
    """Fit a logistic regression, its penalty by five folds where the rows are few."""
    if len(y) > MANY:
        learner = LogisticRegression(max_iter=1000)
    else:
        learner = LogisticRegressionCV(
            Cs=PENALTIES,
            cv=min(5, min(np.unique(y, return_counts=True)[1])),
            scoring="neg_log_loss",
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
            max_iter=1000,
        )
    return make_pipeline(make_encoder(), learner).fit(X, y)


def make_hgb(seed, n=None):
    """Make a boosting of 100 trees, whose leaves hold a tenth of the rows where these are few."""
    leaf = 20 if n is None else int(np.clip(n // 10, 1, 20))
    return HistGradientBoostingClassifier(min_samples_leaf=leaf, random_state=seed)


# Without transfer


def target_logistic(source, X, y, X_test, seed):
    return fit_logistic(X, y).predict_proba(X_test)


def target_forest(source, X, y, X_test, seed):
    forest = RandomForestClassifier(200, min_samples_leaf=max(1, len(y) // 50), random_state=seed)
    return make_pipeline(make_encoder(), forest).fit(X, y).predict_proba(X_test)


def target_hgb(source, X, y, X_test, seed):
    # A column without any value is more than scikit-learn's bins can take.
    X, X_test = (rows[X.columns[X.notna().any()]] for rows in (X, X_test))
    return make_hgb(seed, len(y)).fit(X, y).predict_proba(X_test)


def scratch_mlp(source, X, y, X_test, seed):
    network = MLPClassifier(HIDDEN, alpha=0.1, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(make_encoder(), network).fit(X, y).predict_proba(X_test)


def random_network(source, X, y, X_test, seed):
    """A logistic regression on the rows and what a network with random weights makes of them."""
    width = source.encoder.transform(source.X[:1]).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(width, HIDDEN[0]), nn.ReLU(), nn.Linear(*HIDDEN), nn.ReLU(), nn.Identity()
        )
    transformer = FeatureTransferTransformer(Backbone(network), mode="concat")
    return _fit_on_features(transformer, source.encoder, X, y, X_test)


def _fit_on_features(transformer, encoder, X, y, X_test):
    transformer.set_output(transform="pandas")
    rows = pd.DataFrame(encoder.transform(X).astype(np.float32))
    test = pd.DataFrame(encoder.transform(X_test).astype(np.float32))
    rows.columns = test.columns = [f"x{i}" for i in range(rows.shape[1])]
    features = transformer.fit_transform(rows)
    return fit_logistic(features, y).predict_proba(transformer.transform(test))


# The source rows, or models of them


def source_logistic(source, X, y, X_test, seed):
    return source.logistic.predict_proba(X_test)


def source_hgb(source, X, y, X_test, seed):
    return source.hgb.predict_proba(X_test)


def pooled_logistic(source, X, y, X_test, seed):
    return fit_logistic(*source.pool(X, y)).predict_proba(X_test)


def pooled_hgb(source, X, y, X_test, seed, *, balanced=False):
    rows, labels = source.pool(X, y)
    weight = np.ones(len(labels))
    if balanced:
        weight[: len(y)] = len(source.y) / len(y)
    return make_hgb(seed).fit(rows, labels, sample_weight=weight).predict_proba(X_test)


def source_logits(source, X, y, X_test, seed):
    """What a model of the source says, behind the columns of the rows, in one line."""
    transformer = FeatureTransferTransformer(
        FrozenEstimator(source.hgb), output="logits", mode="concat"
    ).set_output(transform="pandas")
    features = transformer.fit_transform(X)
    return fit_logistic(features, y).predict_proba(transformer.transform(X_test))


def boosted_source(source, X, y, X_test, seed):
    """TrAdaBoost over a logistic regression, on rows that are encoded once for all rounds."""
    encode = source.encoder.transform
    classifier = TrAdaBoostClassifier(
        LogisticRegression(max_iter=200),
        source=SourceDomain(encode(source.X), source.y),
        random_state=seed,
    )
    return _quietly(classifier, encode(X), y, encode(X_test))


def weighted_source(source, X, y, X_test, seed):
    classifier = InstanceTransferClassifier(
        make_pipeline(make_encoder(), LogisticRegression(max_iter=1000)),
        source=source.domain,
        random_state=seed,
    )
    return _quietly(classifier, X, y, X_test)


def _quietly(classifier, X, y, X_test):
    with warnings.catch_warnings():
        # Where transfer loses is what the table shows.
        warnings.simplefilter("ignore")
        return classifier.fit(X, y).predict_proba(X_test)


# Backbones


def backbone_features(source, X, y, X_test, seed, *, backbone="backbone", mode="replace"):
    """A logistic regression on what a hidden layer says, in place of the columns or behind them."""
    transformer = FeatureTransferTransformer(getattr(source, backbone), mode=mode)
    transformer.set_output(transform="pandas")
    features = transformer.fit_transform(X)
    return fit_logistic(features, y).predict_proba(transformer.transform(X_test))


def parameter_transfer(source, X, y, X_test, seed, *, backbone="backbone", **parameters):
    classifier = ParameterTransferClassifier(
        getattr(source, backbone), random_state=seed, **parameters
    )
    return _quietly(classifier, X, y, X_test)


def _features(backbone, mode):
    return functools.partial(backbone_features, backbone=backbone, mode=mode)


def _transfer(**parameters):
    return functools.partial(parameter_transfer, **parameters)


WITHOUT_TRANSFER = {
    "target LR": target_logistic,
    "target RF": target_forest,
    "target HGB": target_hgb,
    "scratch MLP": scratch_mlp,
    "X + random network": random_network,
}
# Only where the labels are the same.
WITH_SOURCE_ROWS = {
    "source LR": source_logistic,
    "source HGB": source_hgb,
    "pooled LR": pooled_logistic,
    "pooled HGB": pooled_hgb,
    "pooled HGB, balanced": functools.partial(pooled_hgb, balanced=True),
    "TrAdaBoost": boosted_source,
    "InstanceTransfer": weighted_source,
    "reused head": _transfer(strategy="frozen", head="reuse"),
}
WITH_SOURCE_MODEL = {
    "X + HGB logits": source_logits,
    "SCARF features": _features("unlabelled_backbone", "replace"),
    "X + SCARF features": _features("unlabelled_backbone", "concat"),
    "features": _features("backbone", "replace"),
    "X + features": _features("backbone", "concat"),
    "frozen": _transfer(strategy="frozen"),
    "fine_tune": _transfer(strategy="fine_tune"),
    "auto": _transfer(strategy="auto"),
    "auto, SCARF": _transfer(strategy="auto", backbone="unlabelled_backbone"),
    "auto, with SCARF": _transfer(strategy="auto", backbone="combined_backbone"),
}
