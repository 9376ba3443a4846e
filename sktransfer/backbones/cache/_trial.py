"""Whether the activations of a row depend on that row alone, found by trial.

Only then can they be kept: a network that draws random numbers, or looks at the other rows of a
batch, gives a row something else in the next pass.
"""

import numpy as np
from torch.nn.modules.batchnorm import _NormBase

# Of the largest activation: rounding differs between batches, by far less than this. What is sent
# again in the same batch is rounded the same, whatever it is computed in.
_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}
_SAME_BATCH = _TOLERANCE["float32"]

# Why activations may not be kept, or None, by their key; of this process.
REASONS = {}


def agrees(forward, network, row, expected):
    """Tell whether a network gives a row the same beside another row, at every layer.

    Parameters
    ----------
    forward : object
        With ``prepare(rows)``, ``run(network, inputs)`` and ``precision``.
    network : nn.Module
    row : int
    expected : list of ndarray
        What the row got before, at each layer, of shape (width,).
    """
    run = _run_beside_another(forward, network, row)
    return all(_agree(run, expected, _TOLERANCE[forward.precision]))


def are_close(activations, expected, precision):
    """Tell whether activations are the same at every layer, to the tolerance of a precision.

    Parameters
    ----------
    activations, expected : list of ndarray
    precision : {"float32", "bfloat16"}
    """
    return all(_agree(activations, expected, _TOLERANCE[precision]))


def find_reasons(forward, network, row, expected):
    """Say for each layer why its activations must not be kept, or None if they may be.

    See `agrees` for the parameters.
    """
    run = _run_beside_another(forward, network, row)
    tolerance = _TOLERANCE[forward.precision]
    are_same = _agree(run, expected, tolerance)
    if all(are_same) and tolerance <= _SAME_BATCH:
        return [None] * len(expected)
    again = _run_beside_another(forward, network, row)
    if run is None or again is None:
        return ["it does not take a batch of two rows"] * len(expected)
    return [
        _name_reason(network, is_same, is_repeated)
        for is_same, is_repeated in zip(are_same, _agree(run, again, _SAME_BATCH), strict=True)
    ]


def _name_reason(network, is_same, is_repeated):
    if not is_repeated:
        return "it is random: the same rows got other activations when they were sent again"
    if is_same:
        return None
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


def _agree(activations, expected, tolerance):
    """Tell for each layer whether its activations agree."""
    if activations is None:
        return [False] * len(expected)
    return [
        one.shape == other.shape and np.abs(one - other).max() <= tolerance * np.abs(other).max()
        for one, other in zip(activations, expected, strict=True)
    ]
