"""Batched eval-mode forward passes to one or several layers."""

import contextlib
import math
import time
import warnings

import numpy as np
import torch
from tqdm.auto import tqdm

from sktransfer.backbones._taps import make_tap, run_taps
from sktransfer.backbones.cache._cache import ROW_CACHE
from sktransfer.backbones.cache._fingerprint import describe_value
from sktransfer.backbones.cache._tiers import Tiers, is_nameable
from sktransfer.backbones.cache._trial import REASONS, find_reasons
from sktransfer.backbones.cache._worth import note_costs, wants_cache
from sktransfer.backbones.images._image_rows import ImageRows
from sktransfer.backbones.speed._compiled import CompiledNetwork, check_compile
from sktransfer.exceptions import RowCacheWarning
from sktransfer.utils._digests import digest_rows
from sktransfer.utils._torch import evaluating, to_tensor

# Rows digested at a time: bounds the memory that a contiguous copy of them takes.
_CHUNK = 512
# A long pass writes to disk whenever so many rows or seconds have come together.
_PART_ROWS, _PART_SECONDS = 1000, 30
# batch_size="auto": so many bytes of input, within these numbers of rows. The maps of small images
# are far larger than the images.
_BATCH_BYTES, _IMAGES, _VECTORS = 32 * 2**20, (16, 128), (64, 4096)

_DIFFER = (
    "Got X with images that differ in size, but expected one size; say how to make them alike: "
    "Backbone(module, input=NetworkInput(channels=3, resize=224, crop=224))."
)


def compute_activations(
    backbone,
    X,
    *,
    layers=("penultimate",),
    pooling="auto",
    image_shape=None,
    batch_size=64,
    device="cpu",
    precision="float32",
    cache="auto",
    cache_dir=None,
    compile=False,
    verbose=0,
):
    """Return the pooled activations of every row at every layer, through the row cache.

    Parameters
    ----------
    backbone : Backbone
    X : ndarray of shape (n, d), (n, height, width) or 4-D
    layers : sequence of str
        One forward pass serves them all.
    pooling : str, callable or tuple of these
        A tuple has one for each layer.
    image_shape : tuple of int or None
    batch_size : int or "auto"
        Rows per forward pass; "auto" goes by the bytes of a row.
    device : str or torch.device
    precision : {"float32", "bfloat16"}
        What the network computes in.
    cache : {"auto", True, False}
        Activations of a network that is random, or mixes the rows of a batch, are never kept; a
        warning says so.
    cache_dir : path-like or None
        Folder of the disk tier of the row cache.
    compile : bool or dict, default=False
        Whether full batches go through `torch.compile`; its options.
    verbose : int
        1 shows a progress bar.

    Returns
    -------
    activations : list of ndarray of shape (n, width of the layer), float32
        NaN for images that cannot be read, if these are no error; if that is so for all, the
        width is not known, and 0.
    """
    X = backbone.input.encode_rows(X)
    backbone.check_rows(X.shape, image_shape)
    layers = tuple(layers)
    poolings = pooling if isinstance(pooling, tuple) else (pooling,) * len(layers)
    taps = [
        make_tap(layer, backbone.layer_names, pooling)
        for layer, pooling in zip(layers, poolings, strict=True)
    ]
    forward = _Forward(
        backbone,
        X,
        layers,
        taps,
        image_shape,
        batch_size=batch_size,
        device=device,
        precision=precision,
        compile_options=check_compile(compile),
        verbose=verbose,
    )
    activations = None
    if wants_cache(cache, backbone, X, image_shape, pooling, layers):
        pairs = zip(layers, poolings, strict=True)
        keys = [cache_key(backbone, *pair, precision) for pair in pairs]
        if not all(is_nameable(pooling) for pooling in poolings) and cache_dir is not None:
            _warn_of_pooling(pooling)
        # Held over look-up and insertion: of two threads with the same rows, one sends them.
        with backbone.borrowed(device):
            if not any(REASONS.get(key) for key in keys):
                activations = _through_cache(forward, keys, cache_dir)
        ROW_CACHE.shrink(keep=keys)
    if activations is None:
        activations = forward.send_all()
    if cache == "auto":
        note_costs(backbone, X, image_shape, layers, forward)
    if isinstance(X, ImageRows):
        X.warn_of_unread(np.flatnonzero(np.isnan(activations[0]).all(axis=1)))
    return activations


def cache_key(backbone, layer, pooling, precision="float32"):
    """Return the key of the store that holds these activations of this backbone.

    What a function or an object computes may change while it stays the same object, so what it
    holds is part of the key.
    """
    state = (describe_value(pooling),) if callable(pooling) else ()
    return backbone.fingerprint, layer, pooling, precision, *state


