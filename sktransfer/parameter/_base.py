"""What classifier and regressor share: from parameters and rows to a fitted model."""

import copy
import dataclasses
import functools

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._load import resolve_backbone
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.base import BaseNetworkEstimator
from sktransfer.training import L2SP, GradualUnfreezing, LowRankAdapters, Penalty
from sktransfer.training._batches import PreparedRows
from sktransfer.training._checkpoints import CheckpointFolder
from sktransfer.training._guard import Guarded
from sktransfer.training._heads import update_head
from sktransfer.training._members import FittedModel, Member
from sktransfer.training._net import TrainingOptions, check_callbacks
from sktransfer.training._prefix import find_prefix
from sktransfer.training._progress import FitProgress
from sktransfer.training._source_head import SourceHead, find_old_head
from sktransfer.training._strategies import (
    EarlyStopping,
    FineTuned,
    Frozen,
    LabelledRows,
    Settings,
    make_random_head,
)
from sktransfer.training._trainable import check_trainable
from sktransfer.utils._sklearn import check_sample_weight
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._torch import resolve_device, resolve_precision, thread_limit
from sktransfer.utils._validation import (
    check_cache_dir,
    check_count,
    check_number,
    check_option,
)

STRATEGIES = {"auto": Guarded(), "frozen": Frozen(), "fine_tune": FineTuned()}


