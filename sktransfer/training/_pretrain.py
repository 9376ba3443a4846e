"""pretrain_backbone."""

import numbers
import time

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones._load import resolve_backbone
from sktransfer.backbones._pretraining_report import PretrainingReport
from sktransfer.backbones.images._containers import check_is_container
from sktransfer.backbones.tables._table import as_array
from sktransfer.backbones.tables._table_input import TableInput
from sktransfer.backbones.tables._tabular_backbone import TabularBackbone
from sktransfer.training._epoch_bar import EpochBar
from sktransfer.training._image_pretraining import ImagePretraining
from sktransfer.training._net import check_callbacks
from sktransfer.training._scarf import SCARF
from sktransfer.training._simclr import SimCLR
from sktransfer.training._source_images import find_images, read_source_images
from sktransfer.training._source_target import TASKS, read_source_target
from sktransfer.training._table_pretraining import TablePretraining
from sktransfer.utils._sklearn import check_sample_weight, safe_indexing
from sktransfer.utils._torch import resolve_device, thread_limit
from sktransfer.utils._validation import check_count, check_number, check_option

# What has a meaning for rows of one kind only, with its default.
_OF_TABLES = {
    "hidden_layer_sizes": (128, 128),
    "dropout": 0.15,
    "feature_dropout": 0.1,
    "categorical": "auto",
}
_OF_IMAGES = {"augment": "auto", "image_size": None, "n_jobs": None}


