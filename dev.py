#!/usr/bin/env python3
"""Everything a developer runs, in one place. Needs only Python; sets up .venv by itself.

    python dev.py demo        run the demo: three kinds of transfer on handwritten digits
    python dev.py test        run the tests; further arguments go to pytest (-k, -x, a file, ...)
    python dev.py lint        ruff, codespell and the order of the layers (fix: "lint --fix")
    python dev.py doctest     run the examples that stand in docstrings and in the user guide
    python dev.py examples    run examples/*.py, or the named ones
    python dev.py bench       run benchmarks/*.py but those of hours, or the named ones
    python dev.py install     bring .venv up to date (the commands above do this by themselves)
    python dev.py venv        make .venv from nothing

.venv is brought up to date when it is missing, when pyproject.toml or constraints.txt has changed,
or when another Python than before runs this file. Only that needs a network.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "sktransfer-stamp"
UNFINISHED = VENV / "sktransfer-unfinished"
DEMO = ROOT / "examples" / "plot_three_kinds_of_transfer.py"
PICTURES = ROOT / "docs" / "images"
OLDEST_PYTHON = (3, 11)
# Many minutes to hours; run only by name.
LONG_BENCHMARKS = {
    "fine_tuning_quality",
    "instance_cost",
    "instance_quality",
    "table_quality",
    "transferability",
    "weight_quality",
}


def main(arguments):
    commands = {
        "demo": demo,
        "test": test,
        "lint": lint,
        "doctest": doctest,
        "examples": examples,
        "bench": bench,
        "install": install,
        "venv": venv,
    }
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in commands:
        raise Problem(f"Got command {name!r}, but expected one of: {', '.join(commands)}.")
    return commands[name](rest)


class Problem(Exception):
    """Something the user can put right; shown without a traceback."""


# --- commands ------------------------------------------------------------------------------------


def demo(arguments):
    prepare()
    if not DEMO.exists():
        raise Problem(f"There is no {DEMO.relative_to(ROOT)}.")
    started = time.time()
    code = run_offline([DEMO, *arguments])
    if code == 0:
        for picture in sorted(PICTURES.glob("*")):
            if picture.stat().st_mtime >= started - 1:
                say(f"the picture: {picture}")
    return code


def test(arguments):
    prepare()
    return run_offline(["-m", "pytest", *arguments])


def doctest(arguments):
    pages = ["--doctest-glob=*.rst", "docs/user_guide"]
    return test(["--doctest-modules", "sktransfer", *pages, *arguments])


def lint(arguments):
    fix = arguments == ["--fix"]
    if arguments and not fix:
        raise Problem(f"Got {arguments}, but lint takes nothing or --fix.")
    prepare()
    steps = [
        [PYTHON, "-m", "ruff", "check", *(["--fix"] if fix else []), "."],
        [PYTHON, "-m", "ruff", "format", *([] if fix else ["--check"]), "."],
        [PYTHON, "-m", "codespell_lib", *(["-w"] if fix else []), "."],
        [BIN / "lint-imports"],
    ]
    codes = [run(step) for step in steps]  # all of them, so that one run shows all there is to do
    return max(codes)


def examples(arguments):
    prepare()
    names = [Path(name).stem for name in arguments]
    scripts = [
        script
        for script in sorted((ROOT / "examples").glob("*.py"))
        if (script.stem in names if names else script != DEMO)
    ]
    if len(scripts) < len(names):
        missing = sorted(set(names) - {script.stem for script in scripts})
        raise Problem(f"Got {', '.join(missing)}, which examples/ does not have.")
    if not scripts:
        say("no example besides the demo")
    failed = []
    for script in scripts:
        say(f"example {script.stem}")
        started = time.perf_counter()
        # What an example writes beside itself goes to a folder that is thrown away.
        with tempfile.TemporaryDirectory() as folder:
            code = run_offline([script], cwd=folder)
        say(f"example {script.stem}: {'failed' if code else 'done'} in {seconds_since(started)}")
        if code:
            failed.append(script.stem)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def bench(arguments):
    folder = ROOT / "benchmarks"
    scripts = [folder / f"{Path(name).stem}.py" for name in arguments] or sorted(
        script
        for script in folder.glob("*.py")
        if not script.name.startswith("_") and script.stem not in LONG_BENCHMARKS
    )
    missing = [script.name for script in scripts if not script.exists()]
    if missing or not scripts:
        raise Problem(f"benchmarks/ does not have {', '.join(missing) or 'any script'}.")
    prepare()
    return max(run([PYTHON, script]) for script in scripts)


def install(arguments):
    if prepare() == "unchanged":
        say(f"{VENV} is up to date")
    return 0


def venv(arguments):
    prepare(from_nothing=True)
    return 0


# --- the environment -----------------------------------------------------------------------------


def prepare(from_nothing=False):
    """Bring .venv up to date, and say "unchanged" or "changed"."""
    if is_up_to_date() and not from_nothing:
        return "unchanged"
    with one_at_a_time():
        if is_up_to_date() and not from_nothing:  # another process has done it meanwhile
            return "unchanged"
        if from_nothing or not is_usable():
            make_venv()
        install_package()
    return "changed"


def wanted_stamp():
    """Give the digest of all that decides what .venv should hold."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        content = (ROOT / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    # A venv works where it was made, and a copied or moved one would run the other folder's code.
    digest.update(f"{sys.implementation.cache_tag} {ROOT}".encode())
    return digest.hexdigest()


