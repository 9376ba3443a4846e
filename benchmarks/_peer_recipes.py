"""Recipes of other libraries for training on few labels, written out in plain torch and sklearn.

Each is a function ``fit_predict_proba(backbone, X, y, X_test, seed) -> probabilities`` of shape
(n_test, n_classes); y holds the numbers 0 … n_classes - 1, each of them at least once. None uses
augmentation or held-out rows, which some of the originals do. "Body" is the backbone without its
old head. Where a last batch would hold one row, it joins the batch before.
"""

import math

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from sktransfer import FeatureTransferTransformer

PENALTIES = np.logspace(-4, 2, 7)
LARGEST_SIDE = 32


# No fine-tuning


def pixels(backbone, X, y, X_test, seed):
    """Logistic regression on the pixels, averaged down to at most 32 x 32: no transfer."""
    return _logistic_regression(_shrink(X), y, _shrink(X_test), seed)


def linear_probe(backbone, X, y, X_test, seed):
    """Logistic regression on the features of the frozen backbone."""
    features, features_test = _features(backbone, X, X_test)
    return _logistic_regression(features, y, features_test, seed)


def svc(backbone, X, y, X_test, seed):
    """AutoGluon-MultiModal's few-shot learner: frozen features, StandardScaler, SVC(gamma="auto").

    Probabilities are the softmax of ``decision_function``, as there.
    """
    features, features_test = _features(backbone, X, X_test)
    model = make_pipeline(StandardScaler(), SVC(gamma="auto")).fit(features, y)
    scores = model.decision_function(features_test)
    if scores.ndim == 1:
        return np.stack([expit(-scores), expit(scores)], axis=1)
    return softmax(scores, axis=1)