def _through_cache(forward, keys, cache_dir):
    """Return the activations, or None if those of this network must not be kept."""
    tiers = [Tiers(key, cache_dir) for key in keys]
    digests = forward.digests()
    found = [tier.fetch(digests) for tier in tiers]
    results = [values for _, values in found]
    held = np.array([held for held, _ in found])
    missing = np.flatnonzero(~held.all(axis=0))
    # Of rows that occur several times, the first is sent.
    sent = {}
    for row in missing:
        sent.setdefault(digests[row], row)
    part = _Part(forward, tiers, digests, held)
    tries = not all(key in REASONS for key in keys)
    batches = forward.send(np.array(list(sent.values()), dtype=np.intp), tries=tries)
    with contextlib.closing(batches), part:
        for rows, blocks in batches:
            if forward.is_tried:
                REASONS.update(dict.fromkeys(keys))
            results = [
                _fill(result, len(digests), rows, block)
                for result, block in zip(results, blocks, strict=True)
            ]
            part.add(rows[forward.is_read(rows)], results)
    if any(forward.reasons):
        REASONS.update(zip(keys, forward.reasons, strict=True))
        _warn_of_network(forward)
        return None
    _check_sizes(forward, tiers[0].store.shapes, digests, part.read_rows())
    repeated = [row for row in missing if sent[digests[row]] != row]
    firsts = [sent[digests[row]] for row in repeated]
    for tier, result in zip(tiers, results, strict=True):
        result[repeated] = result[firsts]
        tier.finish()
    return results


def _fill(result, n_rows, rows, block):
    """Put the activations of some rows into those of all, which are made once the width is known.

    Nothing is known of it while no image could be read.
    """
    if result is not None and 0 < block.shape[1] != result.shape[1] > 0:
        raise ValueError(_DIFFER)
    if result is None or result.shape[1] < block.shape[1]:
        result = np.full((n_rows, block.shape[1]), np.nan, dtype=np.float32)
    result[rows] = block if block.shape[1] else np.nan
    return result


def _check_sizes(forward, shapes, digests, sent):
    """Raise if images that are in the cache differ in size among them, or from those sent.

    As they would without a cache. Of those whose size this process does not know it is read.

    Parameters
    ----------
    shapes : dict
        From digests to what is known; it is added to.
    digests : list of bytes
    sent : ndarray of int
        Rows.
    """
    if not forward.takes_any_shape():
        return
    shapes.update((digests[row], forward.shape) for row in sent)
    rows = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    unknown = np.array([row for digest, row in rows.items() if digest not in shapes], dtype=int)
    unknown = unknown[forward.is_read(unknown)]
    with contextlib.closing(forward.read_batches(unknown[:, np.newaxis])) as batches:
        for row, inputs in zip(unknown, batches, strict=True):
            if len(inputs):
                shapes[digests[row]] = inputs.shape[1:]
    differing = {shapes[digest]: row for digest, row in rows.items() if digest in shapes}
    if len(differing) > 1:
        # This says which images these are.
        forward.read(np.sort(list(differing.values())[:2]))
        raise ValueError(_DIFFER)


class _Part:
    """Rows that were computed and are still to be kept; a context manager that keeps the last."""

    def __init__(self, forward, tiers, digests, held):
        self.forward, self.tiers = forward, tiers
        self.digests, self.held, self.results = digests, held, ()
        # In memory, all at once, so that the store grows once.
        self.writes = any(tier.folder is not None for tier in tiers)
        self._rows, self._n_rows, self._started = [], 0, time.perf_counter()
        self._seconds, self._all_rows = 0.0, []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # Also of a pass that was interrupted.
        self.keep()

    def add(self, rows, results):
        self.results = results
        self._rows.append(rows)
        self._all_rows.append(rows)
        self._n_rows += len(rows)
        is_due = time.perf_counter() - self._started > _PART_SECONDS
        if self.writes and (self._n_rows >= _PART_ROWS or is_due):
            self.keep()

    def read_rows(self):
        """Return all rows that were sent and could be read."""
        return np.concatenate([np.empty(0, dtype=np.intp), *self._all_rows])

    def keep(self):
        if not self._rows:
            return
        rows = np.concatenate(self._rows)
        seconds = self.forward.seconds - self._seconds
        for tier, held, result in zip(self.tiers, self.held, self.results, strict=True):
            tier.store.add_time(len(rows), seconds)
            new = rows[~held[rows]]
            if len(new):
                tier.keep([self.digests[row] for row in new], result, new)
        self._rows, self._n_rows, self._started = [], 0, time.perf_counter()
        self._seconds = self.forward.seconds


