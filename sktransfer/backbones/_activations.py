"""Batched eval-mode forward passes to one or several layers."""

import collections.abc
import contextlib

import numpy as np
import torch
from tqdm.auto import tqdm

from sktransfer.backbones._cache import ROW_CACHE, digest_rows
from sktransfer.backbones._image_rows import ImageRows
from sktransfer.backbones._taps import make_tap, run_taps
from sktransfer.utils._torch import evaluating, to_tensor

# Below this many parameters a forward pass on a vector costs less than digesting the row.
_CACHED_FROM = 50_000
# Rows digested at a time: bounds the memory that a contiguous copy of them takes.
_CHUNK = 512


def compute_activations(
    backbone,
    X,
    *,
    layers=("penultimate",),
    pooling="auto",
    image_shape=None,
    batch_size=64,
    device="cpu",
    cache="auto",
    verbose=0,
):
    """Return the pooled activations of every row at every layer, through the row cache.

    Parameters
    ----------
    backbone : Backbone
    X : ndarray of shape (n, d), (n, height, width) or 4-D, or ImageRows
    layers : sequence of str
        One forward pass serves them all.
    pooling : str, callable or tuple of these
        A tuple has one for each layer.
    image_shape : tuple of int or None
    batch_size : int
        Rows per forward pass.
    device : str or torch.device
    cache : {"auto", True, False}
    verbose : int
        1 shows a progress bar.

    Returns
    -------
    activations : list of ndarray of shape (n, width of the layer), float32
        NaN for images that cannot be read, if these are no error; if that is so for all, the
        width is not known, and 0.
    """
    backbone.check_rows(X.shape, image_shape)
    poolings = pooling if isinstance(pooling, tuple) else (pooling,) * len(layers)
    taps = [
        make_tap(layer, backbone.layer_names, pooling)
        for layer, pooling in zip(layers, poolings, strict=True)
    ]
    forward = _Forward(backbone, X, taps, image_shape, batch_size, device, verbose)
    if not wants_cache(cache, backbone, X, image_shape, pooling):
        return _checked(X, forward(np.arange(len(X))))
    keys = [cache_key(backbone, *pair) for pair in zip(layers, poolings, strict=True)]
    # Held over look-up and insertion: of two threads with the same rows, one sends them.
    with backbone.borrowed(device):
        activations = _through_cache(forward, [ROW_CACHE[key] for key in keys])
    ROW_CACHE.shrink(keep=keys)
    return _checked(X, activations)


def _checked(X, activations):
    """Return activations, after a warning if they lack those of images that cannot be read."""
    if isinstance(X, ImageRows):
        X.warn_of_unread(np.flatnonzero(np.isnan(activations[0]).all(axis=1)))
    return activations


def cache_key(backbone, layer, pooling):
    """Return the key of the store that holds these activations of this backbone."""
    return backbone.fingerprint, layer, pooling


def wants_cache(cache, backbone, X, image_shape, pooling):
    """Resolve ``cache="auto"``: digesting a row must cost less than sending it."""
    if not isinstance(pooling, collections.abc.Hashable):
        return False
    if cache != "auto":
        return cache
    is_image = X.ndim != 2 or image_shape is not None
    return (is_image and backbone.n_parameters > 0) or backbone.n_parameters >= _CACHED_FROM


def _through_cache(forward, stores):
    digests = forward.digests()
    found = [store.lookup(digests) for store in stores]
    missing = np.flatnonzero(~np.logical_and.reduce([held for held, _ in found]))
    # Of rows that occur several times, the first is sent.
    sent = {}
    for row in missing:
        sent.setdefault(digests[row], row)
    computed = forward(np.array(list(sent.values()))) if sent else [None] * len(stores)
    positions = {digest: i for i, digest in enumerate(sent)}

    results = []
    for store, (held, values), new in zip(stores, found, computed, strict=True):
        width = max(part.shape[1] for part in (values, new) if part is not None)
        result = np.empty((len(digests), width), dtype=np.float32)
        if held.any():
            result[held] = values
        if new is not None:
            if not new.shape[1]:
                # Nothing could be read of what was missing.
                new = np.full((len(new), width), np.nan, dtype=np.float32)
            result[missing] = new[[positions[digests[row]] for row in missing]]
            known = forward.find_read(len(new))
            store.insert([digest for digest, k in zip(sent, known, strict=True) if k], new[known])
        results.append(result)
    return results


