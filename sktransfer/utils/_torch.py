"""Torch settings that are put back after use: threads, random state, mode, device."""

import contextlib
import threading

import numpy as np
import torch

from sktransfer.utils._validation import check_count


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
