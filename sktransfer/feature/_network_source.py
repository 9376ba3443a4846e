"""Activations of a network as features."""

import numpy as np
from scipy.special import expit, softmax

from sktransfer.backbones._activations import cache_key, compute_activations
from sktransfer.backbones._layers import resolve_layers
from sktransfer.backbones.cache._cache import ROW_CACHE
from sktransfer.backbones.cache._tiers import cache_info
from sktransfer.backbones.cache._worth import is_hashable, wants_cache
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.feature._source import FeatureSource

_BYTES = 4  # of a float32


class NetworkSource(FeatureSource):
    """The activations of a network at some layers, or what its head gives.

    Parameters
    ----------
    backbone : Backbone
    layers : str or sequence of str
    output : {"features", "logits", "proba"}
    cache : {"auto", True, False}
    cache_dir : path-like or None
    precision : {"float32", "bfloat16"}
    pooling, image_shape
        See `FeatureTransferTransformer`.
    **options
        How `compute_activations` goes about it: batch_size, device, compile.
    """

    def __init__(
        self,
        backbone,
        *,
        layers,
        output,
        cache,
        cache_dir,
        precision,
        pooling,
        image_shape,
        **options,
    ):
        self.backbone, self.output = backbone, output
        self.cache, self.cache_dir, self.precision = cache, cache_dir, precision
        self.pooling, self.image_shape, self.options = pooling, image_shape, options
        self.layers = layers if output == "features" else ("logits",)

    def check(self, estimator, X, *, reset):
        """Return X as an array, or as images that are read when they are needed."""
        X = estimator._check_rows(X, first_input=self.backbone.input if reset else None)
        if isinstance(X, ImageRows):
            self.backbone.check_takes_images()
            if estimator.mode == "concat":
                raise ValueError(
                    "Got mode='concat' with images that are read one by one, which are no columns "
                    "to put activations behind; expected mode='replace'."
                )
        return X

    def prepare(self, X):
        """Find the layers and their widths."""
        if isinstance(X, ImageRows):
            X = X.find_readable(self.backbone.input)
        if self.output == "features":
            self.layers = resolve_layers(self.layers, self.backbone, X, self.image_shape)
        blocks = self._send_first(X)
        self.dtypes = [block.dtype for block in blocks]
        self.columns = [
            list(self._name_columns(layer, block.shape[1]))
            for layer, block in zip(self.layers, blocks, strict=True)
        ]

    def _send_first(self, X):
        """Return the blocks of a row; through the cache, so that it is not sent again."""
        try:
            return self._send(X[:1], self.cache)
        except ValueError:
            # A network that normalises by the batch takes no row alone.
            if len(X) < 2:
                raise
            return self._send(X[:2], self.cache)

    def _name_columns(self, layer, width):
        """Return ``<layer>_<i>``, or what the outputs stand for where that is known."""
        if self.output == "features":
            return [f"{layer}_{i}" for i in range(width)]
        word = {"logits": "logit", "proba": "proba"}[self.output]
        classes = [] if self.backbone.classes is None else list(self.backbone.classes)
        # One output of two classes is about the second.
        classes = classes[1:] if len(classes) == 2 and width == 1 else classes
        names = classes if len(classes) == width else range(width)
        return [f"{word}_{name}" for name in names]

    def compute(self, X, *, n_rows, verbose=0):
        """Return the activations of each layer, float32, through the row cache."""
        blocks = self._send(X, self._resolve_cache(n_rows), verbose)
        for layer, columns, block in zip(self.layers, self.columns, blocks, strict=True):
            # No columns: not one image could be read.
            if block.shape[1] not in (0, len(columns)):
                raise ValueError(
                    f"Got X whose rows have {block.shape[1]} features at layer {layer!r}, but "
                    f"those seen in fit have {len(columns)}; expected images of the size seen in "
                    "fit, or pooling='avg', or a backbone that makes all images alike: "
                    "Backbone(module, input=NetworkInput(channels=3, resize=224, crop=224))."
                )
        if not blocks[0].shape[1]:
            return [np.full((len(X), len(c)), np.nan, np.float32) for c in self.columns]
        return blocks

    def _send(self, X, cache, verbose=0):
        blocks = compute_activations(
            self.backbone,
            X,
            layers=self.layers,
            pooling=self.pooling,
            image_shape=self.image_shape,
            cache=cache,
            cache_dir=self.cache_dir,
            precision=self.precision,
            verbose=verbose,
            **self.options,
        )
        if self.output == "proba" and blocks[0].shape[1]:
            return [_link(block) for block in blocks]
        return blocks

    def _resolve_cache(self, n_rows):
        """Return False where all rows would be too many for memory, unless they are asked for."""
        if self.cache is True or self.cache_dir is not None:
            return self.cache
        fits = n_rows * _BYTES * sum(map(len, self.columns)) <= ROW_CACHE.budget
        return self.cache if fits else False

    def check_caching(self, X, n_rows):
        """Raise unless `compute` keeps the rows of a checked X, which are so many in all."""
        if not is_hashable(self.pooling):
            raise ValueError(
                f"Got pooling={self.pooling!r}, which has no hash, so that its activations are not "
                "kept in the row cache; expected a plain function."
            )
        cache = self._resolve_cache(n_rows)
        if not wants_cache(cache, self.backbone, X, self.image_shape, self.pooling, self.layers):
            why = (
                "activations of so many rows are larger than the row cache in memory"
                if cache is False
                else "to send a row through this network costs less than to look it up"
            )
            raise ValueError(
                f"Got cache={self.cache!r}, with which precompute would keep nothing: {why}; "
                "expected cache=True"
                + (", or a folder as cache_dir." if cache is False else ", or no precompute.")
            )

    def cache_info(self):
        """Return the counts of the row cache."""
        if not self.cache or not is_hashable(self.pooling):
            return super().cache_info()
        keys = [
            cache_key(self.backbone, layer, self.pooling, self.precision) for layer in self.layers
        ]
        return cache_info(keys, self.cache_dir)


def _link(logits):
    """Return the probabilities that logits stand for."""
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
