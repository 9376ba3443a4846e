"""Torch settings that are put back after use: threads, random state, mode, device."""

import contextlib
import copy
import threading
import warnings

import numpy as np
import torch

from sktransfer.utils._validation import check_count


def copy_module(module):
    """Return a deep copy of a module, also of one that holds tensors which it computed.

    `torch.nn.utils.weight_norm` keeps the weight that it made with gradients of the last pass,
    which torch does not copy by itself.
    """
    computed = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(module, computed)


def resolve_device(device):
    """Turn ``"auto"`` (a GPU if there is one) or a device name into a `torch.device`."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"Got device={device!r}, but expected 'auto', 'cpu', 'cuda' or another torch device."
        ) from error
    try:
        is_there = bool((torch.zeros(1, device=device) == 0).item())
    except (RuntimeError, AssertionError, NotImplementedError):
        is_there = False
    if not is_there:
        raise ValueError(
            f"Got device={str(device)!r}, but torch cannot compute on it here; use device='auto' "
            "or 'cpu'."
        )
    return device


def resolve_precision(precision, device):
    """Return the type that autocast computes in, or None for float32 throughout."""
    if precision == "float32":
        return None
    if device.type == "cuda":
        is_supported = torch.cuda.is_bf16_supported()
    else:
        is_supported = device.type == "cpu" and _cpu_has_bfloat16()
    if is_supported:
        return torch.bfloat16
    warnings.warn(
        f"Got precision={precision!r}, but the device {str(device)!r} has no fast bfloat16; going "
        "on in float32.",
        UserWarning,
        stacklevel=2,
    )
    return None


def _cpu_has_bfloat16():
    # Private names of torch, for want of public ones; without them the answer is no.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


@contextlib.contextmanager
def thread_limit(n_threads):
    """Run with ``n_threads`` torch threads (None: leave them), and put the old number back."""
    if n_threads is None:
        yield
        return
    check_count("n_threads", n_threads)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_GENERATORS = threading.RLock()


@contextlib.contextmanager
def seeded(seed):
    """Run with torch's global generators seeded, and put their old states back.

    One thread at a time, since the generators are the process's. A GPU that nobody has used yet
    stays untouched.
    """
    has_gpus = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if has_gpus else []
    with _GENERATORS, torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if has_gpus:
            torch.cuda.manual_seed_all(seed)
        yield


def reseed(seed, step):
    """Seed torch's global generators for one step; inside `seeded`, which puts them back."""
    mixed = (seed * 1_000_003 + step) % 2**63
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(mixed)


@contextlib.contextmanager
def evaluating(module):
    """Put every submodule in eval mode, and give each its own mode back afterwards."""
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, training in modes:
            submodule.training = training


def to_tensor(array):
    """Return a float32 tensor over a contiguous copy or view that torch may own."""
    array = np.ascontiguousarray(array, dtype=np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
