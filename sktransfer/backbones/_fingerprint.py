"""Digests of what a network computes, equal in every process."""

import hashlib

import torch


def digest_tensors(tensors):
    """Return a hex digest of named tensors: their names, types, shapes and bytes.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        # As bytes, since numpy knows no bfloat16.
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_network(module, network_input):
    """Return a hex digest of weights, structure, code and input preparation of a network."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(digest_tensors(module.state_dict()).encode())
    digest.update(repr(module).encode())
    digest.update(repr(network_input).encode())
    for name, submodule in module.named_modules():
        kind = type(submodule)
        digest.update(f"{name}|{kind.__module__}.{kind.__qualname__}|".encode())
        digest.update(_describe_settings(submodule).encode())
        code = getattr(kind.forward, "__code__", None)
        if code is not None:
            digest.update(code.co_code)
            digest.update(repr([c for c in code.co_consts if not hasattr(c, "co_code")]).encode())
    return digest.hexdigest()


def _describe_settings(submodule):
    """Plain attributes, such as a scale, that neither `repr` nor the weights show."""
    plain = {
        key: value
        for key, value in vars(submodule).items()
        if isinstance(value, bool | int | float | str | tuple) and key != "training"
    }
    return repr(sorted(plain.items()))
