"""From a name, a path, a module or a fitted estimator to a `Backbone`."""

import functools
import json
import os
import pathlib

from torch import nn

from sktransfer.backbones import _weights_file
from sktransfer.backbones._architecture import build
from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones._fingerprint import digest_tensors
from sktransfer.backbones._glyphs import GlyphNetwork, load_glyph_network
from sktransfer.backbones._input import NetworkInput
from sktransfer.utils._torch import seeded
from sktransfer.utils._validation import list_options, suggest


def load_backbone(backbone, *, pretrained=True, module=None):
    """Load a pretrained network.

    Parameters
    ----------
    backbone : str, path-like, torch.nn.Module, Backbone or fitted estimator
        - ``"glyphs"``: the embedded network for small grey images (from 8x8 pixels) of
          characters, trained on letters of many scripts. No download, ever.
        - the path of a ``.safetensors`` file written by `Backbone.save`;
        - a module, which is copied;
        - a fitted estimator with a ``backbone_``, such as `ParameterTransferClassifier`.
    pretrained : bool, default=True
        False gives the same architecture with random weights, for a named backbone only: the
        control that tells what the pretraining is worth.
    module : torch.nn.Module or callable, default=None
        For a file whose network has classes that cannot be rebuilt from a description: the module
        that takes the weights (it is copied), or a function that makes it.

    Returns
    -------
    backbone : Backbone

    Raises
    ------
    ValueError
        For an unknown name, and for a file that is truncated, corrupt, foreign or a pickle.

    Examples
    --------
    >>> from sktransfer import load_backbone
    >>> load_backbone("glyphs").input.channels
    1
    """
    if not isinstance(pretrained, bool):
        raise TypeError(f"Got pretrained={pretrained!r}, but expected True or False.")
    if not pretrained and not (isinstance(backbone, str) and backbone in _NAMED):
        raise ValueError(
            f"Got pretrained=False with backbone={backbone!r}, but random weights are made for "
            f"the names {list_options(_NAMED)} only."
        )
    if module is not None and not _is_path(backbone):
        raise ValueError("Got module=..., which goes with the path of a file only.")
    if isinstance(backbone, Backbone):
        return backbone
    if isinstance(backbone, nn.Module):
        return Backbone(backbone)
    if _is_path(backbone):
        return _load_file(pathlib.Path(backbone).expanduser(), module)
    if isinstance(backbone, str):
        return _load_named(backbone, pretrained)
    if hasattr(backbone, "fit"):
        return _load_from_estimator(backbone)
    raise TypeError(
        f"Got backbone={backbone!r}, but expected a name, a path, a torch.nn.Module, a Backbone or "
        "a fitted sktransfer estimator."
    )


# Sharing one object per name is safe because backbones are immutable.
@functools.cache
def _glyphs(pretrained):
    # Making a network draws random weights, also where they are replaced.
    with seeded(0):
        network = load_glyph_network() if pretrained else GlyphNetwork()
    name = "glyphs" if pretrained else "glyphs, random weights"
    backbone = Backbone(network, name=name, input=NetworkInput(channels=1, min_size=8))
    if pretrained:
        # Pickles hold the name only: the weights are wherever the package is.
        backbone._set(_origin=(_restore_packaged, (name, digest_tensors(network.state_dict()))))
    return backbone


def _restore_packaged(name, digest):
    """Return the backbone that a pickle names, if it is still the one that was pickled."""
    backbone = _load_named(name, pretrained=True)
    if backbone._origin[1] != (name, digest):
        raise ValueError(
            f"Got a pickle with the backbone {name!r} of another version of sktransfer, whose "
            "weights differ; expected the version that wrote it."
        )
    return backbone


_NAMED = {"glyphs": _glyphs}

# What `backbone=None` means: the features are the input.
IDENTITY = Backbone(nn.Flatten(), name="identity")


def resolve_backbone(backbone):
    """Return the backbone that an estimator's parameter stands for."""
    return IDENTITY if backbone is None else load_backbone(backbone)


def _load_named(name, pretrained):
    if name not in _NAMED:
        raise ValueError(
            f"Got backbone={name!r}, but expected one of {list_options(_NAMED)}, the path of a "
            f".safetensors file, a torch.nn.Module or a Backbone.{suggest(name, _NAMED)}"
        )
    return _NAMED[name](bool(pretrained))


def _is_path(backbone):
    if isinstance(backbone, str) and backbone not in _NAMED:
        return pathlib.PurePath(backbone).suffix in _weights_file.SUFFIXES
    return isinstance(backbone, os.PathLike)


def _load_file(path, module):
    if not path.is_file():
        raise FileNotFoundError(f"Got backbone={str(path)!r}, but there is no such file.")
    tensors, metadata = _weights_file.read(path)
    network = _make_network(path, metadata, module)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"Got the file {str(path)!r}, whose weights do not fit the module: {error}"
        ) from error
    return Backbone(
        network,
        name=metadata["name"],
        input=_weights_file.read_input(metadata),
        classes=_weights_file.read_classes(metadata),
    )


def _make_network(path, metadata, module):
    if isinstance(module, nn.Module):
        return Backbone(module).copy_module()
    if callable(module):
        return module()
    if module is not None:
        raise TypeError(
            f"Got module={module!r}, but expected a torch.nn.Module or a function that makes one."
        )
    description = json.loads(metadata["architecture"])
    if description is None:
        raise ValueError(
            f"Got the file {str(path)!r} with a layer of class {metadata['class']!r}, which "
            "cannot be made without its code; pass load_backbone(path, module=...)."
        )
    return build(description)


def _load_from_estimator(estimator):
    backbone = getattr(estimator, "backbone_", None)
    if not isinstance(backbone, Backbone):
        raise ValueError(
            f"Got backbone={type(estimator).__name__}, which is not fitted or has no backbone_; "
            "expected a fitted sktransfer estimator that was given a backbone. A grid search "
            "clones what it searches over, which is then not fitted: put estimator.backbone_ there."
        )
    return backbone
