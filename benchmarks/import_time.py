"""Seconds that `import sktransfer` takes in a fresh interpreter, median of eleven.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys

PROGRAM = """
import sys, time
started = time.perf_counter()
import sktransfer
print(time.perf_counter() - started, "torch" in sys.modules)
"""


def main():
    seconds = []
    for _ in range(11):
        result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        elapsed, has_torch = result.stdout.split()
        assert has_torch == "False"
        seconds.append(float(elapsed))
    print(f"import sktransfer: {statistics.median(seconds):.3f} s; torch is not imported")


if __name__ == "__main__":
    main()
