"""Digests of what a network computes, equal in every process."""

import functools
import hashlib
import types

import numpy as np
import torch

from sktransfer.backbones._recipe import ATTRIBUTE


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
    """Return a hex digest of weights, structure, code and input preparation of a network.

    Two networks of equal weights differ where their code, or anything that their modules hold,
    differs: attributes, functions that it calls, globals that these read. Of libraries, only names
    are known.
    """
    parts = [repr(module), repr(network_input)]
    # Not the state dict, which leaves out buffers that are not persistent.
    parts.append(digest_tensors(dict(module.named_parameters(remove_duplicate=False))))
    parts.append(digest_tensors(dict(module.named_buffers(remove_duplicate=False))))
    for name, submodule in module.named_modules():
        parts += [name, *_describe_module(submodule)]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


# Kept by every module, and digested on their own or without influence on the output.
_OWN = frozenset(vars(torch.nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"} | {ATTRIBUTE}


def _describe_module(module):
    yield from _describe_class(type(module))
    for key, value in sorted(vars(module).items()):
        if key not in _OWN:
            yield f"{key}={describe_value(value)}"


def _describe_class(kind):
    for base in kind.__mro__:
        yield f"{base.__module__}.{base.__qualname__}"
        if base is not object and not _is_known(base.__module__):
            for name, value in sorted(vars(base).items()):
                if name not in ("__dict__", "__weakref__", "__doc__", "__module__"):
                    yield f"{name}:{describe_value(value)}"


_LIBRARIES = frozenset({"numpy", "peft", "timm", "torch", "torchvision", "transformers"})


def _is_known(module_name):
    """Tell whether code is a library's, which its name stands for."""
    return str(module_name).partition(".")[0] in _LIBRARIES


_CONTAINERS = (types.FunctionType, torch.Tensor, np.ndarray, list, tuple, dict, set, frozenset)
_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType)


def describe_value(value, depth=0):
    """Return a text that is equal for equal values, in any process."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, np.generic | range | slice | np.dtype | torch.dtype | torch.device):
        return f"{type(value).__qualname__}({value!r})"
    if isinstance(value, torch.Tensor):
        return digest_tensors({"": value})
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.blake2b(value.tobytes()).hexdigest()}"
    if depth > 8:
        return type(value).__qualname__
    inner = functools.partial(describe_value, depth=depth + 1)
    if isinstance(value, list | tuple):
        return f"{type(value).__qualname__}({', '.join(map(inner, value))})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__qualname__}({', '.join(sorted(map(inner, value)))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{inner(k)}: {inner(v)}' for k, v in value.items())}}}"
    if isinstance(value, types.CodeType):
        names = (value.co_names, value.co_varnames, value.co_freevars)
        return f"{value.co_code.hex()}{names}{inner(value.co_consts)}"
    if isinstance(value, types.FunctionType):
        return _describe_function(value, inner)
    if isinstance(value, types.MethodType | staticmethod | classmethod):
        return inner(value.__func__)
    if isinstance(value, property):
        return inner((value.fget, value.fset))
    if isinstance(value, functools.partial):
        return f"partial({inner((value.func, value.args, value.keywords))})"
    if isinstance(value, torch.nn.Module):
        # Not what it holds in turn, which may be its parent.
        return f"{type(value).__qualname__}{digest_tensors(value.state_dict())}"
    named = value if hasattr(value, "__qualname__") else type(value)
    held = "" if named is value else inner(getattr(value, "__dict__", {}))
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}{held}"


def describe_callable(function):
    """Return a text that changes with what a function or a callable object holds."""
    if isinstance(function, functools.partial):
        held = describe_value((function.args, function.keywords))
        return f"partial({describe_callable(function.func)}, {held})"
    if isinstance(function, types.MethodType):
        return f"{describe_callable(function.__self__)}.{describe_value(function.__func__)}"
    if isinstance(function, torch.nn.Module):
        return digest_network(function, None)
    return describe_value(function)


def _describe_function(function, inner):
    name = f"{function.__module__}.{function.__qualname__}"
    if _is_known(function.__module__):
        return name
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    # What it looks up by name: in a notebook that changes while the code stays the same.
    names = sorted(set(function.__code__.co_names) & function.__globals__.keys())
    found = [function.__globals__[name] for name in names]
    used = [v for v in found if v is not function and isinstance(v, (*_PLAIN, *_CONTAINERS))]
    held = (function.__code__, function.__defaults__, function.__kwdefaults__, used)
    # A class body's functions close over the class itself, which is described already.
    return f"{name}{inner(held)}{inner([c for c in cells if not isinstance(c, type)])}"


def _is_empty(cell):
    try:
        return cell.cell_contents is None
    except ValueError:
        return True
