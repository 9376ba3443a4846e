"""Weights from files that others wrote: read as data, put into a network, explained if not fit."""

import hashlib
import pathlib
import re
import warnings

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_TORCH_SUFFIXES = (".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *_TORCH_SUFFIXES)
# What training scripts put a state dict into, and before its names.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "network")
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")


class MismatchError(ValueError):
    """Names or shapes of weights are not those of the network."""


def read_state_dicts(paths, sha256=None):
    """Return the tensors of one or several files (the parts of one network) by name."""
    if sha256 is not None:
        if len(paths) > 1:
            raise ValueError(
                f"Got sha256={sha256!r} for weights in {len(paths)} files, but expected one file."
            )
        check_digest(paths[0], sha256)
    tensors = {}
    for path in paths:
        tensors.update(_read(pathlib.Path(path)))
    return tensors


def check_digest(path, sha256):
    """Raise unless the bytes of a file have this SHA-256 digest."""
    if not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        raise ValueError(f"Got sha256={sha256!r}, but expected 64 hexadecimal digits.")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(
            f"Got the file {str(path)!r} with the SHA-256 digest {found}, but expected "
            f"{sha256.lower()}: it is another file, or a damaged one; it was not read."
        )


def _read(path):
    if not path.is_file():
        raise FileNotFoundError(f"Got weights={str(path)!r}, but there is no such file.")
    if path.suffix == ".safetensors":
        try:
            return _unwrap(load_file(path), path)
        except SafetensorError as error:
            raise ValueError(
                f"Got weights={str(path)!r}, which is no readable safetensors file ({error}): it "
                "is truncated, corrupt or of another kind."
            ) from error
    if path.suffix not in _TORCH_SUFFIXES:
        raise ValueError(
            f"Got weights={str(path)!r}, but expected a file that ends in one of "
            f"{', '.join(SUFFIXES)}."
        )
    try:
        with warnings.catch_warnings():
            # Of pickle protocols that may hold more than torch reads: it then fails, and says so.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can end in any
        reason = str(error).strip().partition("\n")[0][:300]
        raise ValueError(
            f"Got weights={str(path)!r}, which cannot be read as weights alone (torch.load(..., "
            f"weights_only=True) says: {reason}). It is damaged, or a pickle with objects that "
            "could run code. Expected a state dict: where it was made, write it by "
            "torch.save(network.state_dict(), path) or safetensors.torch.save_file."
        ) from error
    return _unwrap(content, path)


def _unwrap(content, path):
    """Return the state dict in what a file holds."""
    for key in _WRAPPERS:
        inner = content.get(key) if isinstance(content, dict) else None
        if isinstance(inner, dict):
            content = inner
            break
    is_state = isinstance(content, dict) and content
    if not is_state or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(
            f"Got weights={str(path)!r}, which holds {_describe(content)}, but expected a state "
            f"dict, names with tensors, alone or under one of {', '.join(_WRAPPERS)}."
        )
    content = dict(content)
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in content)), None):
        content = {key.removeprefix(prefix): value for key, value in content.items()}
    return content


def _describe(content):
    if isinstance(content, dict):
        return f"the keys {[str(key) for key in content][:6]}"
    return f"a {type(content).__name__}"


def find_mismatch(network, tensors):
    """Return what keeps these weights from being those of a network, in words, or None."""
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in tensors and not _may_lack(key)]
    unexpected = [key for key in tensors if key not in wanted]
    reshaped = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in tensors and tensors[key].shape != wanted[key].shape
    ]
    return describe_mismatch(missing, unexpected, reshaped)


def describe_mismatch(missing, unexpected, reshaped):
    """Return a sentence on the names that do not fit, or None if there are none."""
    parts = [
        f"{what}: {_list_few(keys)}"
        for what, keys in [
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        ]
        if keys
    ]
    return "; ".join(parts) or None


def _may_lack(key):
    # Counted by BatchNorm since torch 0.4, and without influence on what a network computes.
    return key.rpartition(".")[2] == "num_batches_tracked"


def _list_few(keys, limit=4):
    shown = ", ".join(map(str, list(keys)[:limit]))
    return shown if len(keys) <= limit else f"{shown}, … ({len(keys)} in all)"


def fill(network, tensors):
    """Put weights into a network of which every one has its place. Return the network."""
    mismatch = find_mismatch(network, tensors)
    if mismatch is not None:
        raise MismatchError(mismatch)
    wanted = network.state_dict()
    network.load_state_dict({key: tensors.get(key, value) for key, value in wanted.items()})
    return network


def count_outputs(network, tensors):
    """Return the number of outputs of the weights, from the last layer of an equal network.

    None where the last layer is not in them.
    """
    last = next(reversed(network.state_dict()))
    return len(tensors[last]) if last in tensors and tensors[last].ndim else None
