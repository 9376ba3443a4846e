import ast
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev(tmp_path):
    """dev.py of a project of its own, in a path with spaces, where nothing was installed."""
    root = tmp_path / "a path with spaces"
    root.mkdir()
    for name in ("dev.py", "pyproject.toml", "constraints.txt"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    return load(root / "dev.py")


@pytest.fixture
def commands(dev, monkeypatch):
    """The commands that dev.py would have run; each succeeds and does nothing."""
    commands = []

    def record(command, **options):
        commands.append([str(part) for part in command])
        if commands[-1][1:3] == ["-m", "venv"]:
            dev.BIN.mkdir(parents=True)
            dev.PYTHON.touch()
        return 0

    monkeypatch.setattr(dev, "run", record)
    monkeypatch.setattr(dev, "run_showing_errors", lambda command: (record(command), ""))
    return commands


def pretend_venv(dev, monkeypatch):
    dev.BIN.mkdir(parents=True)
    dev.PYTHON.touch()
    monkeypatch.setattr(dev, "is_usable", lambda: not dev.UNFINISHED.exists())


def test_installs_once(dev, commands, monkeypatch):
    pretend_venv(dev, monkeypatch)
    assert dev.prepare() == "changed"
    (command,) = commands
    assert command[:4] == [str(dev.PYTHON), "-m", "pip", "install"]
    assert command[4:] == ["-c", "constraints.txt", "-e", ".[test]"]
    assert dev.prepare() == "unchanged"
    assert len(commands) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_installs_again_when_a_file_changed(dev, commands, monkeypatch, name):
    pretend_venv(dev, monkeypatch)
    dev.prepare()
    with open(dev.ROOT / name, "a") as file:
        file.write("# changed\n")
    assert not dev.is_up_to_date()
    assert dev.prepare() == "changed"
    assert len(commands) == 2


def test_stamp_depends_on_python_and_on_the_place(dev, monkeypatch):
    before = dev.wanted_stamp()
    assert before == dev.wanted_stamp()
    monkeypatch.setattr(dev, "ROOT", dev.ROOT / ".." / dev.ROOT.name)
    elsewhere = dev.wanted_stamp()
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    assert len({before, elsewhere, dev.wanted_stamp()}) == 3


def test_missing_python_is_not_up_to_date(dev, commands, monkeypatch):
    pretend_venv(dev, monkeypatch)
    dev.prepare()
    dev.PYTHON.unlink()
    assert not dev.is_up_to_date()


def test_venv_made_by_hand_is_installed_into(dev, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", dev.VENV], check=True)
    assert not dev.is_usable()  # no pip
    (site_packages,) = dev.VENV.rglob("site-packages")
    (site_packages / "pip.py").touch()
    assert dev.is_usable()
    assert not dev.is_up_to_date()


def test_killed_install_is_made_again_from_nothing(dev, commands, monkeypatch):
    pretend_venv(dev, monkeypatch)

    def killed(command):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dev, "run_showing_errors", killed)
        dev.prepare()
    assert dev.UNFINISHED.exists()
    assert not dev.is_up_to_date()

    (dev.VENV / "half-installed").touch()
    dev.prepare()
    assert commands[0][1:3] == ["-m", "venv"]
    assert not (dev.VENV / "half-installed").exists()


@pytest.mark.parametrize(
    ("errors", "expected"),
    [("NewConnectionError(...)", "needs a network"), ("No space left", "exit code 1")],
)
def test_failed_install_says_why_and_is_tried_again(dev, monkeypatch, errors, expected):
    pretend_venv(dev, monkeypatch)
    monkeypatch.setattr(dev, "run_showing_errors", lambda command: (1, errors))
    with pytest.raises(dev.Problem, match=expected):
        dev.prepare()
    assert not dev.is_up_to_date()
    assert dev.is_usable()  # what was there before still is


def test_python_without_ensurepip_names_the_package(dev, monkeypatch):
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(dev.Problem, match="python3-venv"):
        dev.prepare()
    assert not dev.VENV.exists()


def test_old_python_is_told(dev, tmp_path):
    source = (ROOT / "dev.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))  # so that an old Python gets as far as the message
    path = dev.ROOT / "dev.py"
    path.write_text(source.replace("(3, 11)", "(9, 0)"), encoding="utf-8")
    result = subprocess.run([sys.executable, path, "test"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "needs Python 3.11 or later" in result.stderr
    assert "Traceback" not in result.stderr


def test_arguments_go_to_pytest(dev, commands, monkeypatch):
    monkeypatch.setattr(dev, "prepare", lambda: "unchanged")
    assert dev.main(["test", "-k", "foo or bar", "-x"]) == 0
    assert commands[0][2:] == ["-m", "pytest", "-k", "foo or bar", "-x"]


def test_exit_code_passes_through(dev, monkeypatch):
    monkeypatch.setattr(dev, "prepare", lambda: "unchanged")
    monkeypatch.setattr(dev, "PYTHON", sys.executable)
    tools = dev.ROOT / "tools"
    tools.mkdir()
    (tools / "offline.py").write_text("import sys; sys.exit(5)")
    assert dev.main(["test"]) == 5
    (tools / "offline.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert dev.main(["test"]) in (143, 15)


def test_unknown_command_lists_the_known_ones(dev):
    with pytest.raises(dev.Problem, match=r"'tset'.*demo, test"):
        dev.main(["tset"])


def test_other_environments_stay_out(dev, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    assert "/elsewhere" not in dev.environment().values()
    assert dev.environment()["PATH"].startswith(str(dev.BIN))


def test_second_process_waits(dev):
    with dev.one_at_a_time():
        code = "import dev\nwith dev.one_at_a_time(): print('mine')"
        command = [sys.executable, "-u", "-c", code]
        other = subprocess.Popen(command, cwd=dev.ROOT, stdout=subprocess.PIPE, text=True)
        assert "waiting" in other.stdout.readline()
        time.sleep(0.1)
        assert other.poll() is None
    assert other.communicate(timeout=30)[0] == "mine\n"


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)",
        "from socket import *\nwith socket(type=SOCK_DGRAM) as s: s.sendto(b'', ('192.0.2.1', 80))",
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import urllib.request; urllib.request.urlopen('https://example.org')",
    ],
)
def test_network_is_blocked_offline_and_in_the_tests(tmp_path, code):
    with pytest.raises(RuntimeError, match="network is blocked"):
        exec(code, {})
    script = tmp_path / "script.py"
    script.write_text(code)
    result = run_offline(script)
    assert result.returncode == 1
    assert "NetworkBlockedError" in result.stderr


def test_this_machine_can_be_reached_offline(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import socket, sys\n"
        "server = socket.create_server(('localhost', 0))\n"
        "socket.create_connection(server.getsockname())\n"
        "print(__name__, sys.argv[1:], __file__ == sys.argv[0])\n"
    )
    result = run_offline(script, "-k", "two words")
    assert result.stdout == "__main__ ['-k', 'two words'] True\n", result.stderr


def run_offline(*arguments):
    command = [sys.executable, ROOT / "tools" / "offline.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)
