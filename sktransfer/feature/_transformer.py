"""FeatureTransferTransformer."""

import functools
import math
import warnings

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils.validation import check_is_fitted

from sktransfer.backbones._load import resolve_backbone
from sktransfer.backbones._taps import POOLINGS
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.backbones.speed._compiled import check_compile
from sktransfer.backbones.tables._encoded_rows import TableRows
from sktransfer.base import BaseNetworkEstimator
from sktransfer.feature._block_scaling import BlockMoments
from sktransfer.feature._chunks import NpyFile, count_rows, fill_by_chunks, list_chunks
from sktransfer.feature._dask import (
    gather_moments,
    is_dask,
    refuse_dask,
    take_first_rows,
    transform_lazily,
)
from sktransfer.feature._estimator_source import EstimatorSource, is_estimator
from sktransfer.feature._joining import join, take_numbers
from sktransfer.feature._network_source import NetworkSource
from sktransfer.utils._sklearn import check_feature_names_in, safe_indexing
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._torch import resolve_device, resolve_precision
from sktransfer.utils._validation import check_cache_dir, check_count, check_option

# A warning says so when there are more columns: 80 KB for each row.
MANY_FEATURES = 20_000
# Rows from which the blocks are learned.
_FEW = 8
# What changes the features of a network, by its default, and means nothing to an estimator. How a
# network is run (cache, batch_size, device, ...) is not asked about: searches set it for both.
_OF_NETWORKS = {
    "layers": "penultimate",
    "pooling": "auto",
    "image_shape": None,
    "precision": "float32",
    "on_error": "raise",
}


