"""From a name, a path, a module or a fitted estimator to a `Backbone`."""

import functools
import json
import os
import pathlib
from types import NoneType

from torch import nn

from sktransfer.backbones import _weights_file
from sktransfer.backbones._architecture import build
from sktransfer.backbones._backbone import Backbone
from sktransfer.backbones._glyphs import GlyphNetwork, load_glyph_network
from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones.cache._fingerprint import digest_tensors
from sktransfer.backbones.hubs._origins import ORIGINS
from sktransfer.backbones.hubs._state_dict import (
    MismatchError,
    check_digest,
    fill,
    read_state_dicts,
)
from sktransfer.backbones.tables._table_input import TableInput
from sktransfer.backbones.tables._tabular_backbone import TabularBackbone
from sktransfer.utils._torch import copy_module, seeded
from sktransfer.utils._validation import list_options, suggest


def load_backbone(
    backbone,
    *,
    pretrained=True,
    module=None,
    weights=None,
    sha256=None,
    revision=None,
    input=None,
):
    """Load a pretrained network.

    Parameters
    ----------
    backbone : str, path-like, torch.nn.Module, Backbone or fitted estimator
        - ``"glyphs"``: the embedded network for small grey images (from 8x8 pixels) of
          characters, trained on letters of many scripts. No download, ever.
        - ``"timm/<name>"``, with or without a tag (``"timm/resnet18.a1_in1k"``);
        - ``"torchvision/<name>"`` for an image classifier, or ``"torchvision/<name>.<weights>"``
          (``"torchvision/resnet50.IMAGENET1K_V1"``); the default weights without;
        - ``"transformers/<id>"`` for an image network: a repository of the hub
          (``"transformers/facebook/dinov2-small"``), a folder written by ``save_pretrained``, or,
          without pretrained weights, a model type (``"transformers/vit"``);
        - the path of a ``.safetensors`` file written by `Backbone.save`, also of a network of
          tables;
        - a module, which is copied;
        - a fitted estimator with a ``backbone_``, such as `ParameterTransferClassifier`.
    pretrained : bool, default=True
        False gives the same architecture with random weights, for a named backbone only: the
        control that tells what the pretraining is worth. They are the same in any process.
    module : torch.nn.Module or callable, default=None
        For a file whose network has classes that cannot be rebuilt from a description: the module
        that takes the weights (it is copied), or a function that makes it.
    weights : str or path-like, default=None
        File with weights for the architecture that a name stands for, or for a module:
        ``.safetensors``, or ``.pt``, ``.pth``, ``.bin`` as far as torch reads them as weights
        alone, that is, without running code. Nothing is downloaded then, but perhaps the
        configuration of ``"transformers/<id>"``. The number of outputs is that of the file.
    sha256 : str, default=None
        SHA-256 digest that the file must have, the one in ``weights``, the downloaded one, or that
        of `Backbone.save`; checked before anything in the file is read.
    revision : str, default=None
        Commit (40 hexadecimal digits), tag or branch of the hub repository, for timm and
        transformers. A branch can be changed by its owner, a commit cannot.
    input : NetworkInput, default=None
        How images are prepared, in place of what the weights' own configuration says. Networks of
        timm that are made for one size, such as vision transformers, are made for its size.

    Returns
    -------
    backbone : Backbone
        A `TabularBackbone` from its file.

    Raises
    ------
    ValueError
        For an unknown name, for a file that is truncated, corrupt, foreign, a pickle with more
        than weights, or of another digest, and for weights that do not fit the network.
    ConnectionError
        If something has to be downloaded and cannot; within seconds.
    ImportError
        If the library of the name is not installed.

    Examples
    --------
    >>> from sktransfer import load_backbone
    >>> load_backbone("glyphs").input.channels
    1
    """
    options = {
        "module": module,
        "weights": weights,
        "sha256": sha256,
        "revision": revision,
        "input": input,
    }
    _check_arguments(backbone, pretrained, options)
    if isinstance(backbone, Backbone):
        return backbone
    if isinstance(backbone, nn.Module):
        return Backbone(_fill_module(backbone, weights, sha256), input=input)
    if _is_path(backbone):
        return _load_file(pathlib.Path(backbone).expanduser(), module, sha256, input)
    if _is_hub_name(backbone):
        return _load_from_hub(backbone, pretrained, weights, sha256, revision, input)
    if isinstance(backbone, str):
        return _load_named(backbone, pretrained)
    if hasattr(backbone, "fit"):
        return _load_from_estimator(backbone)
    raise TypeError(
        f"Got backbone={backbone!r}, but expected a name, a path, a torch.nn.Module, a Backbone or "
        "a fitted sktransfer estimator."
    )


