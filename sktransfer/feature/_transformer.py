"""FeatureTransferTransformer."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sktransfer.backbones._activations import cache_key, compute_activations, wants_cache
from sktransfer.backbones._cache import ROW_CACHE, CacheInfo
from sktransfer.backbones._image_rows import ImageRows
from sktransfer.backbones._load import resolve_backbone
from sktransfer.backbones._taps import POOLINGS
from sktransfer.base import BaseNetworkEstimator
from sktransfer.exceptions import UnreadableImageError
from sktransfer.utils._sklearn import check_feature_names_in
from sktransfer.utils._state import restored_on_error
from sktransfer.utils._torch import resolve_device
from sktransfer.utils._validation import check_count, check_option


class FeatureTransferTransformer(TransformerMixin, BaseNetworkEstimator):
    """Transformer that gives the hidden-layer activations of a pretrained network.

    Each distinct row goes through the network once per process: activations are kept in a row
    cache, keyed by the content of the row and of the network, which clones, folds and the
    candidates of a grid search share.

    Parameters
    ----------
    backbone : str, path, torch.nn.Module, Backbone or fitted estimator, default=None
        See `load_backbone`. It is never changed. None: the features are the input.
    layers : str or sequence of str, default="penultimate"
        Where activations are taken, all in one forward pass: ``"penultimate"`` (the input of the
        last fully connected layer if the network ends in one, else its output), ``"output"``, a
        name from ``Backbone.layer_names``, or ``"<name>:input"`` for what a layer is given. Of a
        layer that is called several times, the first call counts.
    output : {"features", "logits", "proba"}, default="features"
        ``"features"``: the activations at ``layers``. For a network that ends in a fully
        connected layer, and then without regard to ``layers``, ``"logits"``: what that layer
        gives; ``"proba"``: their softmax, or the sigmoid of a single one.
    mode : {"replace", "concat"}, default="replace"
        ``"concat"`` puts the activations behind the input features (images flattened), which
        stay unscaled.
    pooling : {"auto", "avg", "max", "cls", "flatten"} or callable, default="auto"
        From the activations of a layer to one vector per row: mean over the spatial axes of
        images and over tokens ("auto", "avg"), maximum, first token, all values, or a function
        of a tensor (n, ...) that returns (n, d).
    image_shape : tuple of int, default=None
        (height, width), or with channels first or last: how the columns of a 2-D X form an image.
    batch_size : int, default=64
        Rows per forward pass.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    cache : {"auto", True, False}, default="auto"
        "auto" leaves out small networks on tables, where a digest of the row costs more than
        the forward pass.
    n_jobs : int, default=None
        Threads that read image files, ahead of the network; -1: one per CPU, None: one, unless
        joblib's ``parallel_config`` says otherwise.
    on_error : {"raise", "nan"}, default="raise"
        What becomes of an image that cannot be read: an error that names it, or a row of NaN and
        one warning for all of them.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    backbone_ : Backbone
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    input_shape_ : tuple of int
        Shape of one row of X.
    cache_info_ : CacheInfo
        ``hits``, ``misses`` (rows sent through the network), ``rows`` and ``bytes`` of the row
        cache that this network and these layers share in this process.

    Notes
    -----
    The features of a row are equal to about 1e-6, not to the bit, whatever batch it was in when
    it was computed.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FeatureTransferTransformer
    >>> X, _ = load_digits(return_X_y=True)
    >>> transformer = FeatureTransferTransformer("glyphs", image_shape=(8, 8), mode="concat")
    >>> features = transformer.fit_transform(X[:20])
    >>> features.shape[1] == 64 + transformer.backbone_.n_features_out
    True
    """

    def __init__(
        self,
        backbone=None,
        *,
        layers="penultimate",
        output="features",
        mode="replace",
        pooling="auto",
        image_shape=None,
        batch_size=64,
        device="auto",
        cache="auto",
        n_jobs=None,
        on_error="raise",
        verbose=0,
    ):
        self.backbone = backbone
        self.layers = layers
        self.output = output
        self.mode = mode
        self.pooling = pooling
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.cache = cache
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
        """Load the backbone and check that the rows fit it.

        Parameters
        ----------
        X : array-like of shape (n, d), (n, height, width) or 4-D with channels first or last
            Rows of a table, or images. Or a list, a column or a frame of one column of paths,
            PIL images, bytes of image files or arrays of differing sizes; or a
            `torch.utils.data.Dataset` of images.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        with restored_on_error(self):
            return self._fit(X)

    def partial_fit(self, X, y=None):
        """Do what `fit` does at the first call, and check X at later ones: nothing is learned."""
        if self.__sklearn_is_fitted__():
            self._check_rows(X, reset=False)
            return self
        return self.fit(X, y)

    def transform(self, X):
        """Return the activations of each row.

        Parameters
        ----------
        X : array-like
            Rows of the shape seen in fit.

        Returns
        -------
        features : ndarray of shape (n, n_features_out)
            float32; with ``mode="concat"`` of the type that also holds X.
        """
        X = self._check_rows(X, reset=False)
        blocks = self._compute_blocks(X)
        if self.mode == "concat":
            blocks = [X.reshape(len(X), -1), *blocks]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns: ``<layer>_<i>``, behind those of the input for concat.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; those seen in fit if None.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = [
            f"{layer}_{i}"
            for layer, width in zip(self._get_layers(), self._widths, strict=True)
            for i in range(width)
        ]
        if self.mode == "concat":
            names = [*self._get_input_names(input_features), *names]
        return np.asarray(names, dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_widths")

    @property
    def cache_info_(self):
        check_is_fitted(self)
        if not self._cache_used:
            return CacheInfo(0, 0, 0, 0)
        infos = [
            ROW_CACHE.info(cache_key(self.backbone_, layer, self.pooling))
            for layer in self._get_layers()
        ]
        # Layers share their passes: rows are counted once, bytes summed.
        return infos[0]._replace(bytes=sum(info.bytes for info in infos))

    def _fit(self, X):
        self._check_parameters()
        X = self._check_rows(X, reset=True)
        self.backbone_ = resolve_backbone(self.backbone)
        if isinstance(X, ImageRows):
            self._check_images(X)
        # One row tells the widths; through the cache, so that it is not sent again.
        self._cache_used = wants_cache(
            self.cache, self.backbone_, X, self.image_shape, self.pooling
        )
        self._widths = None
        self._widths = [block.shape[1] for block in self._compute_first(X)]
        return self

    def _compute_first(self, X):
        """Return the blocks of the first row, or of the first image that can be read."""
        if not isinstance(X, ImageRows) or self.on_error == "raise":
            return self._compute_blocks(X[:1])
        rows = X.with_options(n_jobs=None, on_error="raise")
        for i in range(len(rows)):
            try:
                return self._compute_blocks(rows[i : i + 1])
            except UnreadableImageError as error:
                last = error
        raise ValueError(f"Got X with no image that can be read. {last}") from last

    def _check_images(self, X):
        self.backbone_.check_takes_images()
        if self.mode == "concat":
            raise ValueError(
                "Got mode='concat' with images that are read one by one, which are no columns to "
                "put activations behind; expected mode='replace'."
            )

    def _get_network_input(self):
        return self.backbone_.input

    def _check_parameters(self):
        check_option("output", self.output, ("features", "logits", "proba"))
        check_option("mode", self.mode, ("replace", "concat"))
        check_option("cache", self.cache, ("auto", True, False))
        check_option("on_error", self.on_error, ("raise", "nan"))
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

    def _get_layers(self):
        if self.output != "features":
            return ("logits",)
        return (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)

    def _compute_blocks(self, X):
        blocks = compute_activations(
            self.backbone_,
            X,
            layers=self._get_layers(),
            pooling=self.pooling,
            image_shape=self.image_shape,
            batch_size=self.batch_size,
            device=resolve_device(self.device),
            cache=self._cache_used,
            verbose=self.verbose,
        )
        if self._widths is not None and not blocks[0].shape[1]:
            # Not one image could be read.
            return [np.full((len(X), width), np.nan, np.float32) for width in self._widths]
        return [_link(block) for block in blocks] if self.output == "proba" else blocks

    def _get_input_names(self, input_features):
        if len(self.input_shape_) == 1:
            return check_feature_names_in(self, input_features)
        return [f"x{i}" for i in range(int(np.prod(self.input_shape_)))]


def _link(logits):
    """Return the probabilities that logits stand for."""
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
