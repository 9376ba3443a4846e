"""The methods by name."""

from sktransfer.evaluation._hscore import HScore
from sktransfer.evaluation._knn_probe import KNNProbe
from sktransfer.evaluation._leep import LEEP
from sktransfer.evaluation._logme import LogME
from sktransfer.evaluation._nce import NCE
from sktransfer.evaluation._ridge_probe import RidgeProbe
from sktransfer.evaluation._transferability_method import TransferabilityMethod
from sktransfer.utils._validation import list_options, suggest

METHODS = {
    "knn": KNNProbe(),
    "ridge": RidgeProbe(),
    "logme": LogME(),
    "hscore": HScore(),
    "leep": LEEP(),
    "nce": NCE(),
}


def resolve_method(method):
    """Return the object that a name stands for, or the object itself."""
    if isinstance(method, TransferabilityMethod):
        return method
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    raise ValueError(
        f"Got method={method!r}, but expected one of {list_options(METHODS)}, or an object such as "
        f"KNNProbe(n_neighbors=5).{suggest(method, METHODS)}"
    )


def name_method(method):
    """Return the name that a user would know a method by."""
    if isinstance(method, str):
        return method
    # Those of the registry are used by their names also if they came as objects.
    names = {repr(known): name for name, known in METHODS.items()}
    return names.get(repr(method), repr(method))
