import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sktransfer

ROOT = Path(__file__).resolve().parents[1]


def run_python(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_leaves_the_big_libraries_alone():
    loaded = run_python("import sktransfer, sys; print(*sys.modules)").split()
    assert "sktransfer" in loaded
    assert not {"numpy", "scipy", "sklearn", "torch", "skorch", "pandas"} & set(loaded)


def test_import_time(record_property):
    code = "import time; t = time.perf_counter(); import sktransfer; print(time.perf_counter() - t)"
    seconds = min(float(run_python(code)) for _ in range(3))
    # Shown with -s and in the report, not asserted: a busy machine is no mistake of ours.
    record_property("import_seconds", seconds)
    print(f"import sktransfer: {seconds:.3f} s")


def test_dir_lists_all_names_without_importing_them():
    code = "import sktransfer, sys; print(*dir(sktransfer)); assert 'torch' not in sys.modules"
    listed = run_python(code).split()
    assert {*sktransfer.__all__, "datasets", "feature", "__version__"} <= set(listed)


@pytest.mark.parametrize("name", sktransfer.__all__)
def test_public_name_can_be_imported(name):
    namespace = {}
    exec(f"from sktransfer import {name}", namespace)
    assert namespace[name].__name__ == name
    assert getattr(sktransfer, name) is namespace[name]


@pytest.mark.parametrize("name", sktransfer._SUBMODULES)
def test_submodule_is_an_attribute(name):
    module = run_python(f"import sktransfer; print(sktransfer.{name}.__name__)")
    assert module.strip() == f"sktransfer.{name}"


def test_the_lists_of_public_names_agree():
    """Type checkers read the imports, `import *` reads `__all__`, and Python uses the dict."""
    tree = ast.parse(Path(sktransfer.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for_type_checkers = {
        alias.name: statement.module for statement in block.body for alias in statement.names
    }
    assert for_type_checkers == {
        name: f"sktransfer.{module}" for name, module in sktransfer._MODULE_OF.items()
    }
    assert sorted(sktransfer.__all__) == sorted(sktransfer._MODULE_OF)  # ruff keeps the order
    assert set(sktransfer._MODULE_OF.values()) <= set(sktransfer._SUBMODULES)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("Bakbone", "Backbone"), ("load_backbon", "load_backbone"), ("sourcedomain", "SourceDomain")],
)
def test_unknown_name_suggests_a_near_one(wrong, right):
    with pytest.raises(AttributeError, match=rf"'{wrong}'.* Did you mean '{right}'\?"):
        getattr(sktransfer, wrong)


def test_unknown_name_without_a_near_one():
    with pytest.raises(AttributeError, match=r"no attribute 'xyz'\.$"):
        sktransfer.xyz  # noqa: B018
    assert not hasattr(sktransfer, "__wrapped__")


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_users_need(tmp_path):
    # The wheel is built from the sdist, so it also shows that the sdist is whole.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    built = subprocess.run(command, capture_output=True, text=True, env=env)
    assert built.returncode == 0, built.stdout + built.stderr

    (wheel,) = tmp_path.glob("sktransfer-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "sktransfer/py.typed" in names
    assert "sktransfer/backbones/glyphs.safetensors" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sktransfer").rglob("*.py")}
    assert modules <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sktransfer"}
    assert wheel.stat().st_size < 3_000_000
