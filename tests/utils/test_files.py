import pytest

from sktransfer.utils._files import replacing


def test_a_file_appears_once_it_is_complete(tmp_path):
    path = tmp_path / "file.bin"
    for content in (b"first", b"second"):
        before = path.read_bytes() if path.exists() else None
        with replacing(path) as unfinished:
            unfinished.write_bytes(content)
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_older_file(tmp_path, error):
    path = tmp_path / "file.bin"
    path.write_bytes(b"first")
    with pytest.raises(error), replacing(path) as unfinished:
        unfinished.write_bytes(b"sec")
        raise error
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
