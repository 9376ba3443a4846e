"""What holds for every test: no network, a torchvision that can be imported, small data."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch import nn

from sktransfer import TabularBackbone
from sktransfer.backbones import TableInput, TabularNetwork, clear_row_cache
from sktransfer.backbones.cache import _trial
from sktransfer.backbones.speed import _fast_networks

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure():
    # Many small problems: a second thread costs more than it saves, by far on a busy machine.
    torch.set_num_threads(1)
    threadpool_limits(1)
    _load_file(ROOT / "tools" / "offline.py").block_network()
    _load_file(ROOT / "tools" / "torchvision_on_cpu.py").allow_import()


def _load_file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RowCounter:
    """A number that is no part of a network, so that a fingerprint does not depend on it."""

    n_rows = 0


COUNTER = RowCounter()


class SmallNetwork(nn.Module):
    """Convolution, BatchNorm, in-place ReLU and a fully connected layer; counts its rows."""

    @property
    def rows_seen(self):
        return COUNTER.n_rows

    @rows_seen.setter
    def rows_seen(self, n_rows):
        COUNTER.n_rows = n_rows

    def __init__(self, n_outputs=5):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8 * 4, n_outputs)

    def forward(self, images):
        COUNTER.n_rows += len(images)
        activations = self.relu(self.norm(self.conv(images)))
        return self.fc(nn.functional.adaptive_avg_pool2d(activations, 2).flatten(1))


def uncounted(function):
    """Return a function that does the same, but whose rows the counter does not count."""

    @functools.wraps(function)
    def call(*args):
        n_rows = COUNTER.n_rows
        try:
            return function(*args)
        finally:
            COUNTER.n_rows = n_rows

    return call


@pytest.fixture
def small_network(monkeypatch):
    """Random weights, BatchNorm statistics that differ from any batch's, the counter at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SmallNetwork()
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.5, 2)
    # Rows that are sent to try the network, or to find what can be folded, do not count;
    # test_trial.py and test_folding.py in tests/backbones are on these.
    monkeypatch.setattr(
        "sktransfer.backbones._activations.find_reasons", uncounted(_trial.find_reasons)
    )
    watch = uncounted(_fast_networks.FastNetworks.watch)
    monkeypatch.setattr(_fast_networks.FastNetworks, "watch", watch)
    COUNTER.n_rows = 0
    clear_row_cache()
    return network


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: 400 images of shape (8, 8) and their labels."""
    images, y = load_digits(return_X_y=True)
    return images[:400].reshape(-1, 8, 8), y[:400]


def make_patients(n_rows, seed=0):
    """Return a frame of patients with missing values, and whether each is ill or well."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 12, n_rows).round(),
            "sex": rng.choice(["female", "male"], n_rows),
            "pressure": rng.normal(130, 20, n_rows).round(1),
            "stage": rng.integers(1, 4, n_rows),
            "smokes": rng.random(n_rows) < 0.4,
        }
    )
    risk = (frame["age"] - 50) / 12 + (frame["sex"] == "male") + frame["stage"] - 2.5
    y = np.where(risk + rng.normal(0, 0.5, n_rows) > 0, "ill", "well")
    frame["stage"] = frame["stage"].astype("category")
    frame.loc[rng.random(n_rows) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n_rows) < 0.1, "sex"] = None
    return frame, y


@pytest.fixture(scope="session")
def patients():
    """Give frames of patients and their labels, by number of rows and seed."""
    return make_patients


@pytest.fixture(scope="session")
def tabular_backbone():
    """A network of tables that tells ill patients from well ones, and hardly anybody else."""
    X, y = make_patients(400, seed=1)
    table = TableInput.learn(X)
    inputs, targets = torch.from_numpy(table.prepare(X)), torch.from_numpy((y == "well") * 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TabularNetwork(table.n_numeric, table.cardinalities, (16,), n_outputs=2)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return TabularBackbone(network, input=table, name="patients", classes=["ill", "well"])


@pytest.fixture(scope="session")
def tensors_of():
    """Give the state of a module as bytes, to tell whether anything in it changed."""
    return lambda module: {k: v.numpy().tobytes() for k, v in module.state_dict().items()}