def _logistic_regression(X, y, X_test, seed):
    """Standardise each column; choose C by log loss over up to five folds, C=1 without folds."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    n_folds = min(5, np.bincount(y).min())
    if n_folds > 1:
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        grid = {"logisticregression__C": PENALTIES}
        model = GridSearchCV(model, grid, cv=folds, scoring="neg_log_loss")
    return model.fit(X, y).predict_proba(X_test)


def _features(backbone, X, X_test):
    transformer = FeatureTransferTransformer(backbone, device="cpu").fit(X)
    return transformer.transform(X), transformer.transform(X_test)


def _shrink(X):
    images = X[..., None] if X.ndim == 3 else X
    images = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32))
    size = [min(side, LARGEST_SIDE) for side in images.shape[2:]]
    return F.adaptive_avg_pool2d(images, size).flatten(1).numpy()


# Training loops


def skorch_notebook(backbone, X, y, X_test, seed):
    """Skorch's transfer notebook: a random linear head by SGD in batches of 4 for 25 epochs.

    The body is frozen, but its BatchNorm is in training mode, as skorch's Freezer leaves it. The
    notebook keeps the epoch that is best on held-out rows; this keeps the last.
    """
    torch.manual_seed(seed)
    body = make_body(backbone).requires_grad_(False)
    network = Network(body, nn.Linear(count_features(backbone, body, X), count_classes(y)))
    n_batches = count_batches(len(y), 4)
    train(
        network,
        backbone.input.prepare(X),
        y,
        optimizer=torch.optim.SGD(network.head.parameters(), lr=1e-3, momentum=0.9),
        schedule=Steps(first=7 * n_batches, every=7 * n_batches),
        batch_size=4,
        n_steps=25 * n_batches,
    )
    return network.predict_proba(backbone.input.prepare(X_test))


def two_rates(backbone, X, y, X_test, seed):
    """Common practice: AdamW, 1e-4 for the body, 1e-3 for a random linear head, 30 epochs."""
    torch.manual_seed(seed)
    body = make_body(backbone)
    network = Network(body, nn.Linear(count_features(backbone, body, X), count_classes(y)))
    batch_size = min(32, max(8, len(y) // 8))
    n_steps = 30 * count_batches(len(y), batch_size)
    groups = [
        {"params": list(body.parameters()), "lr": 1e-4},
        {"params": list(network.head.parameters()), "lr": 1e-3},
    ]
    train(
        network,
        backbone.input.prepare(X),
        y,
        optimizer=torch.optim.AdamW(groups, weight_decay=1e-2),
        schedule=WarmupCosine(n_steps),
        batch_size=batch_size,
        n_steps=n_steps,
    )
    return network.predict_proba(backbone.input.prepare(X_test))


def fastai_fine_tune(backbone, X, y, X_test, seed):
    """fastai's ``vision_learner(...).fine_tune(epochs)`` with its default head and numbers.

    One epoch with the body frozen, its BatchNorm weights excepted, then ``epochs`` with three
    rates, 1e-5 and 1e-4 for the halves of the body and 1e-3 for the head. ``epochs`` is what the
    user chooses: here 10, or as many as make 100 steps if that is more. Batches of 64, or of all
    rows if these are fewer. The head pools quadrants where the backbone does, which on digits is
    better than fastai's pooling of the whole map.
    """
    torch.manual_seed(seed)
    body, pool_size = make_body_without_pooling(backbone)
    n_channels = count_features(backbone, body, X)
    head = make_fastai_head(n_channels, pool_size, count_classes(y))
    network = Network(body, head)
    inputs = backbone.input.prepare(X)
    batch_size = min(64, len(y))
    n_batches = count_batches(len(y), batch_size)
    lower, upper = split_layers(body)

    body.requires_grad_(False)
    norms = [layer for layer in lower + upper if isinstance(layer, _BatchNorm)]
    for layer in norms:
        layer.requires_grad_(True)
    # A slice(lr) gives all groups but the last a tenth of it.
    train(
        network,
        inputs,
        y,
        optimizer=make_fastai_adam([(norms, 2e-4), (list(head), 2e-3)]),
        schedule=OneCycle(n_batches, peak_at=0.99, start_factor=1 / 25),
        batch_size=batch_size,
        n_steps=n_batches,
    )

    body.requires_grad_(True)
    n_steps = max(10, math.ceil(100 / n_batches)) * n_batches
    train(
        network,
        inputs,
        y,
        optimizer=make_fastai_adam([(lower, 1e-5), (upper, 1e-4), (list(head), 1e-3)]),
        schedule=OneCycle(n_steps, peak_at=0.3, start_factor=1 / 5),
        batch_size=batch_size,
        n_steps=n_steps,
    )
    return network.predict_proba(backbone.input.prepare(X_test))


def keras_guide(backbone, X, y, X_test, seed):
    """Keras' transfer learning guide: Adam 1e-3 with a frozen body, then 1e-5 for everything.

    20 and 10 epochs in batches of 32; dropout before the dense layer; BatchNorm stays in
    inference mode. So the first part sees the same features in each epoch, computed once.
    """
    torch.manual_seed(seed)
    body = make_body(backbone)
    dense = nn.Linear(count_features(backbone, body, X), count_classes(y))
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    network = Network(body, nn.Sequential(nn.Dropout(0.2), dense), trains_batch_norm=False)
    inputs = backbone.input.prepare(X)
    n_batches = count_batches(len(y), 32)
    train(
        Network(nn.Identity(), network.head),
        forward_in_batches(body, inputs).numpy(),
        y,
        optimizer=torch.optim.Adam(network.head.parameters(), lr=1e-3, eps=1e-7),
        schedule=Schedule(),
        batch_size=32,
        n_steps=20 * n_batches,
    )
    train(
        network,
        inputs,
        y,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-5, eps=1e-7),
        schedule=Schedule(),
        batch_size=32,
        n_steps=10 * n_batches,
    )
    return network.predict_proba(backbone.input.prepare(X_test))


def bit_hyper_rule(backbone, X, y, X_test, seed):
    """BiT-HyperRule for fewer than 20,000 rows: SGD .003 for 500 steps from a head of zeros.

    Batches of 32 rows instead of 512. BiT's networks have no BatchNorm; here it stays in
    inference mode, where likewise no row depends on the others.
    """
    torch.manual_seed(seed)
    body = make_body(backbone)
    head = nn.Linear(count_features(backbone, body, X), count_classes(y))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    network = Network(body, head, trains_batch_norm=False)
    train(
        network,
        backbone.input.prepare(X),
        y,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.003, momentum=0.9),
        schedule=Steps(first=200, every=100, warmup=100),
        batch_size=min(32, len(y)),
        n_steps=500,
    )
    return network.predict_proba(backbone.input.prepare(X_test))


# Networks


class Network(nn.Module):
    """A body with a head; ``trains_batch_norm=False`` keeps BatchNorm of the body in eval mode."""

    def __init__(self, body, head, *, trains_batch_norm=True):
        super().__init__()
        self.body, self.head = body, head
        self.trains_batch_norm = trains_batch_norm

    def forward(self, inputs):
        return self.head(self.body(inputs))

    def train(self, mode=True):
        super().train(mode)
        if not self.trains_batch_norm:
            self.body.eval()
        return self

    def predict_proba(self, inputs):
        return softmax(forward_in_batches(self, inputs).double().numpy(), axis=1)


class FeatureMap(nn.Module):
    """A network up to the map that its global pooling averages."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network.forward_features(inputs)