class _Forward:
    """Sends chosen rows of one array through one backbone, batch by batch."""

    def __init__(self, backbone, X, taps, image_shape, batch_size, device, verbose):
        self.backbone, self.X, self.image_shape = backbone, X, image_shape
        self.taps = taps
        self.batch_size = batch_size
        self.device, self.verbose = torch.device(device), verbose
        # Positions among the rows of the last call of images that could not be read.
        self.unread = []

    def prepare(self, rows):
        return self.backbone.input.prepare(self.X[rows], self.image_shape)

    def find_read(self, n_rows):
        """Tell which of the rows of the last call were read, as a boolean mask."""
        mask = np.ones(n_rows, dtype=bool)
        mask[self.unread] = False
        return mask

    def digests(self):
        """Return the digests of all rows as the network reads them.

        They are digested as they come, neither resized nor normalised: bytes are a quarter as many
        as float32, and nothing is prepared where all rows are in the cache. Channels are last, as
        image files have them, so that those are not copied.
        """
        if isinstance(self.X, ImageRows):
            return self.X.digests()
        digests = []
        for start in range(0, len(self.X), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            rows = self.backbone.input.lay_out(self.X[chunk], self.image_shape)
            if rows.dtype != np.uint8:
                rows = np.asarray(rows, dtype=np.float32)
            rows = np.moveaxis(rows, 1, -1)
            digests += digest_rows(rows)
        return digests

    def __call__(self, rows):
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        with (
            self.backbone.borrowed(self.device) as network,
            evaluating(network),
            contextlib.closing(self._read(batches)) as prepared,
        ):
            outputs = [self._run_batch(network, inputs) for inputs in prepared]
        activations = [np.concatenate(parts) for parts in zip(*filter(None, outputs), strict=True)]
        if not all(np.isfinite(block).all() for block in activations):
            raise ValueError(
                f"Got NaN or infinity from the network of {self.backbone!r} for rows that are "
                "finite; check its weights, and the scale of X that it expects."
            )
        return self._with_unread(activations, len(rows))

    def _read(self, batches):
        """Yield the prepared rows of each batch; images are read ahead of their use."""
        name = f"{self.backbone.name}: activations"
        progress = tqdm(total=len(batches), desc=name, unit="batch", disable=not self.verbose)
        reads_images = isinstance(self.X, ImageRows)
        if reads_images:
            prepared = self.X.read(batches, self.backbone.input)
        else:
            prepared = map(self.prepare, batches)
        with progress:
            for inputs in prepared:
                yield inputs
                progress.update()
        self.unread = prepared.unread if reads_images else []

    def _with_unread(self, activations, n_rows):
        """Return activations of all rows: NaN where images could not be read."""
        if not self.unread:
            return activations
        if not activations:
            return [np.empty((n_rows, 0), dtype=np.float32) for _ in self.taps]
        read = self.find_read(n_rows)
        complete = [np.full((n_rows, a.shape[1]), np.nan, dtype=a.dtype) for a in activations]
        for whole, part in zip(complete, activations, strict=True):
            whole[read] = part
        return complete

    def _run_batch(self, network, inputs):
        if not len(inputs):
            return None
        inputs = to_tensor(inputs).to(self.device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), self._explaining(inputs):
            return [a.float().cpu().numpy() for a in run_taps(network, inputs, self.taps)]

    @contextlib.contextmanager
    def _explaining(self, inputs):
        """Say what the network was given when it fails, as it does on rows of a wrong shape."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, TypeError) as error:
            raise ValueError(
                f"Got X with {self._describe_rows()}, which reached the network of "
                f"{self.backbone!r} as a batch of shape {tuple(inputs.shape)}, and it failed: "
                f"{error}. Expected rows that it takes; image_shape=... or "
                "Backbone(module, input=NetworkInput(channels=...)) say how to read them."
            ) from error

    def _describe_rows(self):
        return f"rows of shape {self.X.shape[1:]}" if self.X.ndim > 1 else "images"
