import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_snippets_run_as_they_stand_and_transfer_works(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    exec("\n".join(blocks), {})
    features, parameters, instances, tables = (
        float(line.split()[0]) for line in capsys.readouterr().out.splitlines()
    )
    assert min(features, parameters, tables) > 0.9
    assert instances > 0.8


def test_the_files_it_points_at_are_there():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (README.parent / link).exists(), link
