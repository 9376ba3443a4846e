"""From an encoded source table to a pretrained network: the steps, with everything resolved."""

import dataclasses

import numpy as np
import torch
from torch import nn

from sktransfer.backbones.tables._tabular_network import TabularNetwork
from sktransfer.training._batches import PreparedRows, count_batches
from sktransfer.training._best_epoch import BestEpoch
from sktransfer.training._column_noise import EncodedColumns, RowNoise
from sktransfer.training._holding_out import hold_out
from sktransfer.training._net import TrainingOptions, train_network
from sktransfer.training._pretraining_network import PretrainingNetwork, PretrainingObjective
from sktransfer.training._source_quality import measure_quality
from sktransfer.training._trainable import describe_param_groups
from sktransfer.utils._torch import seeded

# Batches of a sixteenth of the rows, within these numbers.
_FEWEST_ROWS, _MOST_ROWS = 32, 256
# max_epochs=None: so many passes, but at least so many steps. With labels few: the more a network
# knows of the source's label, the less it knows of another one.
_WITH_LABELS, _WITHOUT_LABELS, _MOST_STEPS = (15, 200), (30, 1000), 10_000


@dataclasses.dataclass(frozen=True)
class TablePretraining:
    """How a network is pretrained on a table: parameters of `pretrain_backbone`, resolved.

    Parameters
    ----------
    scarf : SCARF or None
    device : torch.device
    seeds : tuple of int
        Of the split, of the weights, and of the training.
    """

    hidden_layer_sizes: tuple
    scarf: object
    max_epochs: int | None
    batch_size: object
    learning_rate: float
    weight_decay: float
    dropout: float
    feature_dropout: float
    validation_fraction: float
    n_iter_no_change: int
    device: object
    callbacks: list
    verbose: int
    seeds: tuple

    def fit(self, encoded, table_input, target, weight):
        """Train a network on encoded rows.

        Parameters
        ----------
        encoded : ndarray of shape (n, n_encoded), float32
        table_input : TableInput
            Which columns of a table the encoded ones are.
        target : SourceTarget or None
        weight : ndarray of shape (n,)

        Returns
        -------
        network : TabularNetwork
            On the CPU; its outputs are in the units of the labels.
        outcome : dict
            Most fields of a `PretrainingReport`.
        """
        task = "self-supervised" if target is None else target.task
        targets = np.zeros((len(encoded), 1)) if target is None else target.targets
        objective = PretrainingObjective(None if target is None else target.objective, self.scarf)
        training, held_out = hold_out(
            encoded,
            self.validation_fraction,
            self.seeds[0],
            classes=targets.argmax(1) if task == "classification" else None,
            numbers=targets[:, 0] if task == "regression" else None,
        )
        weight = weight / weight[training].mean()
        columns = EncodedColumns(table_input.n_numeric, len(table_input.cardinalities))
        noise = RowNoise(columns, self.feature_dropout, self.scarf, encoded[training])
        rows = PreparedRows(encoded[training], targets[training], weight[training], noise)
        batch_size = self._choose_batch_size(len(rows))
        network = self._make_network(table_input, objective)
        stopping = None
        if len(held_out):
            with seeded(self.seeds[2]):
                seen = dataclasses.replace(noise, dropout=0.0)(encoded[held_out]).numpy()
            seen = PreparedRows(seen, targets[held_out], weight[held_out], np.asarray)
            stopping = BestEpoch(seen, objective, self.n_iter_no_change, batch_size)
        net = self._train(network, rows, objective, batch_size, stopping)
        network.cpu()
        scores, chance = {}, {}
        if stopping is not None:
            prior = np.average(targets[training], axis=0, weights=weight[training])
            scores, chance = measure_quality(
                network, seen, objective, task=task, prior=prior, batch_size=batch_size
            )
        n_epochs = len(net.history)
        outcome = {
            "task": task,
            "scores": scores,
            "chance": chance,
            "n_rows": len(training),
            "n_held_out": len(held_out),
            "n_epochs": n_epochs,
            "best_epoch": n_epochs if stopping is None else stopping.best_epoch,
        }
        return self._finish(network, target), outcome

    def _choose_batch_size(self, n_rows):
        if self.batch_size != "auto":
            return self.batch_size
        return min(_MOST_ROWS, max(_FEWEST_ROWS, n_rows // 16))

    def _choose_epochs(self, n_batches, objective):
        if self.max_epochs is not None:
            return self.max_epochs
        n_epochs, n_steps = _WITHOUT_LABELS if objective.supervised is None else _WITH_LABELS
        n_steps = min(_MOST_STEPS, max(n_steps, n_epochs * n_batches))
        return -(-n_steps // n_batches)

    def _make_network(self, table_input, objective):
        with seeded(self.seeds[1]):
            body = TabularNetwork(
                table_input.n_numeric,
                table_input.cardinalities,
                hidden_layer_sizes=self.hidden_layer_sizes,
                dropout=self.dropout,
            )
            width = self.hidden_layer_sizes[-1]
            head = projection = None
            if objective.supervised is not None:
                head = nn.Linear(width, objective.supervised.n_outputs)
            if self.scarf is not None:
                projection = nn.Sequential(
                    nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.scarf.n_components)
                )
        return PretrainingNetwork(body, head, projection)

    def _train(self, network, rows, objective, batch_size, stopping):
        groups = describe_param_groups(
            network,
            head_lr=self.learning_rate,
            backbone_lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        options = TrainingOptions(
            objective=objective,
            max_epochs=self._choose_epochs(count_batches(len(rows), batch_size), objective),
            batch_size=batch_size,
            device=self.device,
            callbacks=self.callbacks,
            verbose=self.verbose,
            seed=self.seeds[2],
        )
        return train_network(network, rows, groups, options, stop=stopping)

    def _finish(self, network, target):
        """Return the body, under the head for values of y where there is one."""
        body = network.backbone
        if target is None:
            return body
        with seeded(self.seeds[1]):
            whole = TabularNetwork(
                body.n_numeric,
                body.cardinalities,
                hidden_layer_sizes=body.hidden_layer_sizes,
                dropout=body.dropout,
                n_outputs=target.objective.n_outputs,
            )
        whole.load_state_dict({**whole.state_dict(), **body.state_dict()})
        scale, mean = (torch.as_tensor(v, dtype=torch.float32) for v in (target.scale, target.mean))
        with torch.no_grad():
            whole.output.weight.copy_(network.head.weight * scale[:, None])
            whole.output.bias.copy_(network.head.bias * scale + mean)
        return whole