def pretrain_backbone(
    X_source,
    y_source=None,
    *,
    task="auto",
    self_supervised=None,
    sample_weight=None,
    hidden_layer_sizes=(128, 128),
    max_epochs=None,
    batch_size="auto",
    learning_rate=2e-3,
    weight_decay=1e-2,
    dropout=0.15,
    feature_dropout=0.1,
    validation_fraction=0.15,
    n_iter_no_change=10,
    categorical="auto",
    backbone=None,
    augment="auto",
    image_size=None,
    image_shape=None,
    n_jobs=None,
    name=None,
    device="auto",
    n_threads=None,
    callbacks=None,
    verbose=0,
    random_state=None,
):
    """Pretrain a network on your own source table or images, for a target with few labels.

    Of a table the result takes target tables as they are: everything that columns need (scales,
    what stands for missing values, the known categories) is learned from the source once and kept
    with the network, never fitted again. Of images it holds how they are standardised. No source
    row is kept.

    Parameters
    ----------
    X_source : DataFrame, array-like of shape (n, d), or images
        Frames of pandas or polars with columns of any type; columns of the target are found by
        name. Missing values are welcome. Arrays have numbers, and their columns go by position.
        Images as for `FeatureTransferTransformer`: arrays of three or four axes, or a list, a
        column or a Dataset of paths, PIL images or arrays. They are all held in memory.
    y_source : array-like of shape (n,) or (n, n_outputs), default=None
        What the network learns to predict; the target may have another label. One class per row
        (of any type), real numbers, or an indicator matrix of 0 and 1 with a column per label.
        None: the network learns from the rows alone, see ``self_supervised``.
    task : {"auto", "classification", "multilabel", "regression"}, default="auto"
        What y is. "auto" tells by its values: texts, booleans and up to 30 different whole
        numbers are classes, numbers with fractions are real numbers, several columns of 0 and 1
        are labels. More than 30 different whole numbers could be either, which is an error.
    self_supervised : SCARF, SimCLR, float or None, default=None
        How to learn from rows without labels: of a table by a `sktransfer.training.SCARF`, of
        images by a `sktransfer.training.SimCLR`. With y the two losses are added; a number is the
        weight of this one. None: without y ``SCARF()`` or ``SimCLR()``, with y nothing.
    sample_weight : array-like of shape (n,), default=None
        Such as those of a weighting of `sktransfer.instance`, by which source rows count that
        resemble the target. A row of weight 0 is as good as absent.
    hidden_layer_sizes : sequence of int, default=(128, 128)
        Widths of the fully connected layers; the last one is the number of features.
    max_epochs : int, default=None
        Passes over the rows. None: of a table 15 and at least 200 steps with labels, 30 and at
        least 1,000 steps without; of images 30 and at least 600; at most 10,000 steps. The more a
        network knows of the source's label, the less it knows of another one.
    batch_size : int or "auto", default="auto"
        "auto": a sixteenth of the rows, between 32 and 256.
    learning_rate : float, default=2e-3
        Its highest value: it rises for a tenth of the steps, then falls along a cosine to zero.
    weight_decay : float, default=1e-2
        Of AdamW.
    dropout : float, default=0.15
        In the hidden layers, in training.
    feature_dropout : float, default=0.1
        Share of the values that are made missing in training, so that the network knows missing
        values and unknown categories even where the source has none.
    validation_fraction : float, default=0.15
        Share of the rows that are held out: the weights of the epoch that is best on these are
        kept, and ``report_`` says how good they are, which flatters a little, since these rows
        have chosen the epoch. 0 holds out none, and keeps the last weights.
    n_iter_no_change : int, default=10
        Epochs without a lower held-out loss after which the training ends.
    categorical : "auto" or sequence of str or int, default="auto"
        Columns that are categories. "auto": texts, booleans and pandas or polars categories.
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator, default=None
        Of images: the network to start from, see `load_backbone`, whose layers move at a tenth of
        the learning rate. None: a small convolutional network with random weights, of one stage
        more each time that the images can be halved.
    augment : callable or None, default="auto"
        Of images with labels: how they are changed in each batch, see
        `sktransfer.training.Augmentation`. "auto": shifts, crops, brightness and contrast, of
        images in colour also saturation and mirroring. `SimCLR` has one of its own.
    image_size : int or (height, width), default=None
        Of images: what they are resized to, here and later. None: what ``backbone`` takes, else
        arrays stay as they are, and files become 64 by 64 pixels.
    image_shape : tuple of int, default=None
        (height, width), or with channels: how the columns of a 2-D X_source form an image.
    n_jobs : int, default=None
        Threads that read files of images.
    name : str, default=None
        Shown in the repr and in messages.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    n_threads : int, default=None
        Torch threads; None leaves the number as it is. The same number and ``random_state`` give
        the same weights in every process.
    callbacks : list of skorch callbacks, default=None
        Copied, then given to the training loop.
    verbose : int, default=0
        1 shows a progress bar over epochs, 2 prints skorch's table of them.
    random_state : int, RandomState instance or None, default=None
        Seeds what is held out, the first weights, shuffling and dropout.

    Returns
    -------
    backbone : TabularBackbone or Backbone
        The latter of images. Ready for `FeatureTransferTransformer`, `ParameterTransferClassifier`,
        `ParameterTransferRegressor`, and for ``save``. ``report_`` is a
        `sktransfer.backbones.PretrainingReport`; ``classes`` has the labels of its outputs.

    Raises
    ------
    ValueError
        For labels that are missing, all alike, or of no kind that can be told; for fewer than two
        rows; for a training that diverges.
    TypeError
        For sparse matrices, and for parameters of a wrong type.

    Notes
    -----
    With the same label in source and target, and the source rows at hand, pooling both is as good.
    What this is for: another label than the source's, rows that may not leave where they are,
    many rows without labels.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sktransfer import FeatureTransferTransformer, pretrain_backbone
    >>> X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    >>> backbone = pretrain_backbone(X[:400], y[:400], random_state=0)
    >>> backbone.report_.scores["roc_auc"] > 0.95
    True
    >>> classifier = make_pipeline(
    ...     FeatureTransferTransformer(backbone), StandardScaler(), LogisticRegression(C=0.1)
    ... )
    >>> classifier.fit(X[400:430], y[400:430]).score(X[430:], y[430:]) > 0.9
    True
    """
    started = time.perf_counter()
    _check_parameters(
        task=task,
        hidden_layer_sizes=hidden_layer_sizes,
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        dropout=dropout,
        feature_dropout=feature_dropout,
        validation_fraction=validation_fraction,
        n_iter_no_change=n_iter_no_change,
        callbacks=callbacks,
        verbose=verbose,
        augment=augment,
    )
    images = find_images(X_source, is_asked_for=backbone is not None or image_shape is not None)
    is_table = images is None
    _check_kind_of_parameters(
        is_table,
        hidden_layer_sizes=hidden_layer_sizes,
        dropout=dropout,
        feature_dropout=feature_dropout,
        categorical=categorical,
        augment=augment,
        image_size=image_size,
        n_jobs=n_jobs,
    )
    comparison = _resolve_comparison(self_supervised, y_source, task, SCARF if is_table else SimCLR)
    start = None if backbone is None else resolve_backbone(backbone)
    if is_table:
        X_source = _check_table(X_source)
    else:
        X_source, network_input = read_source_images(
            images, start=start, image_size=image_size, image_shape=image_shape, n_jobs=n_jobs
        )
    X_source, y_source, weight = _take_rows(X_source, y_source, sample_weight)
    target = None if y_source is None else read_source_target(y_source, task, weight)
    generator = check_random_state(random_state)
    options = {
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "validation_fraction": validation_fraction,
        "n_iter_no_change": n_iter_no_change,
        "device": resolve_device(device),
        "callbacks": [*(callbacks or []), *([("bar", EpochBar())] if verbose == 1 else [])],
        "verbose": max(0, verbose - 1),
        "seeds": tuple(int(seed) for seed in generator.randint(2**31 - 1, size=3)),
    }
    with thread_limit(n_threads):
        if is_table:
            pretraining = TablePretraining(
                hidden_layer_sizes=tuple(int(size) for size in hidden_layer_sizes),
                scarf=comparison,
                dropout=dropout,
                feature_dropout=feature_dropout,
                **options,
            )
            network_input = TableInput.learn(X_source, categorical=categorical)
            network, outcome = pretraining.fit(
                network_input.prepare(X_source), network_input, target, weight
            )
        else:
            pretraining = ImagePretraining(
                start=start, views=comparison, augment=augment, **options
            )
            network, network_input, outcome = pretraining.fit(
                X_source, network_input, target, weight
            )
    report = PretrainingReport(
        **outcome,
        n_parameters=sum(parameter.numel() for parameter in network.parameters()),
        seconds=time.perf_counter() - started,
    )
    return (TabularBackbone if is_table else Backbone)(
        network,
        name=name,
        input=network_input,
        classes=None if target is None else target.classes,
        report=report,
    )


