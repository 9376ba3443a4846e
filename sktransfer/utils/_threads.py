"""One thread for linear algebra, put back in the end whatever threads of Python overlap."""

import contextlib
import functools
import sys
import threading

from threadpoolctl import ThreadpoolController

# Below, threads cost more than they save: 4 times the time, measured.
FEW_VALUES = 10_000_000


class _SharedLimit:
    """One BLAS thread for as long as anyone asks for it: the first sets it, the last puts it back.

    The number of BLAS threads is the process's. If each of two threads of Python put back what it
    found, the one that came second would put back the limit of the first.
    """

    def __init__(self):
        self._lock, self._n_users, self._limit = threading.Lock(), 0, None

    def enter(self, controller):
        with self._lock:
            self._n_users += 1
            if self._n_users > 1:
                return
            blas = controller.select(user_api="blas")
            before = [library.num_threads for library in blas.lib_controllers]
            limit = blas.limit(limits=1)
            # Nothing is put back that was not changed: then others limit it, and put it back.
            after = [library.num_threads for library in blas.lib_controllers]
            self._limit = limit if after != before else None

    def leave(self, controller):
        with self._lock:
            self._n_users -= 1
            if self._n_users or self._limit is None:
                return
            # From 3.8 on, threadpoolctl has one thread in control of BLAS, until its with
            # statement ends, even one that limits nothing.
            with controller.select(user_api="openmp").limit(limits=None):
                self._limit.restore_original_limits()
            self._limit = None


_BLAS = _SharedLimit()


@functools.lru_cache(maxsize=1)
def _find_libraries(n_modules):
    """Return the controller of the libraries in this process; modules may have brought more."""
    return ThreadpoolController()


@contextlib.contextmanager
def single_threaded_algebra():
    """Run with one thread of BLAS and of OpenMP, and put the old numbers back.

    Small systems are slower with several threads, by far on a busy machine. Threads of Python may
    overlap in this, and it may be nested. Where other code limits BLAS by `threadpoolctl` in
    another thread meanwhile, and ends later, that code puts back what it found: our limit.
    """
    controller = _find_libraries(len(sys.modules))
    _BLAS.enter(controller)
    try:
        # Of OpenMP each thread of Python has its own number. Selected, since a limit puts back the
        # numbers of all libraries of its controller, also of those that it did not change.
        with controller.select(user_api="openmp").limit(limits=1):
            yield
    finally:
        _BLAS.leave(controller)


def few_threads(n_values):
    """Return a context for computations on so many numbers: few of them have one thread."""
    return single_threaded_algebra() if n_values < FEW_VALUES else contextlib.nullcontext()
