"""Let a torchvision that was built for CUDA be imported beside a torch that was not.

Its library of operators cannot be loaded then, and `import torchvision` fails with
"operator torchvision::nms does not exist". Declaring the operators is enough for the networks,
which do not call them. For tests and benchmarks; nobody's own torchvision is like that for long.
"""

import functools
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import torch


def allow_import():
    """Make torchvision, if there is one, importable in this process."""
    if importlib.util.find_spec("torchvision") is not None:
        sys.meta_path.insert(0, _BeforeTorchvision)


class _BeforeTorchvision:
    """An import finder, so that the operators are declared only when torchvision is imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torchvision":
            _declare_operators()
        # None: the import goes on with the ordinary finders.


@functools.cache
def _declare_operators():
    (folder,) = PathFinder.find_spec("torchvision").submodule_search_locations
    for library in Path(folder).glob("_C.*"):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
        return
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # The declarations last as long as the object that made them.
    _declare_operators.operators = operators