def _warn_of_network(forward):
    found = zip(forward.layers, forward.reasons, strict=True)
    reasons = "; ".join(f"at {layer!r}, {reason}" for layer, reason in found if reason)
    warnings.warn(
        f"The activations of {forward.backbone!r} are not kept in the row cache, and every row is "
        f"sent each time: {reasons}. Expected a network that gives a row the same "
        "activations in every pass; with cache=False this is not tried.",
        RowCacheWarning,
        stacklevel=2,
    )


def _warn_of_pooling(pooling):
    warnings.warn(
        f"Got pooling={pooling!r}, whose code is not known, so cache_dir is not used; expected a "
        "plain function.",
        RowCacheWarning,
        stacklevel=2,
    )


class _Forward:
    """Sends chosen rows of one array through one backbone, batch by batch.

    Attributes
    ----------
    n_sent, n_batches, seconds : int, int, float
        What was sent so far, and the time that took.
    fastest : float
        The least seconds that a row of a batch took.
    reasons : list of str or None
        Why activations must not be kept, for each layer.
    """

    def __init__(
        self,
        backbone,
        X,
        layers,
        taps,
        image_shape,
        *,
        batch_size,
        device,
        precision,
        compile_options,
        verbose,
    ):
        self.backbone, self.X, self.image_shape = backbone, X, image_shape
        self.layers, self.taps = layers, taps
        self.batch_size, self.compile_options = batch_size, compile_options
        # Rows of a full batch, once it is known.
        self.size = None
        self.device, self.precision, self.verbose = torch.device(device), precision, verbose
        self.n_sent = self.n_batches = 0
        self.seconds, self.fastest = 0.0, np.inf
        self.reasons, self.is_tried = [], False
        # Numbers of the rows that are images which cannot be read.
        self._unread = set()
        self._widths = [0] * len(taps)
        # Of the rows that were sent.
        self.shape = None

    def prepare(self, rows):
        return self.backbone.input.prepare(self.X[rows], self.image_shape)

    def takes_any_shape(self):
        """Tell whether the rows are images whose shape is not the same for all by preparation."""
        wanted = self.backbone.input
        is_fixed = wanted.find_size() is not None and wanted.channels is not None
        return isinstance(self.X, ImageRows) and not is_fixed

    def is_read(self, rows):
        """Tell which rows could be read, as a boolean mask."""
        return ~np.isin(rows, list(self._unread))

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

    def send_all(self):
        """Return the activations of all rows at every layer."""
        results = [None] * len(self.taps)
        with contextlib.closing(self.send(np.arange(len(self.X)))) as batches:
            for rows, blocks in batches:
                results = [
                    _fill(result, len(self.X), rows, block)
                    for result, block in zip(results, blocks, strict=True)
                ]
        return results

    def send(self, rows, tries=False):
        """Yield rows and their activations at every layer, batch by batch.

        Parameters
        ----------
        rows : ndarray of int
        tries : bool, default=False
            Whether to try if a row gives the same in another batch. If not so at some layer,
            ``reasons`` say why, and nothing more is yielded.
        """
        if not len(rows):
            return
        self.size = size = self._choose_batch_size(rows)
        with self.backbone.borrowed(self.device) as lent, evaluating(lent), self._bar(rows) as bar:
            network, start, blocks = self._begin(lent, rows, size, tries)
            if tries and any(self.reasons):
                return
            bar.update(start)
            yield rows[:start], blocks
            rest = [rows[i : i + size] for i in range(start, len(rows), size)]
            with contextlib.closing(self.read_batches(rest)) as prepared:
                for batch, inputs in zip(rest, prepared, strict=True):
                    blocks = self.send_batch(network, batch, inputs)
                    if tries and not self.is_tried:
                        self._try(network, batch, blocks)
                        if any(self.reasons):
                            return
                    bar.update(len(batch))
                    yield batch, blocks

    def _begin(self, lent, rows, size, tries):
        """Return the network to use, how many rows were sent to find it, and their activations."""
        fast_networks = self.backbone._fast_networks
        network, may_become_faster = fast_networks.find(lent, self)
        if may_become_faster:
            network, self.is_tried = fast_networks.watch(lent, self, rows)
        blocks = self.send_batch(network, rows[:size])
        start = len(blocks[0])
        if tries and not self.is_tried:
            self._try(network, rows[:start], blocks)
        return network, start, blocks

    def _try(self, network, rows, blocks):
        """Find out whether activations may be kept, once a row could be read."""
        read = np.flatnonzero(self.is_read(rows))
        if len(read):
            last = [block[read[-1]] for block in blocks]
            self.reasons = find_reasons(self, network, rows[read[-1]], last)
            self.is_tried = True

    def _bar(self, rows):
        name = f"{self.backbone.name}: activations"
        return tqdm(total=len(rows), desc=name, unit="row", disable=not self.verbose)

    def read(self, rows):
        """Return those of a few rows that can be read, and these prepared."""
        (inputs,) = self.read_batches([rows])
        return rows[self.is_read(rows)], inputs

    def read_batches(self, batches):
        """Yield what could be read of each batch, prepared; images are read ahead of their use."""
        if not isinstance(self.X, ImageRows):
            yield from map(self.prepare, batches)
            return
        reading = self.X.read(batches, self.backbone.input)
        rows = np.concatenate([np.empty(0, dtype=np.intp), *batches])
        for inputs in reading:
            self._unread.update(rows[reading.unread].tolist())
            yield inputs

    def run(self, network, inputs):
        """Send one batch, as an array that is prepared; return arrays of shape (n, width).

        Parameters
        ----------
        network : nn.Module or CompiledNetwork
        inputs : ndarray
        """
        inputs = to_tensor(inputs).to(self.device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.precision != "float32":
            inputs = self.backbone.input.cast(inputs, getattr(torch, self.precision))
        # Autocast of the caller is not part of what the row cache goes by.
        exact = torch.autocast(self.device.type, enabled=False)
        with torch.inference_mode(), exact, self._explaining(inputs):
            if isinstance(network, CompiledNetwork):
                values = network.send(inputs)
            else:
                values = run_taps(network, inputs, self.taps)
            return [value.float().cpu().numpy() for value in values]

    def _choose_batch_size(self, rows):
        if self.batch_size != "auto":
            return self.batch_size
        shape = self._find_row_shape(rows)
        low, high = _IMAGES if len(shape) > 1 else _VECTORS
        # A power of two, which splits evenly among threads.
        size = 2 ** int(np.log2(max(1, _BATCH_BYTES // max(1, 4 * math.prod(shape)))))
        return int(np.clip(size, low, high))

    def _find_row_shape(self, rows):
        """Return the shape of a prepared row; images are read for it only if nothing else tells."""
        if not isinstance(self.X, ImageRows):
            return self.prepare(rows[:1]).shape[1:]
        size, channels = self.backbone.input.find_size(), self.backbone.input.channels
        if size is not None and channels is not None:
            return channels, *size
        for i in range(len(rows)):
            read, inputs = self.read(rows[i : i + 1])
            if len(read):
                return inputs.shape[1:]
        # None can be read, so no batch will be sent.
        return 1, 1, 1

    def send_batch(self, network, rows, inputs=None):
        """Return the activations of a few rows, and take their time.

        Parameters
        ----------
        network : nn.Module
        rows : ndarray of int
        inputs : ndarray, default=None
            Those that could be read, prepared; None: they are read here.
        """
        if inputs is None:
            _, inputs = self.read(rows)
        if not len(inputs):
            return [np.full((len(rows), width), np.nan, np.float32) for width in self._widths]
        self._check_shape(inputs.shape[1:])
        if self.compile_options is not None and len(inputs) == self.size:
            # Others would be compiled for once more, each taking longer than it runs.
            network = self.backbone._compiled_networks.find(network, self, inputs)
        started = time.perf_counter()
        blocks = self.run(network, inputs)
        seconds = time.perf_counter() - started
        if not all(np.isfinite(block).all() for block in blocks):
            raise ValueError(
                f"Got NaN or infinity from the network of {self.backbone!r} for rows that are "
                "finite; check its weights, and the scale of X that it expects."
            )
        self.seconds += seconds
        self.n_sent, self.n_batches = self.n_sent + len(rows), self.n_batches + 1
        self.fastest = min(self.fastest, seconds / len(rows))
        self._widths = [block.shape[1] for block in blocks]
        if len(inputs) == len(rows):
            return blocks
        return [_fill(None, len(rows), self.is_read(rows), block) for block in blocks]

    def _check_shape(self, shape):
        # Images are compared where they are read, but one reading is not the whole pass.
        if self.shape not in (None, shape):
            raise ValueError(_DIFFER)
        self.shape = shape

    @contextlib.contextmanager
    def _explaining(self, inputs):
        """Say what the network was given when it fails, as it does on rows of a wrong shape."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, TypeError) as error:
            is_cast = inputs.dtype != torch.float32
            raise ValueError(
                f"Got X with {self._describe_rows()}, which reached the network of "
                f"{self.backbone!r} as a batch of shape {tuple(inputs.shape)}, and it failed: "
                f"{error}. Expected rows that it takes; image_shape=... or "
                "Backbone(module, input=NetworkInput(channels=...)) say how to read them."
                + (f" Or it cannot compute in {inputs.dtype}; use precision='float32'." * is_cast)
            ) from error

    def _describe_rows(self):
        return f"rows of shape {self.X.shape[1:]}" if self.X.ndim > 1 else "images"