class ConcatPool(nn.Module):
    """Maximum and mean of each channel, over the whole map or over ``size`` by ``size`` parts."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, maps):
        pooled = F.adaptive_max_pool2d(maps, self.size), F.adaptive_avg_pool2d(maps, self.size)
        return torch.cat(pooled, dim=1).flatten(1)


def make_body(backbone):
    """Return a copy of the network with features as its output, to be trained."""
    network = backbone.copy_module()
    name, last = list(network.named_children())[-1]
    if isinstance(last, nn.Linear):
        setattr(network, name, nn.Identity())
    return network


def make_body_without_pooling(backbone):
    """Return a copy of the network up to its last map, and how finely its pooling divides that."""
    network = make_body(backbone)
    if hasattr(network, "forward_features"):
        return FeatureMap(network), 1
    # The embedded network pools quadrants, in a layer of its own.
    network.pool = nn.Identity()
    return network, 2


def make_fastai_head(n_channels, pool_size, n_classes):
    n_pooled = 2 * n_channels * pool_size**2
    head = nn.Sequential(
        ConcatPool(pool_size),
        nn.BatchNorm1d(n_pooled),
        nn.Dropout(0.25),
        nn.Linear(n_pooled, 512, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(512),
        nn.Dropout(0.5),
        nn.Linear(512, n_classes, bias=False),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return head


def make_fastai_adam(layers_and_rates):
    """Return Adam with fastai's numbers; biases and BatchNorm layers have no weight decay."""
    groups = []
    for layers, lr in layers_and_rates:
        for layer in layers:
            for name, parameter in layer.named_parameters(recurse=False):
                is_spared = name == "bias" or isinstance(layer, _BatchNorm)
                decay = 0.0 if is_spared else 1e-2
                groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.95, 0.99), eps=1e-5)


def split_layers(body):
    """Return the layers that hold weights in two halves, the one at the input first."""
    layers = [layer for layer in body.modules() if list(layer.parameters(recurse=False))]
    middle = len(layers) // 2
    return layers[:middle], layers[middle:]


def count_features(backbone, body, X):
    """Return the width of the features, or the number of channels of the map, of two rows."""
    return forward_in_batches(body, backbone.input.prepare(X[:2])).shape[1]


def count_classes(y):
    return int(y.max()) + 1


@torch.no_grad()
def forward_in_batches(network, inputs, batch_size=64):
    network.eval()
    return torch.cat([network(batch) for batch in torch.from_numpy(inputs).split(batch_size)])


# Steps and schedules


def train(network, inputs, y, *, optimizer, schedule, batch_size, n_steps):
    """Minimise the cross-entropy in place, over rows that are shuffled in each epoch."""
    inputs, y = torch.from_numpy(inputs), torch.from_numpy(y).long()
    network.train()
    batches = shuffled_batches(len(y), batch_size)
    for step in range(n_steps):
        rows = next(batches)
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs[rows]), y[rows]).backward()
        optimizer.step()


def shuffled_batches(n_rows, batch_size):
    """Yield the row numbers of one batch after the other, without an end."""
    while True:
        batches = list(torch.randperm(n_rows).split(batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches


def count_batches(n_rows, batch_size):
    """Return the number of batches per epoch."""
    full, rest = divmod(n_rows, batch_size)
    return max(1, full + (rest > 1))


class Schedule:
    """Constant learning rates, and the base of the schedules that move them."""

    def apply(self, optimizer, step):
        """Set the options of each parameter group for this step."""
        for group in optimizer.param_groups:
            peak = group.setdefault("initial_lr", group["lr"])
            group["lr"] = peak * self.factor(step)

    def factor(self, step):
        return 1.0


class Steps(Schedule):
    """A tenth from step ``first`` on, and again every so many steps; linear warm-up if wanted."""

    def __init__(self, *, first, every, warmup=0):
        self.first, self.every, self.warmup = first, every, warmup

    def factor(self, step):
        if step < self.warmup:
            return step / self.warmup
        return 0.1 ** max(0, 1 + (step - self.first) // self.every)


class WarmupCosine(Schedule):
    """Linear warm-up over a tenth of the steps, then half a cosine down to zero."""

    def __init__(self, n_steps):
        self.n_steps, self.warmup = n_steps, max(1, round(0.1 * n_steps))

    def factor(self, step):
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.n_steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * done))


class OneCycle(Schedule):
    """fastai's cycle: rates up and down along cosines, the momentum .95, .85, .95 against them."""

    def __init__(self, n_steps, *, peak_at, start_factor, end_factor=1e-5):
        self.n_steps, self.peak_at = n_steps, peak_at
        self.start_factor, self.end_factor = start_factor, end_factor

    def apply(self, optimizer, step):
        super().apply(optimizer, step)
        for group in optimizer.param_groups:
            group["betas"] = (self._move(step, 0.95, 0.85, 0.95), group["betas"][1])

    def factor(self, step):
        return self._move(step, self.start_factor, 1.0, self.end_factor)

    def _move(self, step, start, peak, end):
        done = step / self.n_steps
        if done < self.peak_at:
            return _cosine(start, peak, done / self.peak_at)
        return _cosine(peak, end, (done - self.peak_at) / (1 - self.peak_at))


def _cosine(start, end, done):
    return start + (1 - math.cos(math.pi * done)) * (end - start) / 2
