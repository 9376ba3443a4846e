import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sktransfer.training._batches import PreparedRows
from sktransfer.training._best_epoch import BestEpoch
from sktransfer.training._net import TrainingOptions, train_network
from sktransfer.training._objectives import Regression
from sktransfer.training._trainable import describe_param_groups


class Weights(Callback):
    seen = ()

    def on_epoch_end(self, net, **kwargs):
        self.seen = (*self.seen, copy.deepcopy(net.module_.state_dict()))


def train(patience, n_epochs=12):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 8)).astype(np.float32)
    y = X[:, :1] + rng.normal(size=(24, 1))
    parts = [PreparedRows(X[i::2], y[i::2], np.ones(12), np.asarray) for i in range(2)]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    objective = Regression(1)
    options = TrainingOptions(objective, max_epochs=n_epochs, callbacks=[("weights", Weights())])
    groups = describe_param_groups(network, head_lr=0.1, backbone_lr=0.1, weight_decay=0.0)
    stopping = BestEpoch(parts[1], objective, patience)
    net = train_network(network, parts[0], groups, options, stop=stopping)
    return network, net, stopping


@pytest.mark.parametrize("patience", [3, 100])
def test_the_weights_of_the_best_epoch_are_put_back(patience):
    with torch.random.fork_rng():
        network, net, stopping = train(patience)
    losses = net.history[:, "valid_loss"]
    assert stopping.best_epoch == 1 + int(np.argmin(losses))
    assert stopping.best_epoch < len(losses) <= 12
    seen = dict(net.callbacks_)["weights"].seen[stopping.best_epoch - 1]
    assert all(torch.equal(seen[name], value) for name, value in network.state_dict().items())
