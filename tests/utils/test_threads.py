import subprocess
import sys

# In a process of its own: tests/conftest.py limits BLAS for good, and threadpoolctl 3.8 lets
# no other thread change what one thread has limited.
SCRIPT = """
import threading
import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits
from sktransfer import SourceDomain
from sktransfer.feature import CorrelationAlignment
from sktransfer.utils._threads import single_threaded_algebra

first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

def count():
    blas = ThreadpoolController().select(user_api="blas")
    return sorted({library.num_threads for library in blas.lib_controllers})

class First(CorrelationAlignment):
    def _fit_maps(self, *args):
        first_is_in.set()
        assert second_is_in.wait(60)
        print("inside", count())
        super()._fit_maps(*args)

class Second(CorrelationAlignment):
    def _fit_maps(self, *args):
        second_is_in.set()
        assert first_is_out.wait(60)
        print("still", count())
        super()._fit_maps(*args)

rng = np.random.default_rng(0)
X, source = rng.normal(size=(30, 4)), SourceDomain(rng.normal(size=(20, 4)))

def fit_first():
    First(source=source).fit(X)
    first_is_out.set()

def fit_second():
    assert first_is_in.wait(60)
    Second(source=source).fit(X)

before = count()
threads = [threading.Thread(target=fit) for fit in (fit_first, fit_second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("put back", count() == before)

try:
    with single_threaded_algebra():
        with single_threaded_algebra():
            pass
        print("nested", count())
        raise KeyError
except KeyError:
    print("put back", count() == before)
"""


def test_fits_that_overlap_leave_the_threads_of_blas_as_they_were():
    """The first ends before the second, which began when there was one thread of BLAS."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert ran.stdout.splitlines() == [
        "inside [1]",
        "still [1]",
        "put back True",
        "nested [1]",
        "put back True",
    ], ran.stderr
