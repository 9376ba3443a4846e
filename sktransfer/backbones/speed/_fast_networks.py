"""Copies of a network that compute the same in less time; a backbone keeps them per process."""

import collections

import torch

from sktransfer.backbones.cache._trial import agrees
from sktransfer.backbones.speed._folding import PairRecorder, fold, may_fold
from sktransfer.utils._torch import copy_module

# Rows of the pass that is watched; few, since the maps of many layers are held during it.
_N_WATCHED = 4
# Networks kept, one for each set of layers. They share the weights that are not folded.
_N_KEPT = 4


class FastNetworks:
    """The fast copies of one network, made when they are first needed.

    Of a network with BatchNorm behind convolutions, there is a second set of the weights of these
    convolutions in memory, one for each of the last four sets of layers; of one in bfloat16, a copy
    of half the size.
    """

    def __init__(self):
        self._ready = collections.OrderedDict()
        self._cast = {}

    def find(self, network, forward):
        """Return the network to send rows through, and whether it may still become faster."""
        key = _make_key(forward)
        # Hooks may have come since.
        foldable = may_fold(network)
        if key in self._ready and foldable:
            self._ready.move_to_end(key)
            return self._ready[key], False
        return self._base(network, forward), foldable

    def watch(self, network, forward, rows):
        """Send a few rows, and fold what can be folded if a row comes out the same.

        Always at the first pass, and what these rows gave is not used: so the features of a row do
        not depend on which passes came before, to the bit.

        Returns
        -------
        fast : nn.Module
            What to send all rows through.
        is_verified : bool
            Whether a row was found to give the same beside another row, to the tolerance of
            float32.
        """
        base = self._base(network, forward)
        few, inputs = forward.read(rows[:_N_WATCHED])
        if not len(few):
            # Images that cannot be read: a later pass may fold.
            return base, False
        try:
            with PairRecorder(base) as recorder:
                blocks = forward.run(base, inputs)
        except ValueError:
            # Code that cannot be watched still runs; what is wrong with the rows shows again.
            self._keep(forward, base)
            return base, False
        pairs = recorder.list_pairs([str(layer) for layer in forward.layers])
        if not pairs:
            self._keep(forward, base)
            return base, False
        folded = fold(network, pairs, share=forward.precision == "float32")
        folded = self._cast_to(folded, forward.precision)
        if not agrees(forward, folded, few[-1], [block[-1] for block in blocks]):
            self._keep(forward, base)
            return base, False
        self._keep(forward, folded)
        self._cast.clear()
        return folded, forward.precision == "float32"

    def _keep(self, forward, network):
        self._ready[_make_key(forward)] = network
        while len(self._ready) > _N_KEPT:
            self._ready.popitem(last=False)

    def _base(self, network, forward):
        if forward.precision == "float32":
            return network
        key = str(forward.device), forward.precision
        if key not in self._cast:
            self._cast[key] = self._cast_to(copy_module(network), forward.precision)
        return self._cast[key]

    @staticmethod
    def _cast_to(network, precision):
        return network if precision == "float32" else network.to(getattr(torch, precision))


def _make_key(forward):
    return str(forward.device), forward.precision, forward.layers
