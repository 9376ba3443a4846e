"""Early stopping by held-out rows."""

import numpy as np
import torch
from skorch.callbacks import Callback

from sktransfer.utils._torch import evaluating


class TrainingEnded(Exception):
    """Raised between two epochs by whatever has seen enough of them."""


class HeldOutStopping(Callback):
    """End the training once the loss on held-out rows has not fallen for some epochs.

    The loss of each epoch is recorded as ``valid_loss``. The start counts as epoch 0, since where
    fine-tuning starts from a good head, no step at all may be best.

    Parameters
    ----------
    rows : PreparedRows
        Held-out rows.
    objective : Objective
    patience : int
        Epochs without a lower loss.
    batch_size : int, default=64
    """

    def __init__(self, rows, objective, patience, batch_size=64):
        self.rows, self.objective = rows, objective
        self.patience, self.batch_size = patience, batch_size

    def on_train_begin(self, net, **kwargs):
        self.start_loss = self.measure(net)

    def on_epoch_end(self, net, **kwargs):
        net.history.record("valid_loss", self.measure(net))
        self._find_best_epoch(net)
        if len(net.history) - self.best_epoch >= self.patience:
            raise TrainingEnded

    def on_train_end(self, net, **kwargs):
        # Also where a training is taken up at its end, so that no epoch is left.
        self._find_best_epoch(net)

    def _find_best_epoch(self, net):
        # From the history, which survives where a training is cut off and goes on.
        self.losses = [self.start_loss, *net.history[:, "valid_loss"]]
        self.best_epoch = int(np.nanargmin(self.losses))

    def measure(self, net):
        """Return the weighted mean loss of the held-out rows."""
        total = weights = 0.0
        order = list(range(len(self.rows)))
        device = next(net.module_.parameters()).device
        with torch.inference_mode(), evaluating(net.module_):
            for i in range(0, len(order), self.batch_size):
                inputs, (targets, weight) = self.rows.__getitems__(order[i : i + self.batch_size])
                outputs = net.module_(inputs.to(device)).float().cpu()
                total += float((self.objective.losses(outputs, targets) * weight).sum())
                weights += float(weight.sum())
        return total / weights