class FeatureTransferTransformer(CallbackSupportMixin, TransformerMixin, BaseNetworkEstimator):
    """Transformer that gives what was learned elsewhere as features of each row.

    From a pretrained network these are activations of hidden layers, or what its head says; from
    a fitted scikit-learn estimator its scores, probabilities or transformed rows. They replace
    the input, or stand behind it.

    Each distinct row goes through a network once per process: activations are kept in a row
    cache, keyed by the content of the row and of the network, which clones, folds and the
    candidates of a grid search share.

    Parameters
    ----------
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator, default=None
        A network, see `load_backbone`: it is never changed. Or any fitted scikit-learn estimator,
        best as ``FrozenEstimator(estimator)``, which a grid search does not clone: it gets X as it
        came, so it may bring its own preprocessing along, and is never fitted again; the columns
        of a frame are brought into the order that it knows, see Notes. LightGBM, XGBoost, CatBoost
        and whatever else has ``predict_proba``, ``decision_function`` or ``predict`` will do. A
        fitted sktransfer estimator stands for its network, and within `FrozenEstimator` for what it
        predicts. With an estimator, ``layers``, ``pooling``, ``image_shape``, ``precision`` and
        ``on_error`` must be left as they are; ``cache``, ``cache_dir``, ``batch_size``, ``device``,
        ``compile`` and ``n_jobs`` have no effect. None: the features are the input.
    layers : str or sequence of str, default="penultimate"
        Where activations are taken, all in one forward pass:

        - ``"penultimate"``: the input of the last fully connected layer if the network ends in
          one (or in a convolution of size 1 whose maps are averaged), else its output;
        - ``"output"``: the output of the network;
        - ``"all"``: the output of each block (with the normalisation and activation behind it
          where these follow in an `nn.Sequential`), from input to output without the head, and
          ``"penultimate"`` where that is none of them;
        - a name from ``Backbone.layer_names``, or a pattern of such names. As in paths a ``*``
          stays within one level: ``"layer*"`` is layer1 to layer4, ``"layer1.*"`` what is in the
          first of them;
        - ``"<name>:input"`` for what a layer is given.

        Of a layer that is called several times, the first call counts.
    output : {"features", "logits", "proba"}, default="features"
        Of a network: the activations at ``layers``; or, if it ends in a fully connected layer,
        and then without regard to ``layers``, ``"logits"``: what that layer gives; ``"proba"``:
        their softmax, or the sigmoid of a single one.

        Of a fitted estimator: ``"features"`` is its ``transform``; without one the embeddings of
        a foundation model of tables (see `InContextEmbedding`), or the predictions of a regressor;
        ``"logits"`` its ``decision_function`` if it has one, else the logarithms of its
        probabilities (at least 1e-4) less their mean, for two classes one column, the log-odds of
        the second; ``"proba"`` its ``predict_proba``.
    mode : {"replace", "concat"}, default="replace"
        ``"concat"`` puts the features behind those of the input (images flattened).
    pooling : {"auto", "avg", "max", "gem", "cls", "mean", "flatten"} or callable, default="auto"
        From the activations of a layer to one vector per row. Of images the mean over the spatial
        axes ("auto", "avg", "mean"), the maximum, or the generalised mean with exponent 3 [1]_,
        which lies between them and is meant for activations >= 0. Of tokens (n, tokens, d) the
        same over all tokens, the first token ("cls"), or the mean over all but the first
        ("mean"), for networks whose first token is a class token. "flatten" keeps all values. A
        function takes a tensor (n, ...), images with channels first, and returns (n, d).
        Three axes are always read as tokens. Maps with channels last are recognised by the widths
        of the layers that made them.
    scale_blocks : {"auto", True, False}, default="auto"
        Divide each block (the input, and each layer) by one number, so that many activations do
        not drown few inputs. "auto" does so with ``mode="concat"``. The number is fitted on the
        training rows, see Notes.
    image_shape : tuple of int, default=None
        (height, width), or with channels first or last: how the columns of a 2-D X form an image.
    batch_size : int or "auto", default=64
        Rows per forward pass; "auto" goes by the bytes of a row: up to 128 images, up to 4096
        rows of a table.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    precision : {"float32", "bfloat16"}, default="float32"
        What the network computes in. With "bfloat16" features (still float32) differ by about
        0.3 %, and a CPU or GPU that has it is two to three times as fast; elsewhere a warning
        says that float32 is used.
    cache : {"auto", True, False}, default="auto"
        Whether activations are kept in the row cache. "auto" leaves out small networks on tables,
        where a digest of the row costs more than the forward pass, and what is larger than the
        row cache: results of more than 1 GiB, unless they go to ``cache_dir``, and Dask
        collections. Activations of a network that is random, or looks at the other rows of a
        batch, are never kept; a warning says so.
    cache_dir : path-like, default=None
        Folder in which activations are kept for other processes and later days, besides those of
        other networks. None: in memory, for this process.
    compile : bool or dict, default=False
        Whether the network goes through `torch.compile`, or its options, such as
        ``{"mode": "max-autotune"}``: by default it takes a C++ compiler and up to a minute, once
        per process, for each choice of layers and pooling. Only full batches, of ``batch_size``
        rows, go through it. If it fails, or a batch comes out otherwise, one warning says so and
        the network runs as it is.
    n_jobs : int, default=None
        Threads that read images, ahead of the network; -1: one per CPU, None: one, unless
        joblib's ``parallel_config`` says otherwise. Within ``parallel_config(backend="loky")``
        files are read in so many processes.
    on_error : {"raise", "nan"}, default="raise"
        What becomes of an image that cannot be read: an error that names it, or a row of NaN and
        one warning for all of them.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    backbone_ : Backbone or estimator
    layers_ : tuple of str
        Names of the blocks of features: of the layers, or ``("logits",)`` and the like.
    block_scales_ : ndarray of shape (n_blocks,)
        What the blocks are divided by, the input first with ``mode="concat"``; 1 unless scaled.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    input_shape_ : tuple of int
        Shape of one row of X.
    cache_info_ : CacheInfo
        ``hits``, ``misses`` (rows sent through the network), ``rows``, ``bytes``,
        ``bytes_on_disk`` and ``seconds_saved`` (hits times the measured time of a row) of the row
        cache that all transformers with this network and these layers share in this process.

    Notes
    -----
    The features of a row are equal to about 1e-6, not to the bit, whatever batch it was in when
    it was computed.

    Scaled blocks have variances that sum up to the number of input columns, each of them, as
    those of as many standardised columns do. So a block of 512 activations has the same say in
    distances and penalties as 20 inputs, and an input that was standardised before stays as it
    is. Blocks are not centred: zeros stay zeros, and no estimator with an intercept, and no
    distance, would notice. A constant block is left alone. This is the scaling of blocks of
    multiple factor analysis, with the total variance in place of the largest eigenvalue.

    A frame may have other columns than the one that an estimator was fitted on: their order does
    not matter, columns that it lacks count as missing values, further ones are not shown to the
    estimator, and `ColumnMismatchWarning` names both. With ``mode="concat"`` the columns in front
    are those of X, numbers divided as above, with NaN where they are missing, others as they are.

    A pickle holds the network once, and none of its weights if it comes with the package
    (``"glyphs"``). With an `nn.Module` as parameter it holds both that and the copy in use; a
    `Backbone` is cheaper.

    A `numpy.memmap` is read batch by batch, `transform_to_file` writes the result to another one.
    A Dask array or frame gives a Dask array that is computed where the chunks are.

    References
    ----------
    .. [1] F. Radenović, G. Tolias and O. Chum, "Fine-tuning CNN image retrieval with no human
       annotation", IEEE TPAMI 41(7), 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FeatureTransferTransformer
    >>> X, _ = load_digits(return_X_y=True)
    >>> transformer = FeatureTransferTransformer("glyphs", image_shape=(8, 8), mode="concat")
    >>> features = transformer.fit_transform(X[:20])
    >>> features.shape[1] == 64 + transformer.backbone_.n_features_out
    True

    What a classifier of the source says, behind the input:

    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> X_source, y_source = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], ["cat", "dog", "dog"]
    >>> source = FrozenEstimator(LogisticRegression().fit(X_source, y_source))
    >>> transformer = FeatureTransferTransformer(source, output="logits", mode="concat")
    >>> transformer.fit([[0.5, 0.5], [1.5, 0.0]]).get_feature_names_out().tolist()
    ['x0', 'x1', 'logit_dog']
    """

    def __init__(
        self,
        backbone=None,
        *,
        layers="penultimate",
        output="features",
        mode="replace",
        pooling="auto",
        scale_blocks="auto",
        image_shape=None,
        batch_size=64,
        device="auto",
        precision="float32",
        cache="auto",
        cache_dir=None,
        compile=False,
        n_jobs=None,
        on_error="raise",
        verbose=0,
    ):
        self.backbone = backbone
        self.layers = layers
        self.output = output
        self.mode = mode
        self.pooling = pooling
        self.scale_blocks = scale_blocks
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.cache_dir = cache_dir
        self.compile = compile
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose

    # A callable pooling is part of the key of the row cache, so clones must not copy it.
    _shared_parameters = ("backbone", "pooling")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X, y=None):
        """Load the backbone, check that the rows fit it, and find the scales of the blocks.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, height, width) or 4-D with channels first or last
            Rows of a table, or images. Or a list, a column or a frame of one column of paths,
            PIL images, bytes of image files or arrays of differing sizes; or a
            `torch.utils.data.Dataset` of images. With a `TabularBackbone` a frame with columns of
            any type, see there. With an estimator as backbone, whatever it takes.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            self._fit(X)
        return self

    def fit_transform(self, X, y=None):
        """Fit, and return the features of the same rows, which are computed once.

        Parameters
        ----------
        X : array-like
            See `fit`.
        y : None
            Ignored.

        Returns
        -------
        features : ndarray of shape (n, n_features_out)
            See `transform`.
        """
        with restored_on_error(self):
            checked, blocks = self._fit(X)
            return self._transform(X) if blocks is None else self._join(checked, blocks)

    def partial_fit(self, X, y=None):
        """Do what `fit` does at the first call, and check X at later ones: nothing is learned."""
        if self.__sklearn_is_fitted__():
            self._source.check(self, X, reset=False)
            return self
        return self.fit(X, y)

    def precompute(self, X):
        """Send rows through the network now, so that all later look-ups find them in the cache.

        Before a search in several processes, with ``cache_dir``: otherwise each process sends the
        rows of its own. It goes chunk by chunk, so no more than the cache itself is in memory.

        Parameters
        ----------
        X : array-like
            Rows as for `fit`, which is called unless the transformer is fitted. No Dask
            collection, of which the row cache keeps nothing.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If nothing would be kept: with ``cache=False``, with an estimator as backbone, and
            where ``cache="auto"`` leaves the network or so many rows out.
        """
        refuse_dask(X, "of which the row cache keeps nothing; expected an array, or no precompute")
        check_option("cache", self.cache, ("auto", True, False))
        if not self.cache:
            raise ValueError(
                "Got cache=False, but precompute fills the row cache; expected cache='auto' or "
                "True."
            )
        if not self.__sklearn_is_fitted__():
            self.fit(X)
        is_mapped = isinstance(X, np.memmap)
        X = X if is_mapped else self._source.check(self, X, reset=False)
        n_rows = count_rows(X)
        self._source.check_caching(X, n_rows)
        for rows in self._list_chunks(X):
            part = X[rows]
            part = self._source.check(self, part, reset=False) if is_mapped else part
            self._source.compute(part, n_rows=n_rows, verbose=self.verbose)
        return self

    def transform(self, X):
        """Return the features of each row.

        Parameters
        ----------
        X : array-like
            Rows of the shape seen in fit.

        Returns
        -------
        features : ndarray of shape (n, n_features_out)
            Activations are float32; with ``mode="concat"`` the type also holds X. A frame of the
            kind of X if its columns are kept and are not all numbers, a sparse matrix if they are
            sparse, and a Dask array if X is a Dask collection.
        """
        check_is_fitted(self)
        return self._transform(X)

    def transform_to_file(self, X, path):
        """Write the features to a ``.npy`` file, chunk by chunk.

        Neither X (if it is a `numpy.memmap`) nor the features are ever in memory as a whole. The
        file appears once it is complete.

        Parameters
        ----------
        X : array-like
            Rows of the shape seen in fit.
        path : str or path-like
            Ends in ``.npy``; an older file is replaced.

        Returns
        -------
        features : numpy.memmap of shape (n, n_features_out)
            Opened for reading, as ``numpy.load(path, mmap_mode="r")`` does.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from sktransfer import FeatureTransferTransformer
        >>> images = np.random.default_rng(0).random((100, 8, 8))
        >>> transformer = FeatureTransferTransformer("glyphs").fit(images)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     features = transformer.transform_to_file(images, pathlib.Path(folder, "f.npy"))
        ...     features.shape
        (100, 640)
        """
        check_is_fitted(self)
        refuse_dask(
            X,
            "but transform_to_file takes arrays; write what transform(X) returns, with its "
            "to_npy_stack or to_zarr",
        )
        file = NpyFile(path)
        file.check_is_not(X)
        with file:
            self._transform_by_chunks(X, file.allocate)
        return np.load(file.path, mmap_mode="r")

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        ``<layer>_<i>`` for a network; ``logit_<class>``, ``proba_<class>``, ``prediction``,
        ``embedding_<i>`` or those of its ``transform`` for an estimator. Behind those of the input
        for concat.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; those seen in fit if None.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = [name for columns in self._source.columns for name in columns]
        if self.mode == "concat":
            inputs = list(self._get_input_names(input_features))
            if set(inputs) & set(names):
                # Such as a fitted scaler, whose columns are called like those of the input.
                names = [f"source__{name}" for name in names]
            names = [*inputs, *names]
        return np.asarray(names, dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_source")

    @property
    def cache_info_(self):
        check_is_fitted(self)
        return self._source.cache_info()

    # Inside of what restores the estimator, which would take callbacks away before their teardown.
    @with_callbacks
    def _fit(self, X):
        """Return the checked rows and their blocks, or None if these were not needed as a whole."""
        self._check_parameters()
        source = self._make_source()
        context = self._init_callback_context(max_subtasks=None if self._scales() else 0)
        context.call_on_fit_task_begin(estimator=self)
        checked = source.check(self, self._take_first_rows(X), reset=True)
        source.prepare(checked if isinstance(checked, ImageRows) else _take(checked, _FEW))
        self._warn_of_many(source)
        self._source, self.backbone_, self.layers_ = source, source.backbone, source.layers
        blocks = None
        if not self._scales():
            self.block_scales_ = np.ones(len(source.layers) + (self.mode == "concat"))
        elif is_dask(X):
            self._set_scales(gather_moments(self, X))
        else:
            blocks = self._fit_scales(X, checked, context)
        self._dtype = self._find_dtype(checked)
        context.call_on_fit_task_end(estimator=self)
        return checked, blocks

    def _take_first_rows(self, X):
        """Return X, or its first chunk where it is not to be loaded as a whole."""
        if is_dask(X):
            return take_first_rows(X, _FEW)
        return X[list_chunks(X, 1, self._rows_of_a_pass)[0]] if isinstance(X, np.memmap) else X

    def _fit_scales(self, X, checked, context):
        """Fit the scales chunk by chunk; return the blocks unless X is mapped to memory."""
        is_mapped = isinstance(X, np.memmap)
        chunks = self._list_chunks(X) if is_mapped else [None]
        n_rows = count_rows(X if is_mapped else checked)
        moments = blocks = None
        for rows in chunks:
            part = context.subcontext(task_name="rows")
            part.call_on_fit_task_begin(estimator=self)
            if rows is not None:
                checked = self._source.check(self, X[rows], reset=False)
            blocks = self._source.compute(checked, n_rows=n_rows, verbose=self.verbose)
            found = self._measure(checked, blocks)
            if moments is not None:
                found = [one.add(other) for one, other in zip(moments, found, strict=True)]
            moments = found
            part.call_on_fit_task_end(estimator=self)
        self._set_scales(moments)
        return None if is_mapped else blocks

    def _list_chunks(self, X):
        return list_chunks(X, sum(map(len, self._source.columns)), self._rows_of_a_pass)

    def _measure(self, X, blocks):
        """Return the moments of each block, of the input first for concat."""
        blocks = [take_numbers(_get_original(X)), *blocks] if self.mode == "concat" else blocks
        return [BlockMoments.of(block) for block in blocks]

    def _set_scales(self, moments):
        # Of the input only columns of numbers have a size.
        is_behind = self.mode == "concat"
        n_columns = np.size(moments[0].mean) if is_behind else math.prod(self.input_shape_)
        n_columns = max(n_columns, 1)
        self.block_scales_ = np.array([block.find_scale(n_columns) for block in moments])

    def _find_dtype(self, X):
        """Return the type of the features, None if they are a frame of several."""
        blocks = [
            np.zeros((1, len(columns)), dtype=dtype)
            for columns, dtype in zip(self._source.columns, self._source.dtypes, strict=True)
        ]
        return getattr(self._join(_take(X, 1), blocks), "dtype", None)

    def _scales(self):
        """Resolve ``scale_blocks="auto"``."""
        return self.mode == "concat" if self.scale_blocks == "auto" else bool(self.scale_blocks)

    @property
    def _rows_of_a_pass(self):
        return 1 if self.batch_size == "auto" else self.batch_size

    def _make_source(self):
        if is_estimator(self.backbone):
            for name, default in _OF_NETWORKS.items():
                if getattr(self, name) != default:
                    raise ValueError(
                        f"Got {name}={getattr(self, name)!r} with an estimator as backbone, but "
                        f"only networks have that; expected {name}={default!r}."
                    )
            return EstimatorSource(self.backbone, self.output)
        device = resolve_device(self.device)
        has_it = resolve_precision(self.precision, device) is not None
        return NetworkSource(
            resolve_backbone(self.backbone),
            layers=self.layers,
            output=self.output,
            cache=self.cache,
            pooling=self.pooling,
            image_shape=self.image_shape,
            batch_size=self.batch_size,
            device=device,
            precision=self.precision if has_it else "float32",
            cache_dir=self.cache_dir,
            compile=self.compile,
        )

    def _get_network_input(self):
        return self._source.backbone.input

    def _keeps_columns(self):
        return self.mode == "concat"

    def _check_parameters(self):
        check_option("output", self.output, ("features", "logits", "proba"))
        check_option("mode", self.mode, ("replace", "concat"))
        check_option("scale_blocks", self.scale_blocks, ("auto", True, False))
        check_option("cache", self.cache, ("auto", True, False))
        check_option("on_error", self.on_error, ("raise", "nan"))
        check_option("precision", self.precision, ("float32", "bfloat16"))
        check_cache_dir(self.cache_dir)
        check_compile(self.compile)
        if self.batch_size != "auto":
            check_count("batch_size", self.batch_size)
        if not callable(self.pooling):
            check_option("pooling", self.pooling, POOLINGS)
        names = [self.layers] if isinstance(self.layers, str) else self.layers
        if not np.iterable(names) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"Got layers={self.layers!r}, but expected a name or several.")
        if not 0 < len(names) == len(set(names)):
            raise ValueError(
                f"Got layers={self.layers!r}, but expected at least one layer, and each once."
            )

    def _warn_of_many(self, source):
        widths = [len(columns) for columns in source.columns]
        if sum(widths) > MANY_FEATURES:
            widest = source.layers[int(np.argmax(widths))]
            warnings.warn(
                f"Got layers={self.layers!r} with pooling={self.pooling!r}, which make "
                f"{sum(widths):,} features per row, {max(widths):,} of them at {widest!r}: "
                f"{sum(widths) * 4e-6:.1f} MB each. pooling='avg' makes one of each channel.",
                UserWarning,
                stacklevel=2,
            )

    def _transform(self, X):
        if is_dask(X):
            return transform_lazily(self, X, self._dtype)
        if isinstance(X, np.memmap):
            return self._transform_by_chunks(X, np.empty)
        return self._transform_rows(X, verbose=self.verbose)

    def _transform_rows(self, X, *, n_rows=None, verbose=0):
        """Check, compute and join rows that are in memory, perhaps a part of ``n_rows``."""
        X = self._source.check(self, X, reset=False)
        n_rows = count_rows(X) if n_rows is None else n_rows
        return self._join(X, self._source.compute(X, n_rows=n_rows, verbose=verbose))

    def _join(self, X, blocks):
        columns = _get_original(X) if self.mode == "concat" else None
        return join(columns, blocks, self.block_scales_, self.get_feature_names_out)

    def _transform_by_chunks(self, X, allocate):
        X = np.asarray(X) if isinstance(X, list | tuple) else X
        compute = functools.partial(self._transform_rows, n_rows=count_rows(X))
        name = getattr(self.backbone_, "name", type(self.backbone_).__name__)
        return fill_by_chunks(
            X, self._list_chunks(X), compute, allocate, name if self.verbose else None
        )

    def _measure_rows(self, X, *, n_rows):
        """Check and compute rows that are a part of ``n_rows``; return the moments of blocks."""
        X = self._source.check(self, X, reset=False)
        return self._measure(X, self._source.compute(X, n_rows=n_rows))

    def _get_input_names(self, input_features):
        if len(self.input_shape_) == 1:
            return check_feature_names_in(self, input_features)
        return [f"x{i}" for i in range(int(np.prod(self.input_shape_)))]


def _take(X, n_rows):
    """Return the first rows of whatever holds them."""
    is_ours = isinstance(X, ImageRows | TableRows)
    return X[:n_rows] if is_ours else safe_indexing(X, slice(0, n_rows))


def _get_original(X):
    """Return the rows as they came, where they were encoded."""
    return X.original if isinstance(X, TableRows) else X
