"""ParameterTransferClassifier."""

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state, column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from sktransfer.backbones import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._load import resolve_backbone
from sktransfer.base import BaseNetworkEstimator
from sktransfer.training._heads import compute_head_logits
from sktransfer.training._net import check_callbacks
from sktransfer.training._strategies import STRATEGIES, LabelledRows, Settings
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._torch import resolve_device, thread_limit
from sktransfer.utils._validation import check_count, check_labels, check_number, check_option


class ParameterTransferClassifier(ClassifierMixin, TransformerMixin, BaseNetworkEstimator):
    """Classifier whose weights start from a pretrained network.

    New fully connected layers go on top of the backbone. The old layers stay frozen, or move at a
    much lower learning rate than the new ones. The head starts as the logistic regression on the
    frozen features, which at few labels is what keeps fine-tuning from ruining the backbone
    [1]_; normalisation layers keep their statistics.

    Parameters
    ----------
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator, default=None
        See `load_backbone`. It is never changed. None: the features are the input.
    strategy : {"auto", "frozen", "fine_tune"}, default="auto"
        - ``"frozen"``: a head on the backbone's features, each row's features computed once; a
          linear head is a convex problem, its penalty chosen by cross-validation.
        - ``"fine_tune"``: all weights move, with two learning rates.
        - ``"auto"``: fine-tuned only if its held-out log loss over 3 folds is lower than the
          frozen one's by more than a standard error; frozen where a class has fewer than 3 rows.
          A `NegativeTransferWarning` says so if a linear model on the input alone is better still.
          It costs four times as much as ``"fine_tune"``.
    hidden_layer_sizes : sequence of int, default=()
        Widths of fully connected layers between backbone and output.
    head_init : {"linear_probe", "random"}, default="linear_probe"
        Where fine-tuning starts: from the head of the frozen backbone, or from random weights
        (which want a ``head_lr`` of about 1e-2).
    head_lr : float, default=1e-3
        Learning rate of the head.
    backbone_lr : float, default=1e-4
        Learning rate of the backbone. 0 freezes it.
    weight_decay : float, default=1e-2
        Of AdamW; biases and normalisation layers have none.
    dropout : float, default=0.0
        In the hidden layers of the head; of no effect without them.
    freeze_norm : bool, default=True
        Keep the running statistics of BatchNorm layers while fine-tuning.
    class_weight : dict or "balanced", default=None
        Weights of the classes, as in scikit-learn.
    max_epochs : int, default=None
        Passes over the rows. None: 30, but at least 200 and at most 2,000 steps; at least 1,000
        for hidden layers on a frozen backbone, where steps are cheap.
    batch_size : int or "auto", default="auto"
        "auto": an eighth of the rows, between 8 and 32.
    image_shape : tuple of int, default=None
        (height, width), or with channels first or last: how the columns of a 2-D X form an image.
    cache : {"auto", True, False}, default="auto"
        Row cache of the frozen features, see `FeatureTransferTransformer`.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    n_threads : int, default=None
        Torch threads during fit and predict; None leaves the number as it is. The same number
        gives the same result in every process: the same bits where features were computed in the
        same batches, else equal to about 1e-6 (see `FeatureTransferTransformer`).
    callbacks : list of skorch callbacks, default=None
        Copied, then given to the training loop.
    verbose : int, default=0
        1 prints skorch's table of epochs.
    random_state : int, RandomState instance or None, default=None
        Seeds folds, shuffling, dropout and random heads.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    input_shape_ : tuple of int
        Shape of one row of X.
    module_ : torch.nn.Module
        The network, backbone and head, in eval mode on the CPU: rows as the backbone takes them
        in, logits out.
    backbone_ : Backbone
        The same as a backbone, ready for the next transfer.
    net_ : skorch.NeuralNet or None
        What trained the network, without the moments of its optimizer; None for a linear head on
        a frozen backbone.
    history_ : list of dict
        One record per epoch of ``net_``; empty without one.
    strategy_ : {"frozen", "fine_tune"}
    oof_loss_ : dict
        Out-of-fold log loss of the candidates of ``strategy="auto"`` (``"frozen"``,
        ``"fine_tune"``, and ``"no_transfer"``: a linear model on the input); empty otherwise.
    param_groups_ : list of dict
        What moved and how fast.

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __init__(
        self,
        backbone=None,
        *,
        strategy="auto",
        hidden_layer_sizes=(),
        head_init="linear_probe",
        head_lr=1e-3,
        backbone_lr=1e-4,
        weight_decay=1e-2,
        dropout=0.0,
        freeze_norm=True,
        class_weight=None,
        max_epochs=None,
        batch_size="auto",
        image_shape=None,
        cache="auto",
        device="auto",
        n_threads=None,
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.backbone = backbone
        self.strategy = strategy
        self.hidden_layer_sizes = hidden_layer_sizes
        self.head_init = head_init
        self.head_lr = head_lr
        self.backbone_lr = backbone_lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.freeze_norm = freeze_norm
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.cache = cache
        self.device = device
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Fit head, or head and backbone, to the target rows.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, height, width) or 4-D with channels first or last
            Rows of a table, or images.
        y : array-like of shape (n,)
            Class labels of any type, at least two classes.
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def predict(self, X):
        """Return the class of each row, of shape (n,)."""
        logits = self._compute_logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X):
        """Return probabilities of shape (n, n_classes), in the order of classes_."""
        return softmax(self._compute_logits(X), axis=1)

    def predict_log_proba(self, X):
        """Return log probabilities of shape (n, n_classes), in the order of classes_."""
        return log_softmax(self._compute_logits(X), axis=1)

    def decision_function(self, X):
        """Return logits, of shape (n, n_classes), or (n,) for two classes."""
        logits = self._compute_logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def transform(self, X):
        """Return the features that the head sees, of shape (n, n_features), float32."""
        X = self._check_rows(X, reset=False)
        with thread_limit(self.n_threads):
            return self._compute_features(*self._feature_origin, X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`: ``backbone_<i>``.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        width = self.module_.head.rescale.n_features
        return np.asarray([f"backbone_{i}" for i in range(width)], dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        X, y = self._check_Xy(X, y)
        weight = self._compute_weights(X, y, sample_weight)
        # Rows without weight count nowhere, neither in folds nor in budgets of steps.
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, y = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"Got y with one class, {self.classes_.tolist()[0]!r}, but expected at least two "
                "classes with rows of a weight > 0."
            )
        with thread_limit(self.n_threads):
            settings = self._make_settings()
            features = self._compute_features(settings.backbone, "penultimate", self.cache, X)
            rows = LabelledRows(X, features, y, weight / weight.mean())
            fitted = STRATEGIES[self.strategy].fit(rows, settings)
        self._keep(fitted, settings.backbone)
        return self

    def _check_parameters(self):
        check_option("strategy", self.strategy, STRATEGIES)
        check_option("head_init", self.head_init, ("linear_probe", "random"))
        check_option("cache", self.cache, ("auto", True, False))
        check_number("head_lr", self.head_lr, low=0, low_open=True)
        check_number("backbone_lr", self.backbone_lr, low=0)
        check_number("weight_decay", self.weight_decay, low=0)
        check_number("dropout", self.dropout, low=0, high=1)
        if self.max_epochs is not None:
            check_count("max_epochs", self.max_epochs)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size)
        if isinstance(self.hidden_layer_sizes, str) or not np.iterable(self.hidden_layer_sizes):
            raise TypeError(
                f"Got hidden_layer_sizes={self.hidden_layer_sizes!r}, but expected a sequence of "
                "integers, such as (64,)."
            )
        for i, size in enumerate(self.hidden_layer_sizes):
            check_count(f"hidden_layer_sizes[{i}]", size)
        check_callbacks(self.callbacks)

    def _check_Xy(self, X, y):
        y = column_or_1d(y, warn=True)
        check_labels(y)
        X, y = self._check_rows(X, y, reset=True)
        check_classification_targets(y)
        return X, y

    def _compute_weights(self, X, y, sample_weight):
        """Return the weights of rows times those of their classes."""
        weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            self._check_class_weight()
            weight = weight * compute_sample_weight(self.class_weight, y)
        if not weight.any():
            raise ValueError(
                f"Got class_weight={self.class_weight!r}, which leaves every row without weight; "
                "expected at least one class with rows and a weight > 0."
            )
        return weight

    def _check_class_weight(self):
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                check_number(f"class_weight[{label!r}]", weight, low=0)
        elif self.class_weight != "balanced":
            raise ValueError(
                f"Got class_weight={self.class_weight!r}, but expected 'balanced', a dict of "
                "class to weight, or None."
            )

    def _make_settings(self):
        return Settings(
            backbone=resolve_backbone(self.backbone),
            image_shape=self.image_shape,
            n_classes=len(self.classes_),
            hidden_layer_sizes=tuple(self.hidden_layer_sizes),
            head_init=self.head_init,
            head_lr=self.head_lr,
            backbone_lr=self.backbone_lr,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            freeze_norm=self.freeze_norm,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=resolve_device(self.device),
            callbacks=self.callbacks,
            verbose=self.verbose,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )

    def _keep(self, fitted, pretrained):
        self.module_ = fitted.network
        self.net_ = fitted.net
        self.history_ = [] if fitted.net is None else list(fitted.net.history)
        self.strategy_ = fitted.strategy
        self.oof_loss_ = fitted.oof_loss
        self.param_groups_ = fitted.param_groups
        self.backbone_ = Backbone(
            self.module_, name=f"{pretrained.name}, {fitted.strategy}", input=pretrained.input
        )
        # While frozen, the features are the pretrained network's own, and cached as such.
        if fitted.strategy == "frozen":
            self._feature_origin = pretrained, "penultimate", self.cache
        else:
            self._feature_origin = self.backbone_, "backbone", False

    def _compute_features(self, backbone, layer, cache, X):
        (features,) = compute_activations(
            backbone,
            X,
            layers=(layer,),
            image_shape=self.image_shape,
            device=resolve_device(self.device),
            cache=cache,
        )
        return features

    def _compute_logits(self, X):
        X = self._check_rows(X, reset=False)
        with thread_limit(self.n_threads):
            features = self._compute_features(*self._feature_origin, X)
            return compute_head_logits(self.module_.head, features)
