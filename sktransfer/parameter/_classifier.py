"""ParameterTransferClassifier."""

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from sktransfer.parameter._base import BaseParameterTransfer
from sktransfer.training._objectives import Multiclass, Multilabel
from sktransfer.training._source_head import match_classes
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._validation import check_labels, check_number, list_options


class ParameterTransferClassifier(ClassifierMixin, BaseParameterTransfer):
    """Classifier whose weights start from a pretrained network.

    New fully connected layers go on top of the backbone. The old layers stay frozen, or move at a
    much lower learning rate than the new ones. The head starts as the logistic regression on the
    frozen features, which at few labels is what keeps fine-tuning from ruining the backbone
    [1]_; normalisation layers keep their statistics.

    y holds one class per row, or is an indicator matrix of 0 and 1 with a column per label
    (multilabel).

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
        "reuse": the head that the backbone brings along, or those of its outputs that are classes
        of the target; few rows leave it as it is, many move it away. "auto": where the backbone's
        ``classes`` contain all classes of y and its last layer has an output for each, that or a
        new head, whichever predicts held-out rows better; else a new head.
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
    class_weight : dict or "balanced", default=None
        Weights of the classes, as in scikit-learn. Not for multilabel y.
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
    classes_ : ndarray of shape (n_classes,)
        For multilabel y, the positions of the columns.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    input_shape_ : tuple of int
        Shape of one row of X.
    module_ : torch.nn.Module
        The whole as one network, in eval mode on the CPU: rows as the backbone takes them in,
        logits out.
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
        Out-of-fold log loss,
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

    References
    ----------
    .. [1] Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution", ICLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import ParameterTransferClassifier
    >>> digits = load_digits()
    >>> train, test = slice(0, 100), slice(100, 400)
    >>> classifier = ParameterTransferClassifier("glyphs", strategy="frozen", random_state=0)
    >>> classifier.fit(digits.images[train], digits.target[train])
    ParameterTransferClassifier(backbone='glyphs', random_state=0,
                                strategy='frozen')
    >>> classifier.score(digits.images[test], digits.target[test]) > 0.9
    True
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
        class_weight=None,
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
        self.class_weight = class_weight
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
        tags.classifier_tags.multi_label = True
        return tags

    def predict(self, X):
        """Return the class of each row, of shape (n,), or 0 and 1 of shape (n, n_labels)."""
        outputs = self._compute_outputs(X)
        if self._is_multilabel:
            return (outputs > 0).astype(int)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X):
        """Return probabilities of shape (n, n_classes), in the order of ``classes_``."""
        outputs = self._compute_outputs(X)
        return expit(outputs) if self._is_multilabel else softmax(outputs, axis=1)

    def predict_log_proba(self, X):
        """Return log probabilities of shape (n, n_classes), in the order of ``classes_``."""
        outputs = self._compute_outputs(X)
        return log_expit(outputs) if self._is_multilabel else log_softmax(outputs, axis=1)

    def decision_function(self, X):
        """Return logits, of shape (n, n_classes), or (n,) for two classes."""
        outputs = self._compute_outputs(X)
        if self._is_multilabel or len(self.classes_) > 2:
            return outputs
        return outputs[:, 1] - outputs[:, 0]

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Move the head, or the heads of an average, by one pass over some rows.

        At a constant rate, ``head_lr``; backbones stay as they are. Without a fit before, the head
        begins at random on the frozen backbone, or as the backbone's own, see ``head``.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes, at the first call, where y may lack some. Not for multilabel y.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            if classes is not None:
                self._announce(np.unique(classes))
            try:
                return self._partial_fit(X, y, sample_weight)
            finally:
                vars(self).pop("_announced_classes", None)

    def _announce(self, classes):
        if self.__sklearn_is_fitted__():
            if not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"Got classes={classes.tolist()}, but expected those of the first call: "
                    f"{self.classes_.tolist()}."
                )
            return
        self._announced_classes = classes

    @property
    def _is_multilabel(self):
        return isinstance(self._objective, Multilabel)

    def _check_target(self, y):
        # As an array first: array-likes may refuse numpy's functions.
        shape = np.shape(y if hasattr(y, "toarray") else np.asarray(y))
        is_matrix = len(shape) == 2 and shape[1] > 1
        if is_matrix and type_of_target(y, input_name="y") == "multilabel-indicator":
            if self.class_weight is not None:
                raise ValueError(
                    f"Got class_weight={self.class_weight!r} with several labels per row, for "
                    "which it is not defined; expected None; use sample_weight."
                )
            y = check_array(y.toarray() if hasattr(y, "toarray") else y, input_name="y")
            if not np.isin(y, (0, 1)).all():
                raise ValueError(
                    f"Got y with several columns and the values {np.unique(y).tolist()}, but "
                    "expected 0 and 1 for labels that a row lacks and has."
                )
            return y.astype(np.int64)
        y = column_or_1d(y, warn=True)
        check_labels(y)
        check_classification_targets(y)
        return y

    def _make_objective(self, y):
        if y.ndim == 2:
            self.classes_ = np.arange(y.shape[1])
            self._objective = Multilabel(y.shape[1])
            return self._objective, self._objective.encode(y)
        self.classes_ = getattr(self, "_announced_classes", np.unique(y))
        if len(self.classes_) < 2:
            raise ValueError(
                f"Got y with one class, {self.classes_.tolist()[0]!r}, but expected at least two "
                "classes with rows of a weight > 0."
            )
        self._objective = Multiclass(len(self.classes_))
        return self._objective, self._objective.encode(self._encode_target(y))

    def _encode_target(self, y):
        if y.ndim == 2:
            return y
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"Got y with the labels {unknown.tolist()[:5]}, but expected classes that were "
                f"there at the first call: {self.classes_.tolist()[:10]}."
            )
        return np.searchsorted(self.classes_, y)

    def _compute_weights(self, X, y, sample_weight):
        """Return the weights of rows times those of their classes."""
        weight = super()._compute_weights(X, y, sample_weight)
        if self.class_weight is not None:
            self._check_class_weight(y)
            weight = weight * compute_sample_weight(self.class_weight, y)
        if not weight.any():
            raise ValueError(
                f"Got class_weight={self.class_weight!r}, which leaves every row without weight; "
                "expected at least one class with rows and a weight > 0."
            )
        return weight

    def _check_class_weight(self, y):
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                check_number(f"class_weight[{label!r}]", weight, low=0)
            classes = np.unique(y).tolist()
            unknown = [label for label in self.class_weight if label not in classes]
            if unknown and not self.class_weight.keys() >= set(classes):
                raise ValueError(
                    f"Got class_weight={self.class_weight!r}, which weighs {unknown!r}, but the "
                    f"classes of y are {classes!r}."
                )
        elif self.class_weight != "balanced":
            raise ValueError(
                f"Got class_weight={self.class_weight!r}, but expected 'balanced', a dict of "
                "class to weight, or None."
            )

    def _name_outputs(self):
        return None if self._is_multilabel else self.classes_

    def _count_source_outputs(self, backbone):
        return len(backbone.classes)

    def _match_outputs(self, backbone, objective):
        if isinstance(objective, Multilabel):
            return None, "y has several labels per row"
        outputs = match_classes(self.classes_, backbone.classes)
        if backbone.classes is None:
            return None, "the backbone does not say what its outputs stand for (classes=...)"
        if outputs is None:
            known = {repr(label) for label in backbone.classes.tolist()}
            missing = [label for label in self.classes_.tolist() if repr(label) not in known]
            return None, (
                f"the backbone has no output for the classes {missing[:5]}: y has "
                f"{list_options(self.classes_.tolist())}, and the source had "
                f"{list_options(backbone.classes.tolist())}"
            )
        return outputs, None
