"""What weights of source rows cost: seconds and memory, by the number of rows.

    python benchmarks/instance_cost.py [--quick] [--methods KLIEP ULSIF] [--sizes 1000 10000]

As many source as target rows, ten columns, a shift of the mean. Every cell is a process of its own
on one thread: CPU seconds of ``compute_weights``, the median of three runs where one takes less
than five seconds, and the peak of memory above what the process held before (Linux). Its first
computation, of 200 rows, is not counted, which leaves imports out. A cell that takes more than
``--limit`` CPU seconds or than ``--memory`` MB of address space is stopped, and larger ones of that
method are left out, as are those that would take longer even if seconds grew no faster than rows.
"growth" is the exponent of the seconds between the last two sizes. skada and ADAPT are measured in
the same run where they are installed; settings such as "5 gammas" stand for what a method chooses
among by cross-validation.
"""

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import warnings

SIZES = (1_000, 10_000, 100_000)
MILLION = 1_000_000
REPEATED_BELOW = 5.0
SHORTEST = 1e-3  # what takes less tells nothing of its growth
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def main():
    options = parse_options()
    if options.cell:
        return measure_cell(*options.cell[:3], n_rows=int(options.cell[3]), memory=options.memory)
    from _weightings import list_weightings

    sizes = options.sizes or ([1_000] if options.quick else SIZES)
    with_million = not options.quick and not options.sizes
    shown = [*sizes, MILLION] if with_million else sizes
    header = "".join(f"{f'n = {n:,}':>22}" for n in shown)
    print(f"CPU seconds and peak memory in MB\n{'':59}{header}{'growth':>8}", flush=True)
    seconds_of = {}
    for name, library, setting, _ in list_weightings(options.methods, options.libraries):
        label = f"{name:<26}{library:<12}{setting:<21}"
        print(label, end="", flush=True)
        # A million rows for the default weighting only.
        mine = [*sizes, MILLION] if with_million and is_default(name, library) else sizes
        seconds, stopped = {}, None
        for n in mine:
            if seconds and max(seconds.values()) * n / max(seconds) > options.limit:
                stopped = stopped or f"> {options.limit:.0f} s"
            cell = stopped or run_cell(name, library, setting, n, options)
            if isinstance(cell, str):
                stopped = cell
                print(f"{cell:>22}", end="", flush=True)
            else:
                seconds[n] = cell["seconds"]
                print(
                    f"{cell['seconds']:>10.3f} s{cell['megabytes']:>7,.0f} MB", end="", flush=True
                )
        print(" " * 22 * (len(shown) - len(mine)) + f"{find_growth(seconds):>8}", flush=True)
        seconds_of[name, library, setting] = seconds
    print_ratios(seconds_of)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 rows only")
    parser.add_argument("--methods", nargs="+", help="names of weightings of sktransfer")
    parser.add_argument("--libraries", nargs="+", choices=["sktransfer", "skada", "adapt"])
    parser.add_argument("--sizes", nargs="+", type=int)
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds of a cell")
    parser.add_argument("--memory", type=int, default=14_000, help="MB of address space of a cell")
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def is_default(name, library):
    return (name, library) == ("DomainClassifierWeighting", "sktransfer")


def run_cell(name, library, setting, n_rows, options):
    """Measure one cell in a new process: a dictionary, or what stopped it in a word."""
    command = [sys.executable, __file__, "--memory", str(options.memory)]
    # One second for what comes before: the limit is checked on the whole process.
    limit = math.ceil(options.limit) + 10
    done = subprocess.run(
        [*command, "--cell", name, library, setting, str(n_rows)],
        env={**os.environ, **dict.fromkeys(THREADS, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5)),
        capture_output=True,
        text=True,
    )
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"> {options.limit:.0f} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        if "MemoryError" in last or "allocate" in last:
            return f"> {options.memory / 1000:.0f} GB"
        print(done.stderr[-2000:], file=sys.stderr)
        return f"failed: {last.split(':')[0]}"[:20]
    cell = json.loads(done.stdout.strip().splitlines()[-1])
    return cell if cell["seconds"] <= options.limit else f"> {options.limit:.0f} s"


def measure_cell(name, library, setting, *, n_rows, memory):
    """Measure one weighting in this process and print what was found as JSON."""
    from _weightings import list_weightings

    from sktransfer.datasets import make_covariate_shift

    warnings.simplefilter("ignore")
    weigh = {w[:3]: w[3] for w in list_weightings([name])}[name, library, setting]

    def draw(n):
        domains = make_covariate_shift(n, n, 10, random_state=0)
        return domains.X_source, domains.y_source, domains.X_target

    weigh(*draw(200))
    data = draw(n_rows)
    resource.setrlimit(resource.RLIMIT_AS, (memory * 2**20, memory * 2**20))
    held = reset_peak_memory()
    seconds = [take_time(weigh, data)]
    peak = read_memory("VmHWM")
    while seconds[0] < REPEATED_BELOW and len(seconds) < 3:
        seconds.append(take_time(weigh, data))
    print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "megabytes": peak - held}))


def take_time(weigh, data):
    started = time.process_time()
    weigh(*data)
    return time.process_time() - started


def reset_peak_memory():
    """Forget the peak of this process so far and return the MB that it holds now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return math.nan
    return read_memory("VmRSS")


def read_memory(field):
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))
    except OSError:
        return math.nan


def find_growth(seconds):
    """Return the exponent of growth between the last two sizes, in a word."""
    if len(seconds) < 2:
        return ""
    (n_before, before), (n_last, last) = list(seconds.items())[-2:]
    if before < SHORTEST:
        return "-"
    return f"n^{math.log(last / before) / math.log(n_last / n_before):.1f}"


def print_ratios(seconds_of):
    """Print how many times as long as ours a peer takes, at the largest size that both did."""
    print("\nseconds of a peer, as a multiple of ours of the same name")
    for (name, library, setting), seconds in seconds_of.items():
        ours = seconds_of.get((name, "sktransfer", ""), {})
        both = [n for n in seconds if n in ours]
        if library != "sktransfer" and both:
            ratio = seconds[both[-1]] / max(ours[both[-1]], SHORTEST)
            print(f"{name:<26}{library:<12}{setting:<21}{ratio:>10.1f}  at n = {both[-1]:,}")


if __name__ == "__main__":
    main()