class BaseParameterTransfer(CallbackSupportMixin, TransformerMixin, BaseNetworkEstimator):
    """Base of the estimators whose weights start from a pretrained network.

    Subclasses give ``_check_target`` and ``_make_objective``, and turn outputs into predictions.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit head, or head and backbone, to the target rows.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, height, width) or 4-D with channels first or last
            Rows of a table, or images. Or a list, a column or a frame of one column of paths,
            PIL images, bytes of image files or arrays of differing sizes; or a
            `torch.utils.data.Dataset` of images. Unless ``strategy="frozen"``, all of these are
            read into memory at the size that the network takes, 150 kB for 224 x 224 pixels.
            With a `TabularBackbone` a frame with columns of any type, see there.
        y : array-like of shape (n,) or (n, n_outputs)
            See the class.
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight)

    def transform(self, X):
        """Return the features that the head sees, of shape (n, n_features), float32.

        Where predictions are an average, those of the network with the largest weight.
        """
        X = self._check_rows(X)
        with thread_limit(self.n_threads):
            return self._model.main.compute_features(
                X, self.image_shape, resolve_device(self.device)
            )

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
        width = self._model.main.head.rescale.n_features
        return np.asarray([f"backbone_{i}" for i in range(width)], dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_model")

    # Inside of what restores the estimator, which would take callbacks away before their teardown.
    @with_callbacks
    def _fit(self, X, y, sample_weight):
        self._check_parameters()
        before = copy.copy(self) if self.warm_start and self.__sklearn_is_fitted__() else None
        backbone = resolve_backbone(self.backbone)
        X, y, weight = self._check_training_rows(X, y, sample_weight, backbone)
        objective, targets = self._make_objective(y)
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self)
        progress = FitProgress(self, context) if getattr(self, "_skl_callbacks", None) else None
        with thread_limit(self.n_threads):
            settings = self._make_settings(backbone, objective, X, progress)
            if isinstance(X, ImageRows) and self.strategy != "frozen":
                # Each is needed in every epoch.
                X = X.decode(settings.backbone.input)
            if before is not None:
                settings = settings.replace(warm_start=self._take_up(before, settings.backbone))
            if self.strategy != "frozen" and settings.backbone.n_parameters:
                # A row through the network says in plain words if it does not take it.
                compute_activations(
                    settings.backbone, X[:1], image_shape=self.image_shape, cache=False
                )
                settings = settings.replace(prefix=find_prefix(settings, X))
            features = self._compute_pretrained_features(settings, X)
            rows = LabelledRows(X, features, targets, weight / weight.mean())
            model = STRATEGIES[self.strategy].fit(rows, settings)
        if settings.options.checkpoints is not None:
            settings.options.checkpoints.clear()
        self._started_from = settings.backbone, tuple(self.hidden_layer_sizes)
        name = f"{settings.backbone.name}, {model.main.strategy}"
        self._keep(model, name, settings.backbone.input)
        context.call_on_fit_task_end(estimator=self)
        return self

    def _check_training_rows(self, X, y, sample_weight, backbone=None):
        """Return rows, target and weights of the rows that have any.

        The first ones come with the backbone that they are for.
        """
        reset = backbone is not None
        X, y = self._check_Xy(X, y, backbone.input if reset else None)
        weight = self._compute_weights(X, y, sample_weight)
        # Rows without weight count nowhere, neither in folds nor in budgets of steps.
        if reset:
            self._target_shape = y.shape[1:]
        counts = weight > 0
        return (X, y, weight) if counts.all() else (X[counts], y[counts], weight[counts])

    def _check_Xy(self, X, y, first_input):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        return self._check_rows(X, self._check_target(y), first_input=first_input)

    def _check_parameters(self):
        check_option("strategy", self.strategy, STRATEGIES)
        check_option("head", self.head, ("auto", "new", "reuse"))
        check_option("head_init", self.head_init, ("linear_probe", "random"))
        check_option("cache", self.cache, ("auto", True, False))
        check_cache_dir(self.cache_dir)
        check_option("precision", self.precision, ("float32", "bfloat16"))
        check_number("head_lr", self.head_lr, low=0, low_open=True)
        check_number("layer_decay", self.layer_decay, low=0, high=1, low_open=True)
        for name in ("backbone_lr", "l2_sp", "weight_decay"):
            check_number(name, getattr(self, name), low=0)
        check_number("dropout", self.dropout, low=0, high=1)
        check_number(
            "validation_fraction", self.validation_fraction, low=0, high=0.5, low_open=True
        )
        check_count("n_iter_no_change", self.n_iter_no_change)
        check_count("checkpoint_every", self.checkpoint_every)
        check_trainable(self.trainable)
        if self.max_epochs is not None:
            check_count("max_epochs", self.max_epochs)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size)
        for name in ("early_stopping", "freeze_norm", "warm_start"):
            check_option(name, getattr(self, name), (True, False))
        self._check_hidden_layer_sizes()
        self._check_objects()

    def _check_hidden_layer_sizes(self):
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, str) or not np.iterable(sizes):
            raise TypeError(
                f"Got hidden_layer_sizes={sizes!r}, but expected a sequence of integers, such as "
                "(64,)."
            )
        for i, size in enumerate(sizes):
            check_count(f"hidden_layer_sizes[{i}]", size)
        if len(sizes) and self.head == "reuse":
            raise ValueError(
                f"Got head='reuse' with hidden_layer_sizes={sizes!r}, but a reused head has no "
                "hidden layers; expected hidden_layer_sizes=() or head='new'."
            )
        if self.head == "reuse" and self.head_init == "random":
            raise ValueError(
                "Got head='reuse' with head_init='random', but a random head reuses nothing; "
                "expected head_init='linear_probe' or head='new'."
            )

    def _check_objects(self):
        check_callbacks(self.callbacks)
        for name, kind in (("unfreezing", GradualUnfreezing), ("adapters", LowRankAdapters)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"Got {name}={value!r}, but expected a {kind.__name__} of "
                    "sktransfer.training, or None."
                )
        for penalty in self._list_penalties():
            if not isinstance(penalty, Penalty):
                raise TypeError(
                    f"Got penalty={self.penalty!r}, but expected an object such as L2SP, DELTA or "
                    "BSS of sktransfer.training, a list of them, or None."
                )
        if self.augment is not None and not callable(self.augment):
            raise TypeError(
                f"Got augment={self.augment!r}, but expected a function that takes a batch of "
                "images and returns one, or None; sktransfer.training has some."
            )
        if self.checkpoint_dir is not None and self.random_state is None:
            raise ValueError(
                "Got checkpoint_dir=... with random_state=None, but a fit that goes on where it "
                "was cut off has to be seeded alike; expected an integer as random_state."
            )

    def _list_penalties(self):
        penalties = self.penalty
        if penalties is None:
            penalties = ()
        elif not isinstance(penalties, list | tuple):
            penalties = (penalties,)
        return (*penalties, *([L2SP(self.l2_sp)] if self.l2_sp else []))

    def _compute_weights(self, X, y, sample_weight):
        weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise ValueError(
                "Got sample_weight of zeros only, but expected at least one row of a weight > 0."
            )
        return weight

    def _make_settings(self, backbone, objective, X, progress=None):
        if isinstance(X, ImageRows):
            backbone.check_takes_images()
        if self.augment is not None and backbone.input.takes_frames:
            raise ValueError(
                f"Got augment={self.augment!r} with a backbone for tables, whose categories are "
                "codes that cannot be changed a little; expected None."
            )
        device = resolve_device(self.device)
        checkpoints = None
        if self.checkpoint_dir is not None:
            checkpoints = CheckpointFolder(self.checkpoint_dir, self.checkpoint_every)
        options = TrainingOptions(
            objective=objective,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=device,
            autocast=resolve_precision(self.precision, device),
            penalties=self._list_penalties(),
            unfreezing=self.unfreezing,
            callbacks=self.callbacks,
            checkpoints=checkpoints,
            progress=progress,
            verbose=self.verbose,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        stopping = EarlyStopping(self.validation_fraction, self.n_iter_no_change)
        return Settings(
            options=options,
            backbone=backbone,
            image_shape=self.image_shape,
            hidden_layer_sizes=tuple(self.hidden_layer_sizes),
            source_head=self._find_source_head(backbone, objective, X),
            must_reuse=self.head == "reuse",
            head_init=self.head_init,
            head_lr=self.head_lr,
            backbone_lr=self.backbone_lr,
            layer_decay=self.layer_decay,
            trainable=self.trainable,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            freeze_norm=self.freeze_norm,
            adapters=self.adapters,
            augment=self.augment,
            early_stopping=stopping if self.early_stopping else None,
            cache=self.cache if isinstance(self.cache, str) else bool(self.cache),
            cache_dir=self.cache_dir,
        )

    def _find_source_head(self, backbone, objective, X):
        """Return the backbone's own head for this target, or None for a new one."""
        if self.head == "new" or len(self.hidden_layer_sizes):
            return None
        outputs, reason = self._match_outputs(backbone, objective)
        if reason is None:
            backbone.check_rows(X.shape, self.image_shape)
            network = backbone.copy_module()
            layer = find_old_head(network, backbone.input.prepare(X[:1], self.image_shape))
            wanted = self._count_source_outputs(backbone)
            # Nor does a convolution, whose outputs are rectified before they are averaged.
            if not hasattr(layer, "out_features"):
                reason = "the backbone does not end in a fully connected layer"
            elif layer.out_features != wanted:
                reason = f"its last layer has {layer.out_features} outputs, not {wanted}"
            else:
                return self._scale_source_head(SourceHead.from_layer(layer, outputs))
        if self.head == "reuse":
            raise ValueError(f"Got head='reuse', but {reason}; expected head='new' or 'auto'.")
        return None

    def _scale_source_head(self, head):
        return head

    def _count_source_outputs(self, backbone):
        """Return how many outputs the backbone's head has if it is one for this kind of target."""
        raise NotImplementedError

    def _compute_pretrained_features(self, settings, X):
        layers, poolings = ["penultimate"], ["auto"]
        if settings.prefix is not None and settings.prefix.split is not None:
            # Into the row cache in the same pass.
            layers.append(settings.prefix.split.layer)
            poolings.append("flatten")
        features, *_ = compute_activations(
            settings.backbone,
            X,
            layers=tuple(layers),
            pooling=tuple(poolings),
            image_shape=self.image_shape,
            device=settings.options.device,
            cache=self.cache,
            cache_dir=self.cache_dir,
        )
        return features

    def _keep(self, model, name, network_input):
        self._model = model
        self._backbone_name, self._network_input = name, network_input
        for made_of_the_model in ("module_", "backbone_"):
            self.__dict__.pop(made_of_the_model, None)
        self.net_ = model.net
        self.history_ = [] if model.net is None else list(model.net.history)
        self.strategy_ = model.strategy
        self.alpha_ = model.weight_of("fine_tune")
        self.param_groups_ = model.param_groups
        self.prefix_ = model.prefix
        evidence = model.evidence
        self.weights_ = evidence.weights if evidence else {model.main.name: 1.0}
        self.oof_loss_ = evidence.oof_loss if evidence else {}
        self.transfer_gain_ = evidence.gains if evidence else {}
        self.temperature_ = evidence.temperatures if evidence else {model.main.name: 1.0}

    # Copies of the whole network, which a search over many candidates never asks for.
    @functools.cached_property
    def module_(self):
        check_is_fitted(self)
        return self._export_model(self._model).make_network(self._objective)

    @functools.cached_property
    def backbone_(self):
        check_is_fitted(self)
        if self._model.main.strategy == "no_transfer":
            return self._started_from[0]
        network = self._export_model(self._model).main.make_network()
        return self._started_from[0].with_module(
            network, name=self._backbone_name, classes=self._name_outputs()
        )

    def _take_up(self, before, backbone):
        """Return the member that a warm start goes on with, if the task is the same.

        None if that does not use the backbone, so that fine-tuning begins anew.
        """
        names = [estimator._name_outputs() for estimator in (before, self)]
        tasks = [(e._objective, e.input_shape_) for e in (before, self)]
        if tasks[0] != tasks[1] or not np.array_equal(*names):
            raise ValueError(
                f"Got warm_start=True with rows of shape {self.input_shape_}, "
                f"{self._objective.n_outputs} outputs and classes {names[1]}, but the last fit had "
                f"{before.input_shape_}, {before._objective.n_outputs} and {names[0]}; expected "
                "the same, or warm_start=False."
            )
        started_from = backbone, tuple(self.hidden_layer_sizes)
        if before._started_from != started_from:
            raise ValueError(
                f"Got warm_start=True with backbone={backbone!r} and hidden_layer_sizes="
                f"{started_from[1]}, but the last fit had {before._started_from[0]!r} and "
                f"{before._started_from[1]}; expected the same, or warm_start=False."
            )
        member = before._model.main
        return None if member.strategy == "no_transfer" else member

    def _partial_fit(self, X, y, sample_weight):
        is_first = not self.__sklearn_is_fitted__()
        self._check_parameters()
        backbone = resolve_backbone(self.backbone) if is_first else None
        X, y, weight = self._check_training_rows(X, y, sample_weight, backbone)
        with thread_limit(self.n_threads):
            if is_first:
                model = self._start_model(backbone, X, y, weight)
                name, network_input = model.main.backbone.name, model.main.backbone.input
            else:
                model, name, network_input = self._model, self._backbone_name, self._network_input
            if y.shape[1:] != self._target_shape:
                raise ValueError(
                    f"Got y with rows of shape {y.shape[1:]}, but expected as many columns as at "
                    f"the first call: {self._target_shape}."
                )
            targets = self._objective.encode(self._encode_target(y))
            members = tuple(
                self._update_member(member, X, targets, weight) for member in model.members
            )
        model = dataclasses.replace(model, members=members)
        self._keep(model, name, network_input)
        return self

    def _start_model(self, backbone, X, y, weight):
        """Return a frozen backbone under a head that knows nothing yet."""
        objective, _ = self._make_objective(y)
        settings = self._make_settings(backbone, objective, X)
        features = self._compute_pretrained_features(settings, X)
        rows = LabelledRows(X, features, np.zeros((len(X), objective.n_outputs)), weight)
        head = make_random_head(rows, settings)
        if settings.source_head is not None:
            head = settings.source_head.make_head(head.rescale)
        self._started_from = settings.backbone, tuple(self.hidden_layer_sizes)
        return FittedModel((Member.frozen("frozen", head, settings),))

    def _update_member(self, member, X, targets, weight):
        device = resolve_device(self.device)
        head = update_head(
            member.head,
            PreparedRows(
                member.compute_features(X, self.image_shape, device), targets, weight, np.asarray
            ),
            self._objective,
            lr=self.head_lr,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )
        return dataclasses.replace(member, head=head)

    def _get_network_input(self):
        return self._network_input

    def _name_outputs(self):
        """Return the classes that the outputs of the network stand for, or None."""
        return None

    def _export_model(self, model):
        """Return the model with outputs as users know them."""
        return model

    def _compute_outputs(self, X):
        X = self._check_rows(X)
        with thread_limit(self.n_threads):
            return self._model.compute_outputs(
                X, self._objective, self.image_shape, resolve_device(self.device)
            )
