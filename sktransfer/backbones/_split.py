"""A network cut in two: frozen layers that run once per row, and a tail that is trained.

No graph is traced. The tail is the network's own forward in which every layer before the cut is
skipped, so code between the layers runs as ever; whether that gives the network's features is
tried on a few rows.
"""

import dataclasses
import functools
import itertools
import math

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from sktransfer.backbones._taps import LayerTap, run_taps
from sktransfer.utils._torch import copy_module, seeded


@dataclasses.dataclass(frozen=True)
class Blank:
    """The form of a tensor whose values nobody needs."""

    shape: tuple
    dtype: torch.dtype
    has_rows: bool

    @classmethod
    def of(cls, tensor, n_rows):
        """Describe a tensor from a batch of ``n_rows``, with a first axis for these or not."""
        has_rows = tensor.ndim > 0 and len(tensor) == n_rows
        return cls(tuple(tensor.shape[has_rows:]), tensor.dtype, has_rows)

    def make(self, n_rows, device, fill=None):
        """Return such a tensor for a batch of ``n_rows``, by default with arbitrary values."""
        shape = (n_rows, *self.shape) if self.has_rows else self.shape
        if not self.dtype.is_floating_point:
            return torch.zeros(shape, dtype=self.dtype, device=device)
        tensor = torch.empty(shape, dtype=self.dtype, device=device)
        return tensor if fill is None else tensor.fill_(fill)


@dataclasses.dataclass(frozen=True)
class Split:
    """Where a network is cut, as plain data: behind the first call of one layer.

    Parameters
    ----------
    layer : str
        Name of that layer in the network of the extractor. `compute_activations` with it and
        ``pooling="flatten"`` gives what the tail takes.
    shape : tuple of int
        Shape of its activations for one row.
    output : structure of Blank
        What the layer returns: one tensor, perhaps in a tuple.
    skipped : tuple of (str, tuple of structure of Blank)
        Layers that the tail skips, other than those inside of skipped ones, with what they
        returned, call by call.
    inputs : Blank
        What the network takes.
    short_blanks : bool, default=False
        Blanks have one row, which makes them free, rather than one for each row of the batch,
        which code between the layers may count on.
    """

    layer: str
    shape: tuple
    output: object
    skipped: tuple
    inputs: Blank
    short_blanks: bool = False


class Tail(nn.Module):
    """What a network does behind a cut: activations of the cut layer in, features out.

    It holds the extractor itself, not a copy: what is trained here is trained there, and hooks on
    layers behind the cut fire. Layers before the cut are not run, whatever mode they are in.

    Parameters
    ----------
    extractor : FeatureExtractor
    split : Split
        Of this extractor or an equal one.
    fill : float, default=None
        Value of the tensors that stand in for what is not computed; None leaves it to chance.
    """

    def __init__(self, extractor, split, fill=None):
        super().__init__()
        self.extractor = extractor
        self.split = split
        self.fill = fill
        # In lists, since as attributes they would be registered a second time.
        find = extractor.network.get_submodule
        self._cut = [find(split.layer)]
        self._skipped = [(find(name), outputs) for name, outputs in split.skipped]

    def forward(self, activations):
        """Return the features of a batch.

        Parameters
        ----------
        activations : Tensor of shape (n, prod(split.shape)) or (n, *split.shape)

        Returns
        -------
        features : Tensor of shape (n, d)
        """
        n_rows = len(activations)
        # Copied, since the first layer of the tail may work in place.
        activations = activations.reshape(n_rows, *self.split.shape).clone()
        n_blank_rows = 1 if self.split.short_blanks else n_rows
        originals = []

        def make(blank):
            return blank.make(n_blank_rows, activations.device, self.fill)

        def replace(layer, forward):
            originals.append((layer, layer.__dict__.get("forward")))
            layer.__dict__["forward"] = forward

        def put_back():
            while originals:
                layer, forward = originals.pop()
                if forward is None:
                    del layer.__dict__["forward"]
                else:
                    layer.__dict__["forward"] = forward

        def stand_in(outputs):
            outputs = itertools.chain(outputs, itertools.repeat(outputs[-1]))
            return lambda *args, **kwargs: _fill_in(next(outputs), make)

        def resume(*args, **kwargs):
            # From here on everything runs, also a layer that was called before.
            put_back()
            return _fill_in(self.split.output, lambda blank: activations)

        try:
            for layer, outputs in self._skipped:
                replace(layer, stand_in(outputs))
            replace(self._cut[0], resume)
            features = self.extractor(make(self.split.inputs))
            is_resumed = not originals
        finally:
            put_back()
        if not is_resumed:
            raise RuntimeError(
                f"The network was cut behind its layer {self.split.layer!r}, but now it did not "
                "call this layer; expected the same layers to be called for every batch."
            )
        return features