def _check_arguments(backbone, pretrained, options):
    """Raise for an argument of a wrong type, or one that does not go with the others."""
    if not isinstance(pretrained, bool):
        raise TypeError(f"Got pretrained={pretrained!r}, but expected True or False.")
    kinds = {"weights": (str, os.PathLike), "sha256": str, "revision": str, "input": NetworkInput}
    for name, kind in kinds.items():
        if not isinstance(options[name], (kind, NoneType)):
            wanted = {"weights": "a path", "input": "a NetworkInput"}.get(name, "a text")
            raise TypeError(f"Got {name}={options[name]!r}, but expected {wanted} or None.")
    is_path, is_hub_name = _is_path(backbone), _is_hub_name(backbone)
    is_module = isinstance(backbone, nn.Module)
    if not pretrained and not (is_hub_name or (isinstance(backbone, str) and backbone in _NAMED)):
        names = [*_NAMED, *(f"{prefix}/<name>" for prefix in ORIGINS)]
        raise ValueError(
            f"Got pretrained=False with backbone={backbone!r}, but random weights are made for "
            f"the names {list_options(names)} only."
        )
    weights = options["weights"]
    if not pretrained and weights is not None:
        raise ValueError(
            f"Got weights={str(weights)!r} with pretrained=False, but expected one of the two."
        )
    partners = {
        "module": ("the path of a file", is_path),
        "weights": ("the name of a library's network, or a module", is_hub_name or is_module),
        "sha256": ("a file", is_path or weights is not None or (is_hub_name and pretrained)),
        "revision": ("the name of a network on a hub", is_hub_name),
        "input": (
            "the name of a library's network, a path or a module",
            is_hub_name or is_path or is_module,
        ),
    }
    for name, (partner, fits) in partners.items():
        if options[name] is not None and not fits:
            raise ValueError(f"Got {name}={options[name]!r}, which goes with {partner} only.")


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
        known = [*_NAMED, *(f"{prefix}/<name>" for prefix in ORIGINS)]
        raise ValueError(
            f"Got backbone={name!r}, but expected one of {list_options(known)}, the path of a "
            f".safetensors file, a torch.nn.Module or a Backbone.{suggest(name, known)}"
        )
    return _NAMED[name](bool(pretrained))


def _load_from_hub(name, pretrained, weights, sha256, revision, input):
    # A folder may hold something else tomorrow.
    is_folder = pathlib.Path(name.partition("/")[2]).expanduser().is_dir()
    if weights is None and sha256 is None and not is_folder:
        return _load_shared(name, pretrained, revision, input)
    return _make_from_hub(name, pretrained, revision, input, weights, sha256)


def _make_from_hub(name, pretrained, revision, input, weights=None, sha256=None):
    prefix, _, inner = name.partition("/")
    image_size = None if input is None else input.find_size()
    origin = ORIGINS[prefix](inner, revision, image_size)
    network_input = origin.make_input() if input is None else input
    if not pretrained:
        with seeded(0):
            network = origin.make()
        return Backbone(network, name=f"{name}, random weights", input=network_input)
    paths = origin.fetch_weights() if weights is None else [_find_file(weights)]
    tensors = read_state_dicts(paths, sha256)
    try:
        # Making a network draws random weights, also where they are replaced.
        with seeded(0):
            network = origin.make(tensors)
    except MismatchError as error:
        raise ValueError(
            f"Got weights={str(paths[0])!r}, which do not fit {name!r}: {error}."
        ) from error
    # Of weights from elsewhere, nobody knows what their outputs stand for.
    classes = origin.find_classes(network) if weights is None else None
    return Backbone(network, name=name, input=network_input, classes=classes)


# A search gives the name to every fit; networks are large, and few are in use at a time.
_load_shared = functools.lru_cache(maxsize=4)(_make_from_hub)


def _fill_module(module, weights, sha256):
    if weights is None:
        return module
    # What torch.compile returns has other names.
    module = copy_module(getattr(module, "_orig_mod", module))
    try:
        return fill(module, read_state_dicts([_find_file(weights)], sha256))
    except MismatchError as error:
        raise ValueError(
            f"Got weights={str(weights)!r}, which do not fit the module: {error}."
        ) from error


def _find_file(path):
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Got weights={str(path)!r}, but there is no such file.")
    return path


def _is_hub_name(backbone):
    return (
        isinstance(backbone, str)
        and "/" in backbone
        and backbone.partition("/")[0] in ORIGINS
        and not _is_path(backbone)
    )


def _is_path(backbone):
    if isinstance(backbone, str) and backbone not in _NAMED:
        return pathlib.PurePath(backbone).suffix in _weights_file.SUFFIXES
    return isinstance(backbone, os.PathLike)


def _load_file(path, module, sha256, input):
    if not path.is_file():
        raise FileNotFoundError(f"Got backbone={str(path)!r}, but there is no such file.")
    if sha256 is not None:
        check_digest(path, sha256)
    tensors, metadata = _weights_file.read(path)
    network = _make_network(path, metadata, module)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"Got the file {str(path)!r}, whose weights do not fit the module: {error}"
        ) from error
    try:
        described = _weights_file.read_input(metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Got the file {str(path)!r}, which cannot be read: {error}") from error
    if input is not None and type(input) is not type(described):
        raise TypeError(
            f"Got input={input!r} with the file {str(path)!r}, which has a {described!r}; expected "
            "None, since a network of tables knows its columns."
        )
    kind = TabularBackbone if isinstance(described, TableInput) else Backbone
    return kind(
        network,
        name=metadata["name"],
        input=described if input is None else input,
        classes=_weights_file.read_classes(metadata),
        report=_weights_file.read_report(metadata),
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
    with seeded(0):
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
