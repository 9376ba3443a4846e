"""TabularBackbone: a network of tables, with what is known of the columns of its source."""

import numpy as np

from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones.tables._table_input import TableInput
from sktransfer.backbones.tables._tabular_network import TabularNetwork


class TabularBackbone(Backbone):
    """A pretrained network of tables, which takes frames as they are.

    It brings the preprocessing of its source along, which is never fitted again: columns are found
    by name, in any order; those that are missing, missing values and unknown categories are states
    that the network knows; categories are the same as numbers and as texts. Where columns are not
    those of the source, a `ColumnMismatchWarning` names them.

    `pretrain_backbone` makes one of a source table. Estimators take it as any backbone, and then
    take frames. Do not scale or encode the columns before, but as the source was.

    Parameters
    ----------
    module : torch.nn.Module
        Takes encoded rows, see `TableInput`, such as a `TabularNetwork`.
    input : TableInput
        What is known of the columns.
    name : str, default=None
        Shown in the repr and in error messages; the class of the module if None.
    classes : array-like of shape (n_outputs,), default=None
        Labels of the outputs of the network, if it classifies.
    report : PretrainingReport or dict, default=None
        What is known of the pretraining, as plain data.

    Attributes
    ----------
    feature_names_in_ : ndarray of str
        Columns of the source, in its order.
    n_features_in_ : int
    source_classes_ : ndarray or None
        The same as ``classes``.
    report_ : PretrainingReport or dict
        What is known of the pretraining; empty where nothing is.
    layer_names, n_features_out, n_parameters, fingerprint
        As of `Backbone`.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import TabularBackbone
    >>> from sktransfer.backbones import TableInput, TabularNetwork
    >>> X_source = np.array([[63, "male"], [41, "female"], [57, "male"]], dtype=object)
    >>> table = TableInput.learn(X_source)
    >>> network = TabularNetwork(table.n_numeric, table.cardinalities, n_outputs=2)
    >>> backbone = TabularBackbone(network, input=table, classes=["healthy", "ill"])
    >>> backbone.n_features_out
    128
    >>> backbone.feature_names_in_.tolist()
    ['x0', 'x1']
    """

    _input_kind = TableInput

    def __init__(self, module, *, input, name=None, classes=None, report=None):
        super().__init__(module, name=name, input=input, classes=classes, report=report)
        network = self._network
        if isinstance(network, TabularNetwork):
            takes = network.n_numeric, network.cardinalities
            if takes != (input.n_numeric, input.cardinalities):
                raise ValueError(
                    f"Got a network for {takes[0]} columns of numbers and categories of the "
                    f"cardinalities {takes[1]}, but input={input!r} has {input.n_numeric} and "
                    f"{input.cardinalities}; expected TabularNetwork(input.n_numeric, "
                    "input.cardinalities, ...)."
                )

    @property
    def feature_names_in_(self):
        return np.array(self.input.feature_names, dtype=object)

    @property
    def n_features_in_(self):
        return len(self.input.columns)

    @property
    def source_classes_(self):
        return self.classes

    def _make_example(self):
        return self.input.make_example()