def is_up_to_date():
    try:
        return STAMP.read_text() == wanted_stamp() and PYTHON.exists() and not UNFINISHED.exists()
    except FileNotFoundError:
        return False


def is_usable():
    """Tell whether we can install into .venv, or have to make it from nothing."""
    if not PYTHON.exists() or UNFINISHED.exists():
        return False
    probe = "import sys, pip; print(sys.implementation.cache_tag); print(sys.prefix)"
    command = [str(PYTHON), "-c", probe]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if result.returncode:
        return False
    tag, prefix = result.stdout.splitlines()
    return tag == sys.implementation.cache_tag and Path(prefix).resolve() == VENV.resolve()


def make_venv():
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Problem(
            f"Python at {sys.executable} comes without venv or ensurepip, so it cannot make .venv. "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )
    say(f"making {VENV} with Python {sys.version.split()[0]}")
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        STAMP.unlink(missing_ok=True)  # first: a venv that is half deleted is not up to date
        UNFINISHED.touch()
        shutil.rmtree(VENV)
    code = run([sys.executable, "-m", "venv", VENV])
    if code:
        shutil.rmtree(VENV, ignore_errors=True)
        raise Problem(
            f"{sys.executable} could not make {VENV} (exit code {code}); its message is above. "
            "On Debian and Ubuntu, apt-get install python3-venv may help."
        )


def install_package():
    say("installing sktransfer and what its tests need (minutes the first time)")
    started = time.perf_counter()
    STAMP.unlink(missing_ok=True)
    # Stays behind when we are killed: what pip leaves half-installed then looks installed to it.
    UNFINISHED.touch()
    stamp = wanted_stamp()
    command = [PYTHON, "-m", "pip", "install", "-c", "constraints.txt", "-e", ".[test]"]
    code, errors = run_showing_errors(command)
    UNFINISHED.unlink()
    if code:
        raise Problem(explain_failed_install(code, errors))
    write_atomically(STAMP, stamp)
    say(f"installed in {seconds_since(started)}; from now on no network is needed")


def explain_failed_install(code, errors):
    signs_of_no_network = (
        "NewConnectionError",
        "NameResolutionError",
        "Max retries exceeded",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
        "Network is unreachable",
        "Temporary failure in name resolution",
    )
    if any(sign in errors for sign in signs_of_no_network):
        return (
            "pip could not reach the package index: the first set-up needs a network. Run the same "
            "command again with one. Behind a proxy set HTTPS_PROXY; with a folder of downloaded "
            "wheels set PIP_FIND_LINKS."
        )
    return (
        f"pip failed with exit code {code}; its message is above. Run the same command again to "
        "go on, or `python dev.py venv` to begin from nothing."
    )


@contextlib.contextmanager
def one_at_a_time():
    """Hold the lock of .venv; the system frees it when the process ends, however it ends."""
    with open(ROOT / ".venv.lock", "a") as file:
        take, free = lock_functions(file)
        if not take(wait=False):
            say("waiting for another dev.py that is setting up .venv")
            take(wait=True)
        try:
            yield
        finally:
            free()


def lock_functions(file):
    if os.name != "nt":
        import fcntl

        def take(wait):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            return True

        return take, lambda: fcntl.flock(file, fcntl.LOCK_UN)

    import msvcrt

    def take(wait):
        while True:
            file.seek(0)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(1)
            else:
                return True

    def free():
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

    return take, free


# --- processes -----------------------------------------------------------------------------------


def environment():
    """Give the variables for a child process: .venv's, and none of another environment's."""
    foreign = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "PIP_TARGET")
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    env["PATH"] = str(BIN) + os.pathsep + env.get("PATH", os.defpath)
    env["PIP_USER"] = "0"
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return env


def run(command, cwd=ROOT, **variables):
    command = [str(part) for part in command]
    return exit_code(subprocess.run(command, env={**environment(), **variables}, cwd=cwd))


def run_offline(arguments, cwd=ROOT):
    command = [PYTHON, ROOT / "tools" / "offline.py", *arguments]
    return run(command, cwd=cwd, HF_HUB_OFFLINE="1", MPLBACKEND="Agg")


def run_showing_errors(command):
    """Run a command, show all it says, and also give what it wrote to stderr."""
    command = [str(part) for part in command]
    lines = []
    with subprocess.Popen(
        command, env=environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line)
    return exit_code(process), "".join(lines)


def exit_code(process):
    """Give the exit code, with a signal as shells tell it."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def write_atomically(path, text):
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def seconds_since(started):
    return f"{time.perf_counter() - started:.0f} s"


def say(text):
    print(f"dev.py: {text}", flush=True)


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            "dev.py: sktransfer needs Python 3.11 or later, and this is Python "
            + sys.version.split()[0]
            + " at "
            + sys.executable
            + ". Try `python3.11 dev.py` or, with make, `make PYTHON=python3.11 test`."
        )
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        sys.exit(f"dev.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
