"""Backbone: a pretrained network as an immutable value that clones share."""

import contextlib
import functools
import json
import threading
import weakref

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin

from sktransfer.backbones import _weights_file
from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._pretraining_report import PretrainingReport, read_report
from sktransfer.backbones.cache._fingerprint import digest_network
from sktransfer.backbones.images._channels import warn_of_conversion
from sktransfer.backbones.images._resize import as_pair
from sktransfer.backbones.speed._compiled import CompiledNetworks
from sktransfer.backbones.speed._fast_networks import FastNetworks
from sktransfer.utils._immutable import Immutable
from sktransfer.utils._torch import copy_module


class Backbone(Immutable):
    """A pretrained network: immutable, shared by clones, known by the content of its weights.

    The module is copied once, so that training the original afterwards changes nothing here, and
    no estimator ever changes a backbone.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It takes a batch of vectors (n, d) or of images (n, channels, height, width);
        weights of other precision become float32.
    name : str, default=None
        Shown in the repr and in error messages; the class of the module if None.
    input : NetworkInput, default=None
        What the network takes: channels, smallest size, normalisation. None passes arrays on as
        they come (images channels first, uint8 divided by 255).
    classes : array-like of shape (n_outputs,), default=None
        Labels of the outputs of the network, if it classifies: with them, its head can be reused
        for a target that has the same classes, or some of them.
    report : PretrainingReport or dict, default=None
        What is known of the pretraining, as plain data.

    Attributes
    ----------
    layer_names : tuple of str
        Names of the layers whose activations can be asked for.
    n_features_out : int or None
        Width of the features (see ``layers="penultimate"`` of `FeatureTransferTransformer`); None
        if the network does not tell what it takes.
    n_parameters : int
    fingerprint : str
        Digest of weights, structure and input preparation, equal in every process.
    report_ : PretrainingReport or dict
        What is known of the pretraining; empty where nothing is.

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer import Backbone
    >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> backbone = Backbone(network, name="toy")
    >>> backbone
    Backbone('toy', 67 parameters)
    >>> backbone.layer_names
    ('0', '1', '2')
    >>> backbone.n_features_out
    8
    """

    # What a network of this kind takes.
    _input_kind = NetworkInput

    def __init__(self, module, *, name=None, input=None, classes=None, report=None):
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Got module={module!r}, but expected a torch.nn.Module; use load_backbone for "
                "names and files."
            )
        input = NetworkInput() if input is None else input
        if not isinstance(input, self._input_kind):
            raise TypeError(
                f"Got input={input!r}, but expected a {self._input_kind.__name__} for a "
                f"{type(self).__name__}."
            )
        # What torch.compile returns hides the layers.
        module = getattr(module, "_orig_mod", module)
        _check_usable(module)
        network = copy_module(module).cpu().float().eval().requires_grad_(False)
        for parameter in network.parameters():
            parameter.grad = None
        self._set(
            _network=network,
            name=type(module).__name__ if name is None else str(name),
            input=input,
            classes=None if classes is None else _check_classes(classes),
            _report=_check_report(report),
            **_process_state(),
        )

    # For one whose weights need not be pickled: the function that makes it, and its arguments.
    _origin = None

    def __reduce__(self):
        if self._origin is not None:
            return self._origin
        kept = ("_network", "name", "input", "classes", "_report")
        state = {name: getattr(self, name) for name in kept}
        return _restore, (type(self), self.fingerprint, state)

    def __eq__(self, other):
        return isinstance(other, Backbone) and self.fingerprint == other.fingerprint

    def __hash__(self):
        return hash(self.fingerprint)

    def __repr__(self):
        return f"{type(self).__name__}({self.name!r}, {self.n_parameters:,} parameters)"

    @property
    def report_(self):
        return read_report(json.loads(self._report))

    def with_module(self, module, *, name=None, classes=None):
        """Return a backbone of this kind that feeds another network with the same rows.

        Parameters
        ----------
        module : torch.nn.Module
        name, classes
            As of `Backbone`.

        Returns
        -------
        backbone : Backbone
        """
        return type(self)(module, name=name, input=self.input, classes=classes)

    @functools.cached_property
    def layer_names(self):
        return tuple(name for name, _ in self._network.named_modules() if name)

    @functools.cached_property
    def n_parameters(self):
        return sum(parameter.numel() for parameter in self._network.parameters())

    @functools.cached_property
    def fingerprint(self):
        return digest_network(self._network, self.input)

    @functools.cached_property
    def n_features_out(self):
        example = self._make_example()
        if example is None:
            return None
        try:
            (features,) = compute_activations(self, example, cache=False)
        except ValueError:
            # The example is of a size that the network does not take.
            return None
        return features.shape[1]

    @functools.cached_property
    def _first_layer(self):
        layers = (m for m in self._network.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        return next(layers, None)

    def check_takes_images(self):
        """Raise if the network takes vectors, as far as it tells."""
        takes_vectors = self.input.channels is None and isinstance(self._first_layer, nn.Linear)
        if self.input.channels == 0 or takes_vectors:
            raise ValueError(
                f"Got X as images, but {self!r} takes vectors; expected a 2-D X of numbers, or a "
                "backbone for images. One that flattens images says so: Backbone(module, "
                "input=NetworkInput(channels=3, resize=32, crop=32))."
            )

    def _make_example(self):
        """Return two rows of zeros of the kind that the network takes, or None if unknown."""
        size = max(32, self.input.min_size)
        if self.input.channels:
            height, width = self.input.find_size() or as_pair(self.input.resize or size)
            return np.zeros((2, self.input.channels, height, width), dtype=np.float32)
        first = self._first_layer
        if isinstance(first, nn.Linear):
            return np.zeros((2, first.in_features), dtype=np.float32)
        if isinstance(first, nn.Conv2d):
            return np.zeros((2, first.in_channels, size, size), dtype=np.float32)
        return None

    def check_rows(self, shape, image_shape=None):
        """Raise unless rows of this shape fit the network; warn where their channels are others."""
        self.input.check(shape, image_shape)
        given = self.input.count_foreign_channels(shape, image_shape)
        if given is not None:
            warn_of_conversion(given, self.input, self.name)

    def copy_module(self):
        """Return a copy of the network that may be trained: an `nn.Module` in eval mode."""
        return copy_module(self._network).requires_grad_(True)

    @contextlib.contextmanager
    def borrowed(self, device="cpu"):
        """Lend the network itself for forward passes, to one thread at a time.

        Hooks on a module are seen by every thread that uses it, hence the lock.
        """
        with self._lock:
            if torch.device(device).type == "cpu":
                yield self._network
            else:
                yield self._copy_on(torch.device(device))

    def _copy_on(self, device):
        if self._elsewhere.get("device") != device:
            self._elsewhere.update(device=device, network=copy_module(self._network).to(device))
        return self._elsewhere["network"]

    def save(self, path):
        """Write the backbone to a ``.safetensors`` file that `load_backbone` reads.

        The file appears by rename once it is complete, and carries a digest that is checked when
        it is read. It holds weights and a description of common layers, never code: a network
        with other layers is loaded with ``load_backbone(path, module=...)``. Of a network of
        tables it also holds what is known of the columns (names, categories, a centre and a scale
        for each number), and no row.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.safetensors``.
        """
        _weights_file.write(
            path,
            self._network,
            name=self.name,
            network_input=self.input,
            classes=self.classes,
            report=json.loads(self._report),
        )


# What was unpickled in this process, by the fingerprint that it had where it was pickled: of the
# many copies that the tasks of a cluster bring along, one is kept.
_RESTORED = weakref.WeakValueDictionary()
_RESTORING = threading.Lock()


def _restore(kind, fingerprint, state):
    """Unpickle a backbone, or return the one that was unpickled from the like before."""
    with _RESTORING:
        known = _RESTORED.get(fingerprint)
        same = known is not None and all(
            _are_same(getattr(known, name), state[name])
            for name in ("name", "input", "classes", "_report")
        )
        if not same:
            known = kind.__new__(kind)
            known._set(**state, **_process_state())
            _RESTORED[fingerprint] = known
        return known


def _are_same(one, other):
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


def _process_state():
    """Return what a backbone holds for this process only: a lock, copies for devices and speed."""
    return {
        "_lock": threading.RLock(),
        "_elsewhere": {},
        "_fast_networks": FastNetworks(),
        "_compiled_networks": CompiledNetworks(),
    }


def _check_classes(classes):
    classes = np.array(classes)
    if classes.ndim != 1 or len(np.unique(classes)) < len(classes):
        raise ValueError(
            f"Got classes={classes.tolist()!r}, but expected one label per output of the network, "
            "each once."
        )
    classes.flags.writeable = False
    return classes


def _check_report(report):
    """Return a report as text, which nobody can change."""
    report = {} if report is None else report
    if isinstance(report, PretrainingReport):
        report = report.to_dict()
    try:
        text = json.dumps(report, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Got report={report!r}, but expected plain data ({error}).") from error
    if not isinstance(report, dict):
        raise TypeError(f"Got report={report!r}, but expected a dict.")
    return text


def _check_usable(module):
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("Got a TorchScript module, but expected the nn.Module it was made of.")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if isinstance(tensor, UninitializedTensorMixin) or tensor.is_meta:
            raise ValueError(
                f"Got a module whose weights {name!r} hold no values yet, but expected a network "
                "that is ready to use; send a batch through lazy layers, load weights into meta "
                "ones."
            )
