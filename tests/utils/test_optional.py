import json.decoder
import sys

import pytest

from sktransfer.utils._optional import import_optional


def test_a_library_or_a_module_in_it():
    assert import_optional("json", "extra", "This needs json") is json
    assert import_optional("json.decoder", "extra", "This needs json") is json.decoder


@pytest.mark.parametrize("name", ["notthere", "notthere.module"])
def test_what_is_missing_is_named_with_its_extra(name):
    message = r'This needs it, which is not installed; do pip install "sktransfer\[extra\]"\.'
    with pytest.raises(ImportError, match=message):
        import_optional(name, "extra", "This needs it")


def test_a_library_that_misses_another_is_not_taken_for_missing(tmp_path, monkeypatch):
    (tmp_path / "halfinstalled.py").write_text("import notthere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="installed but cannot be imported.*'notthere'"):
        import_optional("halfinstalled", "extra", "This needs it")
    assert "halfinstalled" not in sys.modules