def _fill_in(output, make):
    # Most layers return a tensor, and this runs for every layer in every step.
    return make(output) if isinstance(output, Blank) else tree_map_only(Blank, make, output)


def find_split(extractor, inputs):
    """Look for the last place where a network can be cut before its first trained layer.

    Layers before the cut act as in eval mode. The extractor is left as it is; everything is tried
    on a copy.

    Parameters
    ----------
    extractor : FeatureExtractor
        ``requires_grad`` of its parameters says what is going to be trained.
    inputs : Tensor of shape (n, ...)
        At least two different rows as the network takes them; a handful is enough.

    Returns
    -------
    split : Split or None
    reason : str or None
        Why there is no split.
    """
    if len(inputs) < 2:
        raise ValueError(f"Got inputs of {len(inputs)} row, but expected at least two.")
    extractor = copy_module(extractor).eval()
    calls, features = _record_calls(extractor, inputs)
    if not features.requires_grad:
        return None, "nothing that the features depend on is trained"
    frozen = list(itertools.takewhile(lambda call: not call.is_trained, calls))
    weighted = [any(True for _ in call.layer.parameters()) for call in frozen]
    if not any(weighted):
        return None, "no frozen layer with weights comes before the first trained one"
    trial = _Trial(extractor, inputs)
    faults = []
    for i in reversed(range(weighted.index(True), len(frozen))):
        call = frozen[i]
        if call.gives_one_tensor and all(earlier.layer is not call.layer for earlier in frozen[:i]):
            split, fault = trial.run(_make_split(call, frozen[:i], inputs), frozen[: i + 1])
            if split is not None:
                return split, None
            faults.append(fault)
    if faults:
        return None, faults[0]
    return None, "no layer before the first trained one gives one tensor with a row for each input"


@dataclasses.dataclass(eq=False)
class _Call:
    """One call of a layer during a forward pass."""

    name: str
    layer: nn.Module
    caller: "_Call | None"
    output: object = None
    is_trained: bool = False
    gives_one_tensor: bool = False

    def finish(self, output, n_rows):
        leaves = tree_leaves(output)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.is_trained = any(tensor.requires_grad for tensor in tensors)
        self.output = tree_map_only(torch.Tensor, lambda t: Blank.of(t, n_rows), output)
        # Of several, a tap would take the first.
        self.gives_one_tensor = (
            len(tensors) == 1
            and leaves[0] is tensors[0]
            and tensors[0].is_floating_point()
            and Blank.of(tensors[0], n_rows).has_rows
        )

    def callers(self):
        """Return the calls during which this one happened; None stands for the network."""
        callers = [self.caller]
        while callers[-1] is not None:
            callers.append(callers[-1].caller)
        return callers