def _check_table(X):
    """Return X as something with a shape, (n, d)."""
    if issparse(X):
        raise TypeError(
            f"Got X_source as a sparse {type(X).__name__}, but expected a frame or a dense array; "
            "X_source.toarray() makes one."
        )
    check_is_container(X)
    if not hasattr(X, "shape"):
        X = as_array(X)
    if len(X.shape) != 2:
        raise ValueError(
            f"Got X_source of shape {tuple(X.shape)}, but expected rows and columns, (n, d), or "
            "images of three or four axes."
        )
    return X


def _take_rows(X, y, sample_weight):
    """Return the rows that have a weight, with their labels and weights."""
    if y is not None:
        y = y.toarray() if issparse(y) else y
        check_consistent_length(X, y)
    weight = np.ones(X.shape[0])
    if sample_weight is not None:
        weight = check_sample_weight(
            sample_weight, weight, ensure_non_negative=True, allow_all_zero_weights=True
        )
    if not weight.any() and len(weight):
        raise ValueError(
            "Got sample_weight of zeros only, but expected at least two rows of a weight > 0."
        )
    counts = np.flatnonzero(weight > 0)
    if len(counts) < 2:
        which = "" if sample_weight is None else " of a weight > 0"
        raise ValueError(f"Got X_source with {len(counts)} rows{which}, but expected at least 2.")
    if len(counts) < X.shape[0]:
        X, weight = safe_indexing(X, counts), weight[counts]
        y = None if y is None else safe_indexing(y, counts)
    return X, y, weight


def _resolve_comparison(self_supervised, y, task, kind):
    """Return how rows are learned without labels, a SCARF or a SimCLR, or None."""
    if self_supervised is None:
        if y is None and task != "auto":
            raise ValueError(f"Got task={task!r} without y_source; expected y_source too.")
        return kind() if y is None else None
    if isinstance(self_supervised, kind):
        return self_supervised
    if isinstance(self_supervised, numbers.Real) and not isinstance(self_supervised, bool):
        if self_supervised == 0 and y is None:
            raise ValueError(
                "Got self_supervised=0 without y_source, which leaves nothing to learn; expected "
                "y_source, or self_supervised=None."
            )
        return kind(weight=self_supervised) if self_supervised else None
    rows = "tables" if kind is SCARF else "images"
    raise TypeError(
        f"Got self_supervised={self_supervised!r}, but expected a number >= 0, a {kind.__name__} "
        f"of sktransfer.training, which is for {rows}, or None."
    )


def _check_kind_of_parameters(is_table, **given):
    """Raise if a parameter was set that means nothing to this kind of rows."""
    defaults = _OF_IMAGES if is_table else _OF_TABLES
    for name, default in defaults.items():
        value = given[name]
        if type(value) is not type(default) or value != default:
            raise ValueError(
                f"Got {name}={value!r} with X_source as {'a table' if is_table else 'images'}, "
                f"but only {'images' if is_table else 'tables'} have that; expected "
                f"{name}={default!r}."
            )


def _check_parameters(**given):
    check_option("task", given["task"], TASKS)
    sizes = given["hidden_layer_sizes"]
    if isinstance(sizes, str) or not np.iterable(sizes) or not len(sizes):
        raise TypeError(
            f"Got hidden_layer_sizes={sizes!r}, but expected a sequence of at least one integer, "
            "such as (128, 128)."
        )
    for i, size in enumerate(sizes):
        check_count(f"hidden_layer_sizes[{i}]", size)
    if given["max_epochs"] is not None:
        check_count("max_epochs", given["max_epochs"])
    if given["batch_size"] != "auto":
        check_count("batch_size", given["batch_size"], low=2)
    check_number("learning_rate", given["learning_rate"], low=0, low_open=True)
    check_number("weight_decay", given["weight_decay"], low=0)
    for name in ("dropout", "feature_dropout"):
        check_number(name, given[name], low=0, high=0.95)
    check_number("validation_fraction", given["validation_fraction"], low=0, high=0.5)
    check_count("n_iter_no_change", given["n_iter_no_change"])
    check_count("verbose", given["verbose"], low=0)
    check_callbacks(given["callbacks"])
    if given["augment"] not in ("auto", None) and not callable(given["augment"]):
        raise ValueError(
            f"Got augment={given['augment']!r}, but expected 'auto', None, or a function that "
            "takes a batch of images and returns one."
        )
