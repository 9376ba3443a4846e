"""Whether the activations of a row depend on that row alone, found by trial.

Only then can they be kept: a network that draws random numbers, or looks at the other rows of a
batch, gives a row something else in the next pass.
"""

import numpy as np
from torch.nn.modules.batchnorm import _NormBase

# Of the largest activation: rounding differs between batches, by far less than this.
_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}


def agrees(forward, network, row, expected):
    """Tell whether a network gives a row the same beside another row.

    Parameters
    ----------
    forward : object
        With ``prepare(rows)``, ``run(network, inputs)`` and ``precision``.
    network : nn.Module
    row : int
    expected : list of ndarray
        What the row got before, at each layer, of shape (width,).
    """
    return _agree(_run_beside_another(forward, network, row), expected, forward.precision)


def find_reason(forward, network, row, expected):
    """Say why activations of this network must not be kept, or None if they may be."""
    if agrees(forward, network, row, expected):
        return None
    runs = [_run_beside_another(forward, network, row) for _ in range(2)]
    if runs[0] is None:
        return "it does not take a batch of two rows"
    if runs[1] is None or not _agree(*runs, forward.precision):
        return "it is random: the same rows got other activations when they were sent again"
    norms = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, _NormBase) and layer.running_mean is None and _sees_batch(layer)
    ]
    if norms:
        return f"its layer {norms[0]!r} normalises by the batch (track_running_stats=False)"
    return "the activations of a row depend on the other rows of its batch"


def _sees_batch(layer):
    return "BatchNorm" in type(layer).__name__


def _run_beside_another(forward, network, row):
    inputs = forward.prepare(np.array([row]))
    # A row that differs, also where X has one row, within the values that the network knows.
    inputs = np.concatenate([inputs, 0.5 * inputs + np.float32(0.1)])
    try:
        return [block[0] for block in forward.run(network, inputs)]
    except ValueError:
        return None


def _agree(activations, expected, precision):
    if activations is None:
        return False
    tolerance = _TOLERANCE[precision]
    return all(
        one.shape == other.shape and np.abs(one - other).max() <= tolerance * np.abs(other).max()
        for one, other in zip(activations, expected, strict=True)
    )
