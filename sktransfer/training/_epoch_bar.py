"""A progress bar over the epochs of a training."""

from skorch.callbacks import Callback
from tqdm.auto import tqdm


class EpochBar(Callback):
    """Show the epochs that are done, with the last losses."""

    def on_train_begin(self, net, **kwargs):
        self.bar = tqdm(total=net.max_epochs, desc="pretraining", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        losses = {
            name: f"{net.history[-1, name]:.3f}"
            for name in ("train_loss", "valid_loss")
            if name in net.history[-1]
        }
        self.bar.set_postfix(losses)
        self.bar.update()

    def on_train_end(self, net, **kwargs):
        self.bar.close()