def _record_calls(extractor, inputs):
    """Return the calls of all layers, in the order in which they end, and the features.

    Gradients are followed, for that tells exactly what depends on a trained parameter, whichever
    layer owns it and whichever uses it.
    """
    calls, running = [], []

    def start(name, layer, args):
        running.append(_Call(name, layer, running[-1] if running else None))

    def end(layer, args, output):
        call = running.pop()
        # A network may catch an exception that ended other calls.
        while call.layer is not layer:
            call = running.pop()
        call.finish(output, len(inputs))
        calls.append(call)

    handles = []
    try:
        for name, layer in extractor.network.named_modules():
            if name:
                handles += [
                    layer.register_forward_pre_hook(functools.partial(start, name)),
                    layer.register_forward_hook(end),
                ]
        with torch.enable_grad():
            features = extractor(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, features


def _make_split(cut, earlier, inputs):
    """Describe the cut behind one call; ``earlier`` are the calls that had ended by then."""
    callers = cut.callers()
    skipped = {}
    for call in earlier:
        if call.caller in callers:
            skipped.setdefault(call.name, []).append(call.output)
    (activations,) = (leaf for leaf in tree_leaves(cut.output) if isinstance(leaf, Blank))
    return Split(
        layer=cut.name,
        shape=activations.shape,
        output=cut.output,
        skipped=tuple((name, tuple(outputs)) for name, outputs in skipped.items()),
        inputs=Blank.of(inputs, len(inputs)),
    )


class _Trial:
    """Tells whether activations and tail together give what the whole network gives."""

    def __init__(self, extractor, inputs):
        self.extractor, self.inputs = extractor, inputs
        # Fewer rows in another order: shows what depends on a row's place or on their number.
        self.order = torch.arange(len(inputs) - 1, 0, -1)
        with torch.no_grad():
            self.features = extractor(inputs)
            self.reordered = extractor(inputs[self.order])

    @torch.no_grad()
    def run(self, split, frozen):
        """Return the split, with blanks as short as they can be, or None and what is wrong.

        ``frozen`` are the calls up to the cut.
        """
        activations = _attempt(self._run_prefix, split, self.inputs)
        if activations is None:
            return None, f"the layer {split.layer!r} is not called when no gradient is wanted"
        if not _attempt(self._keeps_rows_apart, split, activations):
            return None, f"what the layer {split.layer!r} gives for a row depends on other rows"
        for short_blanks in (True, False):
            split = dataclasses.replace(split, short_blanks=short_blanks)
            if _attempt(self._is_right, split, activations, frozen):
                return split, None
        return None, f"what follows the layer {split.layer!r} needs more than its output"

    def _run_prefix(self, split, inputs):
        tap = LayerTap(split.layer, pooling="flatten")
        return run_taps(self.extractor.network, inputs, [tap])[0]

    def _keeps_rows_apart(self, split, activations):
        return _are_close(self._run_prefix(split, self.inputs[-1:]), activations[-1:])

    def _is_right(self, split, activations, frozen):
        # What leaks from before the cut turns up as NaN, or where it is only compared, as for a
        # mask, in one of the two results. A layer that remembers its last batch saw other rows.
        with_nan = Tail(self.extractor, split, fill=math.nan)
        with_zero = Tail(self.extractor, split, fill=0.0)
        return (
            _are_close(with_nan(activations), self.features)
            and _are_close(with_zero(activations[self.order]), self.reordered)
            and self._is_right_in_training(split, activations, frozen)
        )

    def _is_right_in_training(self, split, activations, frozen):
        # A copy, since normalisation layers change in training.
        extractor = copy_module(self.extractor).train()
        for call in frozen:
            extractor.network.get_submodule(call.name).eval()
        with seeded(0):
            features = extractor(self.inputs)
        with seeded(0):
            return _are_close(Tail(extractor, split, fill=math.nan)(activations), features)


def _attempt(step, *args):
    """Return what a step gives, or None where it fails.

    The network may be run with tensors that are none of what it expects, which can end in any
    exception.
    """
    try:
        return step(*args)
    except Exception:
        return None


def _are_close(one, other):
    if one.shape != other.shape:
        return False
    scale = other.abs().max().item()
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * scale)
