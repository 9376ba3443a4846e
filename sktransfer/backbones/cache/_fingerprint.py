"""Digests of what a network computes, equal in every process."""

import dis
import functools
import hashlib
import inspect
import sys
import sysconfig
import types
import uuid

import numpy as np
import torch

from sktransfer.backbones._recipe import ATTRIBUTE
from sktransfer.backbones.cache._written_names import list_written


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
    differs: attributes, functions that it calls, globals that these read (but for what they write,
    such as counters of calls). Of libraries, only names are known. Where something cannot be
    described, the network is equal to no other.
    """
    describer = _Describer(name_opaque=lambda value: uuid.uuid4().hex)
    parts = [repr(module), repr(network_input)]
    # Not the state dict, which leaves out buffers that are not persistent.
    parts.append(digest_tensors(dict(module.named_parameters(remove_duplicate=False))))
    parts.append(digest_tensors(dict(module.named_buffers(remove_duplicate=False))))
    for name, submodule in module.named_modules():
        parts += [name, describer.describe(type(submodule)), describer.describe_held(submodule)]
    return _digest("\n".join(parts))


def describe_value(value, *, follows_classes=True):
    """Return a text that is equal for equal values, in any process.

    Of what cannot be described, such as an open file, only the type counts. Classes count by their
    code and attributes, or by name alone.
    """
    describer = _Describer(lambda value: type(value).__qualname__, follows_classes)
    return describer.describe(value)


# Kept by every module, and digested on their own or without influence on the output.
_OWN = {*vars(torch.nn.Module()), ATTRIBUTE} - {"_forward_hooks", "_forward_pre_hooks"}
_LIBRARIES = {"numpy", "peft", "sktransfer", "timm", "torch", "torchvision", "transformers"}
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType)
_NAMED = (np.generic, range, slice, np.dtype, torch.dtype, torch.device)
# Of classes: what says nothing, or the same as the rest.
_UNTOLD = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "_abc_impl"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    *("__firstlineno__", "__static_attributes__"),
}
_LONG = 200


class _Describer:
    """Describes values as text, each once; what a value holds is followed wherever it leads.

    Parameters
    ----------
    name_opaque : callable
        Gives the text of a value of which nothing is known but its type.
    follows_classes : bool, default=True
        Whether code and attributes of classes count.
    """

    def __init__(self, name_opaque, follows_classes=True):
        self.name_opaque, self.follows_classes = name_opaque, follows_classes
        # By identity, with the values themselves, so that no identity is used again.
        self._known, self._active = {}, set()
        # Names that methods of the classes met so far write to.
        self._written = set()

    def describe(self, value):
        if isinstance(value, _PLAIN):
            return f"{type(value).__qualname__} {value!r}"
        if isinstance(value, _NAMED):
            return f"{type(value).__qualname__}({value!r})"
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._active:
            return "itself"
        self._active.add(id(value))
        try:
            text = self._describe(value)
        except RecursionError:
            text = self.name_opaque(value)
        finally:
            self._active.discard(id(value))
        text = text if len(text) < _LONG else _digest(text)
        self._known[id(value)] = value, text
        return text

    def describe_held(self, module):
        """Describe what a module holds besides tensors and other modules."""
        held = {key: value for key, value in sorted(vars(module).items()) if key not in _OWN}
        return self.describe(held)

    def _describe(self, value):
        kind = type(value)
        if isinstance(value, torch.Tensor):
            return digest_tensors({"": value})
        if kind is np.ndarray and not value.dtype.hasobject:
            return f"{value.dtype}{value.shape}{hashlib.blake2b(value.tobytes()).hexdigest()}"
        if kind in (list, tuple):
            return f"{kind.__name__}({', '.join(map(self.describe, value))})"
        if kind in (set, frozenset):
            return f"{kind.__name__}({', '.join(sorted(map(self.describe, value)))})"
        if kind is dict:
            items = (f"{self.describe(k)}: {self.describe(v)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, type):
            return self._describe_class(value)
        if isinstance(value, types.CodeType):
            names = (value.co_names, value.co_varnames, value.co_freevars)
            return f"{value.co_code.hex()}{names}{self.describe(value.co_consts)}"
        if isinstance(value, types.FunctionType):
            return self._describe_function(value)
        if isinstance(value, types.MethodType):
            return self.describe((value.__func__, value.__self__))
        if isinstance(value, staticmethod | classmethod):
            return self.describe(value.__func__)
        if isinstance(value, property):
            return self.describe((value.fget, value.fset))
        if hasattr(value, "__wrapped__"):
            return f"{kind.__qualname__} {self.describe(value.__wrapped__)}"
        if isinstance(value, torch.nn.Module):
            state = digest_tensors(value.state_dict())
            return f"{self.describe(kind)}{state}{self.describe_held(value)}"
        return self._describe_object(value)

    def _describe_class(self, kind):
        parts = []
        for base in kind.__mro__:
            parts.append(f"{base.__module__}.{base.__qualname__}")
            if self.follows_classes and not _is_known(base.__module__):
                written = [list_written(function) for function in _list_functions(base)]
                self._written |= set().union(*(names for names, _ in written))
                untold = _UNTOLD.union(*(attributes for _, attributes in written))
                told = {k: v for k, v in sorted(vars(base).items()) if k not in untold}
                parts.append(self.describe(told))
        return " ".join(parts)

    def _describe_function(self, function):
        name = f"{function.__module__}.{function.__qualname__}"
        if _is_known(function.__module__):
            return name
        # What it looks up by name: in a notebook that changes while the code stays the same.
        names = _list_globals(function.__code__) & function.__globals__.keys()
        used = {name: function.__globals__[name] for name in names}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        used |= {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}
        # Of what it writes, such as a counter of calls, the value changes by itself.
        written = self._written | list_written(function)[0]
        used = {name: value for name, value in sorted(used.items()) if name not in written}
        held = (function.__code__, function.__defaults__, function.__kwdefaults__, used)
        return f"{name}{self.describe(held)}"

    def _describe_object(self, value):
        """Describe any other value by what pickle would make it of."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return self.name_opaque(value)
        if isinstance(reduced, str):
            return f"{type(value).__module__}.{type(value).__qualname__} {reduced}"
        make, arguments, state, items, pairs, *_ = (*reduced, None, None, None, None)
        parts = (make, arguments, state, list(items or ()), list(pairs or ()))
        return f"{self.describe(type(value))}{self.describe(parts)}"


def _digest(text):
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@functools.cache
def _is_known(module_name):
    """Tell whether code is a library's, which its name stands for."""
    root = str(module_name).partition(".")[0]
    if root in _LIBRARIES or root in sys.stdlib_module_names:
        return True
    # A script is the user's, also where it lies among libraries, as those that start tests do.
    file = "" if root == "__main__" else getattr(sys.modules.get(root), "__file__", None)
    return (file or "").startswith(_INSTALLED)


def _list_globals(code):
    """Return the names that code, and the code within it, looks up beyond its own."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return names.union(*map(_list_globals, inner))


def _list_functions(kind):
    """Return the functions in the body of a class, those of its properties among them."""
    for value in vars(kind).values():
        parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
        yield from (part for part in parts if inspect.isfunction(part))


def _is_empty(cell):
    try:
        return cell.cell_contents is None
    except ValueError:
        return True
