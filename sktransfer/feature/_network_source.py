"""Activations of a network as features."""

import numpy as np
from scipy.special import expit, softmax

from sktransfer.backbones._activations import cache_key, compute_activations
from sktransfer.backbones._cache import ROW_CACHE
from sktransfer.backbones._image_rows import ImageRows
from sktransfer.backbones._layers import resolve_layers
from sktransfer.backbones._tiers import cache_info
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
        How `compute_activations` goes about it: batch_size, device.
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
        X = estimator._check_rows(X, reset=reset)
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
        # One row tells the widths; through the cache, so that it is not sent again.
        blocks = self.compute(X[:1], n_rows=1)
        self.dtypes = [block.dtype for block in blocks]
        self.columns = [
            [f"{layer}_{i}" for i in range(block.shape[1])]
            for layer, block in zip(self.layers, blocks, strict=True)
        ]

    def compute(self, X, *, n_rows, verbose=0):
        """Return the activations of each layer, float32, through the row cache."""
        blocks = compute_activations(
            self.backbone,
            X,
            layers=self.layers,
            pooling=self.pooling,
            image_shape=self.image_shape,
            cache=self.cache if self._fits_the_cache(n_rows) else False,
            cache_dir=self.cache_dir,
            precision=self.precision,
            verbose=verbose,
            **self.options,
        )
        if not blocks[0].shape[1]:
            # Not one image could be read.
            return [np.full((len(X), len(c)), np.nan, np.float32) for c in self.columns]
        return [_link(block) for block in blocks] if self.output == "proba" else blocks

    def _fits_the_cache(self, n_rows):
        """Tell whether all rows may be kept: they are only if asked for where they are too many."""
        if self.cache is True or self.cache_dir is not None or n_rows == 1:
            return True
        return n_rows * _BYTES * sum(map(len, self.columns)) <= ROW_CACHE.budget

    def cache_info(self):
        """Return the counts of the row cache."""
        if not self.cache:
            return super().cache_info()
        keys = [
            cache_key(self.backbone, layer, self.pooling, self.precision) for layer in self.layers
        ]
        return cache_info(keys, self.cache_dir)


def _link(logits):
    """Return the probabilities that logits stand for."""
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
