"""ParameterTransferRegressor."""

import copy
import dataclasses

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import check_array

from sktransfer.parameter._base import BaseParameterTransfer
from sktransfer.training._members import FittedModel
from sktransfer.training._objectives import Regression
from sktransfer.utils._state import restored_on_error


class ParameterTransferRegressor(RegressorMixin, BaseParameterTransfer):
    """Regressor whose weights start from a pretrained network.

    As `ParameterTransferClassifier`, with ridge regression on the frozen features as the convex
    head, and squared error as the loss. y may have several columns; each is standardised inside.

    Parameters
    ----------
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator, default=None
        See `load_backbone`. It is never changed. A fully connected layer at its very end is taken
        for the source's own head and left out, see the user guide. None: the features are the
        input, and there is nothing to transfer or to guard.
    strategy : {"auto", "frozen", "fine_tune"}, default="auto"
        - ``"frozen"``: a head on the backbone's features, each row's features computed once; a
          linear head is a convex problem, its penalty chosen by cross-validation.
        - ``"fine_tune"``: the weights chosen by ``trainable`` move, with two learning rates.
        - ``"auto"``: guarded. Held-out predictions over 3 folds say how much each of these counts
          in an average of predictions, refitted on all rows: the frozen backbone; networks
          fine-tuned from the head of the frozen one (in steps of ten times ``backbone_lr``, or a
          point on the way there) and from a random head (its rate a hundred times
          ``backbone_lr``); prototypes, the mean direction of each class on the frozen features;
          and a linear model on the input alone. Few rows leave the weights near a prior, many
          follow the evidence. A `NegativeTransferWarning` says so where a model without transfer
          is better. Frozen where no row can be held out. It takes about four times as long
          as ``"fine_tune"``.
    head : {"auto", "new", "reuse"}, default="auto"
        "reuse": the head that the backbone brings along, with an output for each column of y; few
        rows leave it as it is, many move it away. "new" and "auto": a new head.
    hidden_layer_sizes : sequence of int, default=()
        Widths of fully connected layers between backbone and output.
    head_init : {"linear_probe", "random"}, default="linear_probe"
        Where ``strategy="fine_tune"`` starts: from the head of the frozen backbone, or from random
        weights (which want a ``head_lr`` of about 1e-2).
    head_lr : float, default=1e-3
        Learning rate of the head.
    backbone_lr : float, default=1e-4
        Learning rate of the backbone, of its last block if ``layer_decay`` is below 1. 0 freezes
        it.
    layer_decay : float, default=1.0
        The rate of each block of the backbone is this factor times that of the block behind it.
    trainable : {"all", "norm", "bias"}, int or sequence of str, default="all"
        What of the backbone moves: all of it; its normalisation layers; its biases; its last
        blocks, so many; or the layers whose names match one of these patterns (``"layer4*"``,
        as in `fnmatch`). A pattern without a match is an error. What lies before the first layer
        that moves runs once per row, see ``cache``.
    unfreezing : GradualUnfreezing, default=None
        Blocks begin to move one after the other, the last one first.
    adapters : LowRankAdapters, default=None
        Train low-rank additions to the weights of layers in place of the weights; they are
        merged into the weights in the end. Needs peft: ``pip install "sktransfer[peft]"``.
    l2_sp : float, default=0.0
        Strength of the penalty on the distance of the backbone from its start, see
        `sktransfer.training.L2SP`.
    penalty : Penalty or list of Penalty, default=None
        Added to the loss of fine-tuning: `sktransfer.training.DELTA`, `BSS`, or your own.
    weight_decay : float, default=1e-2
        Of AdamW; biases and normalisation layers have none.
    dropout : float, default=0.0
        In the hidden layers of the head; of no effect without them.
    freeze_norm : bool, default=True
        Keep the running statistics of BatchNorm layers while fine-tuning.
    max_epochs : int, default=None
        Passes over the rows. None: 30, but at least 200 and at most 2,000 steps (half of that for
        each of the two networks of "auto"); at least 1,000 for hidden layers on a frozen
        backbone, where steps are cheap.
    batch_size : int or "auto", default="auto"
        "auto": an eighth of the rows, between 8 and 32. A last batch of one row joins the one
        before.
    early_stopping : bool, default=False
        Hold out rows, fine-tune on the others until the loss on the held-out ones has not fallen
        for some epochs, then fine-tune on all rows for the best number of epochs,
        ``len(history_)``.
    validation_fraction : float, default=0.15
        Share of the rows that early stopping holds out.
    n_iter_no_change : int, default=5
        Epochs without a lower loss after which early stopping ends.
    augment : callable, default=None
        Takes a batch of images, a float tensor (n, channels, height, width) before the backbone's
        own normalisation, and returns another: one of `sktransfer.training`, a transform of
        torchvision, a function. Used while fine-tuning only.
    image_shape : tuple of int, default=None
        (height, width), or with channels first or last: how the columns of a 2-D X form an image.
    cache : {"auto", True, False}, default="auto"
        Row cache of the frozen features, and of what lies before the first layer that moves; see
        `FeatureTransferTransformer`. True: a warning says why where the latter cannot be cached.
    cache_dir : path-like, default=None
        Folder in which what is cached is kept for other processes and later days. None: in
        memory, for this process.
    checkpoint_dir : path-like, default=None
        A fit that is cut off and started again with the same data, parameters and folder goes on
        where it was, to the same weights. Its files are removed once it is complete; those of a
        fit that is never taken up again stay. An error without ``random_state``. skorch callbacks
        with a state of their own begin it anew.
    checkpoint_every : int, default=50
        Steps between two checkpoints.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16": the backbone computes in mixed precision while it is fine-tuned, on GPUs and
        CPUs that have it; elsewhere a warning, and float32.
    n_threads : int, default=None
        Torch threads during fit and predict; None leaves the number as it is. The same number
        gives the same result in every process: the same bits where features were computed in the
        same batches, else equal to about 1e-6 (see `FeatureTransferTransformer`).
    callbacks : list of skorch callbacks, default=None
        Copied, then given to the training loop; read them from ``net_.callbacks_``. They see
        training losses, not predictions: `skorch.callbacks.EarlyStopping` wants
        ``monitor="train_loss"``. scikit-learn's own go to ``set_callbacks``.
    warm_start : bool, default=False
        ``strategy="fine_tune"`` goes on from the weights of the last fit; the other strategies
        begin anew.
    verbose : int, default=0
        1 prints skorch's table of epochs.
    random_state : int, RandomState instance or None, default=None
        Seeds folds, shuffling, dropout, augmentation and random heads.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    input_shape_ : tuple of int
        Shape of one row of X.
    module_ : torch.nn.Module
        The whole as one network, in eval mode on the CPU: rows as the backbone takes them in,
        predictions out.
    backbone_ : Backbone
        The network of the largest weight with its head, as a backbone: ready for the next
        transfer. Of an average it is one part, and predicts as that part does; where all of the
        weight is on "no_transfer", it is the backbone that was passed.
    net_ : skorch.NeuralNet or None
        What trained that network, without the moments of its optimizer; None for a linear head on
        a frozen backbone.
    history_ : list of dict
        One record per epoch of ``net_``; empty without one. With early stopping ``valid_loss`` is
        that of the held-out rows while these were held out.
    strategy_ : {"frozen", "fine_tune", "no_transfer", "average"}
        What predictions come from: one of these, or an average of several.
    alpha_ : float
        Weight of the fine-tuned part of the predictions, 0 to 1.
    weights_ : dict of str to float
        Of each member of the average. Behind "@" is the point between where fine-tuning began
        (0) and where it ended (1).
    oof_loss_ : dict of str to float
        Out-of-fold mean squared error, in units of the variance of y,
        of ``strategy="auto"``: of each candidate, of the average of those in ``weights_``
        ("average"), of a linear model on the input ("no_transfer") and of a head on the features
        of the same network with random weights ("random_backbone").
    transfer_gain_ : dict of str to (mean, standard_error)
        By how much that loss is lower with transfer than for "no_transfer" and for
        "random_backbone", paired over rows. The weights have seen these rows, which flatters the
        average a little.
    temperature_ : dict of str to float
        What the outputs of each member are divided by, from held-out rows; 1 without.
    param_groups_ : list of dict
        What moved and how fast, of ``net_`` or the frozen network: ``name``, ``lr``,
        ``weight_decay``, ``n_parameters``, ``n_trainable``, ``parameter_names``, ``depth``
        (blocks between it and the head).
    prefix_ : str or None
        Name of the layer up to which the network ran once per row, "the whole backbone", or why
        there is none. None without a backbone.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import ParameterTransferRegressor
    >>> digits = load_digits()
    >>> ink = digits.data.mean(axis=1)
    >>> regressor = ParameterTransferRegressor("glyphs", strategy="frozen", random_state=0)
    >>> regressor.fit(digits.images[:100], ink[:100]).predict(digits.images[:3]).shape
    (3,)
    """

    def __init__(
        self,
        backbone=None,
        *,
        strategy="auto",
        head="auto",
        hidden_layer_sizes=(),
        head_init="linear_probe",
        head_lr=1e-3,
        backbone_lr=1e-4,
        layer_decay=1.0,
        trainable="all",
        unfreezing=None,
        adapters=None,
        l2_sp=0.0,
        penalty=None,
        weight_decay=1e-2,
        dropout=0.0,
        freeze_norm=True,
        max_epochs=None,
        batch_size="auto",
        early_stopping=False,
        validation_fraction=0.15,
        n_iter_no_change=5,
        augment=None,
        image_shape=None,
        cache="auto",
        cache_dir=None,
        checkpoint_dir=None,
        checkpoint_every=50,
        device="auto",
        precision="float32",
        n_threads=None,
        callbacks=None,
        warm_start=False,
        verbose=0,
        random_state=None,
    ):
        self.backbone = backbone
        self.strategy = strategy
        self.head = head
        self.hidden_layer_sizes = hidden_layer_sizes
        self.head_init = head_init
        self.head_lr = head_lr
        self.backbone_lr = backbone_lr
        self.layer_decay = layer_decay
        self.trainable = trainable
        self.unfreezing = unfreezing
        self.adapters = adapters
        self.l2_sp = l2_sp
        self.penalty = penalty
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.freeze_norm = freeze_norm
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.augment = augment
        self.image_shape = image_shape
        self.cache = cache
        self.cache_dir = cache_dir
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.precision = precision
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X):
        """Return predictions of shape (n,) or (n, n_outputs), as y had."""
        outputs = self._compute_outputs(X) * self._spread + self._mean
        return outputs if self._is_matrix else outputs[:, 0]

    def partial_fit(self, X, y, sample_weight=None):
        """Move the head, or the heads of an average, by one pass over some rows.

        At a constant rate, ``head_lr``; backbones stay as they are. Without a fit before, the head
        begins at random on the frozen backbone, or as the backbone's own, see ``head``; mean and
        spread of y are those of the first rows.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._partial_fit(X, y, sample_weight)

    def _check_target(self, y):
        y = check_array(y, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="y")
        if y.ndim > 2:
            raise ValueError(f"Got y of shape {y.shape}, but expected (n,) or (n, n_outputs).")
        if np.abs(y).max(initial=0) > np.finfo(np.float32).max:
            raise ValueError(
                f"Got y with values up to {np.abs(y).max():g}, but expected values that fit "
                "float32; scale y first."
            )
        return y

    def _make_objective(self, y):
        self._is_matrix = y.ndim == 2
        y = y.reshape(len(y), -1)
        self._mean = y.mean(axis=0)
        spread = y.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._objective = Regression(y.shape[1])
        return self._objective, self._objective.encode(self._encode_target(y))

    def _encode_target(self, y):
        return (y.reshape(len(y), -1) - self._mean) / self._spread

    def _count_source_outputs(self, backbone):
        return self._objective.n_outputs

    def _match_outputs(self, backbone, objective):
        if self.head == "auto":
            return None, "head='auto'"
        return None, None

    def _scale_source_head(self, head):
        return head.standardised(self._mean, self._spread)

    def _export_model(self, model):
        """Let the heads give values of y instead of standardised ones."""
        return self._rescale_heads(model, self._spread, self._mean)

    def _take_up(self, before, backbone):
        member = super()._take_up(before, backbone)
        if member is None:
            return None
        # From values standardised as in the last fit to values standardised as in this one.
        factor = before._spread / self._spread
        shift = (before._mean - self._mean) / self._spread
        return self._rescale_heads(FittedModel((member,)), factor, shift).main

    def _rescale_heads(self, model, factor, shift):
        factor, shift = torch.as_tensor(factor), torch.as_tensor(shift)
        members = []
        for member in model.members:
            head = copy.deepcopy(member.head)
            with torch.no_grad():
                head.output.weight.mul_(factor[:, None])
                head.output.bias.mul_(factor).add_(shift)
            members.append(dataclasses.replace(member, head=head))
        return dataclasses.replace(model, members=tuple(members))
