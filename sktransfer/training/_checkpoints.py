"""Trainings on disk, so that one that is cut off goes on where it was, to the same bits."""

import functools
import hashlib
import json
import pathlib

import numpy as np
import torch
from skorch.callbacks import Callback, PassthroughScoring
from skorch.history import History

from sktransfer.backbones._weights_file import read_tensors, write_tensors
from sktransfer.backbones.cache._fingerprint import describe_value, digest_network, digest_tensors

_FORMAT = "sktransfer-checkpoint-1"


# A fit is the same one if a callback has another class attribute, say a counter, than before.
_describe = functools.partial(describe_value, follows_classes=False)


class CheckpointFolder:
    """The checkpoints of one fit.

    Each training has a file of its own, named by all that decides its course: rows, starting
    weights, rates, budget, seed. So a folder may serve several fits, also at the same time.

    Parameters
    ----------
    path : path-like
        Made if it does not exist.
    every : int
        Steps between two checkpoints.
    """

    def __init__(self, path, every):
        try:
            self.path, self.every = pathlib.Path(path).expanduser(), every
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, TypeError) as error:
            raise ValueError(
                f"Got checkpoint_dir={path!r}, but expected the path of a folder that is there or "
                f"can be made: {error}"
            ) from error
        self._used = set()

    def file_of(self, network, rows, description):
        """Return the file of the training of this network on these rows."""
        augment = getattr(rows, "augment", None)
        first = rows.X[:1] if augment is None else rows.arrange(rows.X[:1])
        parts = [
            # Not the weights alone: rates of dropout and what is kept fixed decide as well.
            digest_network(network, None),
            digest_tensors({"targets": rows.targets, "weight": rows.sample_weight}),
            # How rows are prepared shows in the first one.
            _describe((rows.X, np.asarray(rows.prepare(first)), augment)),
            # Not by repr, which for many objects is their address.
            _describe(description),
            torch.__version__,
        ]
        digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        self._used.add(self.path / f"{digest}.safetensors")
        return self.path / f"{digest}.safetensors"

    def clear(self):
        """Remove the files of a fit that is complete."""
        for path in self._used:
            path.unlink(missing_ok=True)


class Checkpoint(Callback):
    """Write a training to a file every so many steps; take it up again from there.

    Parameters
    ----------
    path : pathlib.Path
    every : int
    n_batches : int
        Of an epoch.
    """

    def __init__(self, path, every, n_batches):
        self.path, self.every, self.n_batches = path, every, n_batches
        self.tensors, self.metadata = {}, {"step": "0"}
        try:
            self.tensors, self.metadata = read_tensors(path, _FORMAT, "checkpoint_dir=...")
        except FileNotFoundError:
            # Not asked before, since a fit like this one may remove it in between.
            pass
        except ValueError as error:
            raise ValueError(f"{error} Remove the file to train from the start.") from error
        self.start = self.step = int(self.metadata["step"])
        self.unfinished_epoch = []

    def restore(self, net):
        """Bring a net, as it is before its first step, to where the file has it."""
        if not self.step:
            return
        state = {"network": {}, "optimizer": {}}
        for key, tensor in self.tensors.items():
            part, _, name = key.partition(".")
            state[part][name] = tensor
        net.module_.load_state_dict(state["network"])
        described = net.optimizer_.state_dict()
        for key, tensor in state["optimizer"].items():
            index, _, name = key.partition(".")
            described["state"].setdefault(int(index), {})[name] = tensor
        net.optimizer_.load_state_dict(described)
        epochs = json.loads(self.metadata["history"])
        if "train_loss" not in epochs[-1]:
            self.unfinished_epoch = epochs.pop()["batches"]
        net.history_ = History(epochs)
        for _, callback in net.callbacks_:
            # skorch's own looks for the best score so far only among the epochs that it sees.
            if isinstance(callback, PassthroughScoring):
                for epoch in epochs:
                    if epoch.get(f"{callback.name}_best"):
                        callback.best_score_ = epoch[callback.name]
        self.tensors = {}

    def on_epoch_begin(self, net, **kwargs):
        net.history[-1]["batches"].extend(self.unfinished_epoch)
        self.unfinished_epoch = []

    def on_batch_end(self, net, **kwargs):
        self.step += 1
        self.due = self.step % self.every == 0
        # The last batch of an epoch is not the end of it: its records are still to come.
        if self.due and self.step % self.n_batches:
            self.write(net)

    def on_epoch_end(self, net, **kwargs):
        # skorch counts the batches since the training was taken up.
        net.history.record("train_batch_count", self.n_batches)
        # After the records of the callbacks before this one.
        if self.due or len(net.history) == net.max_epochs:
            self.write(net)

    def write(self, net):
        """Write weights, moments of the optimizer, number of the step and history."""
        tensors = {f"network.{k}": v for k, v in net.module_.state_dict().items()}
        for index, moments in net.optimizer_.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        metadata = {"step": str(self.step), "history": json.dumps(list(net.history))}
        write_tensors(self.path, {k: v.cpu() for k, v in tensors.items()}, metadata, _FORMAT)
