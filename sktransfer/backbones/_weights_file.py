"""Weights on disk: safetensors with a description and a digest in its header; never a pickle."""

import hashlib
import json
import os
import pathlib
import re

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sktransfer.backbones._architecture import describe, name_foreign_class
from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones.cache._fingerprint import digest_tensors
from sktransfer.backbones.tables._table_input import TableInput
from sktransfer.utils._files import replacing

_FORMAT = "sktransfer-backbone-1"
_VERSIONED = re.compile(r"(sktransfer-[a-z]+)-([0-9]+)")
_PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin", ".ckpt"}
SUFFIXES = {".safetensors", *_PICKLE_SUFFIXES}
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def write(path, module, *, name, network_input, classes=None, report=None):
    """Write a network to ``path``: a temporary file beside it, then a rename."""
    path = pathlib.Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise ValueError(f"Got path={str(path)!r}, but expected a name that ends in .safetensors.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Got path={str(path)!r}, but its folder does not exist.")
    metadata = {
        "name": name,
        "class": name_foreign_class(module),
        "architecture": json.dumps(describe(module)),
        "input": json.dumps(network_input.as_data()),
        "classes": json.dumps(None if classes is None else _describe_classes(classes)),
        "report": json.dumps(report or {}),
    }
    write_tensors(path, module.state_dict(), metadata, _FORMAT)


def write_tensors(path, tensors, metadata, file_format):
    """Write named tensors and texts, with a digest of both, to a file that appears by rename."""
    # Cloned, since safetensors refuses tensors that share memory (tied weights).
    tensors = {key: value.clone().contiguous() for key, value in tensors.items()}
    metadata = {"format": file_format, **metadata}
    metadata["digest"] = _digest(tensors, metadata)
    _replace(path, save(tensors, metadata))


def read(path):
    """Return the tensors and the metadata of a file that `write` made.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is a pickle, truncated, corrupt or not ours.
    """
    return read_tensors(path, _FORMAT, "Backbone.save")


def read_tensors(path, file_format, writer):
    """Return what `write_tensors` wrote; ``writer`` names for messages who does."""
    path = pathlib.Path(path)
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(
            f"Got the file {str(path)!r}, which is no readable safetensors file ({error}): it is "
            f"truncated, corrupt or of another kind; expected one written by {writer}."
        ) from error
    _refuse_newer(path, str(metadata.get("format")), file_format)
    if metadata.get("format") != file_format:
        raise ValueError(
            f"Got the file {str(path)!r} of format {metadata.get('format')!r}, but expected "
            f"{file_format!r}, as written by {writer}; for weights of others say whose they are: "
            "load_backbone('timm/<name>', weights=path) or load_backbone(module, weights=path)."
        )
    digest = _digest(tensors, metadata)
    if digest != metadata.get("digest"):
        raise ValueError(
            f"Got the file {str(path)!r} with content of digest {digest}, but its header says "
            f"{metadata.get('digest')}: the file is corrupt; fetch or write it again."
        )
    return tensors, metadata


def _refuse_newer(path, found, expected):
    """Raise if a file has a later version of the format than the one that is read here."""
    found, expected = _VERSIONED.fullmatch(found), _VERSIONED.fullmatch(expected)
    if found and expected and found[1] == expected[1] and int(found[2]) > int(expected[2]):
        raise ValueError(
            f"Got the file {str(path)!r} of format {found[0]!r}, written by a newer sktransfer "
            f"than this one, which reads {expected[0]!r}; update sktransfer."
        )


def _digest(tensors, metadata):
    """Return the digest of all that a file says, but for the digest itself."""
    described = json.dumps({k: v for k, v in metadata.items() if k != "digest"}, sort_keys=True)
    return hashlib.blake2b(
        (digest_tensors(tensors) + described).encode(), digest_size=16
    ).hexdigest()


def _describe_classes(classes):
    """Return labels and their type as plain data, or None for labels that JSON cannot hold."""
    kind = classes.dtype.kind
    if kind not in "biufUO" or (kind == "O" and not all(isinstance(c, str) for c in classes)):
        return None
    return {"dtype": "object" if kind == "O" else classes.dtype.str, "labels": classes.tolist()}


def read_classes(metadata):
    """Return the labels of the outputs that a file's header names, or None."""
    description = json.loads(metadata.get("classes", "null"))
    return description and np.array(description["labels"], dtype=description["dtype"])


def read_input(metadata):
    """Return the `NetworkInput` or `TableInput` that a file's header describes."""
    data = json.loads(metadata["input"])
    kind = TableInput if data.get("kind") == "table" else NetworkInput
    return kind.from_data(data)


def read_report(metadata):
    """Return what a file's header says of the pretraining."""
    return json.loads(metadata.get("report", "{}"))


def _refuse_pickle(path):
    with open(path, "rb") as file:
        start = file.read(9)
    # The length of a safetensors header, which comes first, may look like a pickle.
    looks_like_pickle = start.startswith(_PICKLE_STARTS) and start[8:] != b"{"
    if path.suffix in _PICKLE_SUFFIXES or looks_like_pickle:
        raise ValueError(
            f"Got the file {str(path)!r}, which is or may be a pickle, and unpickling can run any "
            "code; expected a .safetensors file written by Backbone.save. For weights of others "
            "say whose they are, load_backbone('timm/<name>', weights=path) or load_backbone("
            "module, weights=path): these read them by torch.load(..., weights_only=True)."
        )


def _replace(path, content):
    with replacing(path) as unfinished, open(unfinished, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
