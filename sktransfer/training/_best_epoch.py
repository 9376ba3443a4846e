"""The weights of the epoch that was best on held-out rows."""

import torch

from sktransfer.training._stopping import HeldOutStopping


class BestEpoch(HeldOutStopping):
    """Early stopping that also puts the weights of the best epoch back in the end.

    Parameters
    ----------
    rows, objective, patience, batch_size
        As of `HeldOutStopping`.
    """

    def on_train_begin(self, net, **kwargs):
        super().on_train_begin(net, **kwargs)
        self.best_weights = _copy_weights(net.module_)

    def on_epoch_end(self, net, **kwargs):
        try:
            super().on_epoch_end(net, **kwargs)
        finally:
            if self.best_epoch == len(net.history):
                self.best_weights = _copy_weights(net.module_)

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        net.module_.load_state_dict(self.best_weights)
        del self.best_weights


def _copy_weights(module):
    with torch.no_grad():
        return {name: value.clone() for name, value in module.state_dict().items()}
