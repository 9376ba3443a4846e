import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "image_folder.py"


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("matplotlib", reason="it has the fonts that are rendered")
    return runpy.run_path(str(SCRIPT))["make_folder"](tmp_path / "digits", n_images=60)


def accuracy_in(output):
    (line,) = [line for line in output.splitlines() if line.startswith("accuracy")]
    return float(line.split()[1])


def test_without_a_folder_it_makes_one(run):
    pytest.importorskip("matplotlib", reason="it has the fonts that are rendered")
    output = run("--folds", 2)
    assert output.startswith("100 images, 10 classes of 10 to 10\n")
    assert accuracy_in(output) > 0.8


def test_a_folder_of_images_of_any_size(run, folder):
    assert accuracy_in(run(folder, "--folds", 2, "--size", 14, "--jobs", 1)) > 0.8
    with pytest.raises(SystemExit, match="--folds 7 needs"):
        run(folder, "--folds", 7)
