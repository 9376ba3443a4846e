import hashlib
import http.client
import io
import ssl
import types
import urllib.error

import pytest
import torch

from sktransfer.backbones.hubs import _downloads
from sktransfer.backbones.hubs._downloads import fetch_hub_file, fetch_url

CONTENT = b"weights"
URL = f"https://example.org/net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return tmp_path / "checkpoints"


def serve(monkeypatch, answer, length=None):
    """Let every request have this answer, said to be so long; return the list of requests."""
    requests = []

    def urlopen(request, timeout):
        requests.append((request, timeout))
        if isinstance(answer, Exception):
            raise answer
        response = io.BytesIO(answer)
        response.headers = {} if length is None else {"Content-Length": str(length)}
        return response

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return requests


@pytest.mark.parametrize("length", [None, len(CONTENT)])
def test_a_file_is_downloaded_once(folder, monkeypatch, length):
    requests = serve(monkeypatch, CONTENT, length)
    for _ in range(2):
        path = fetch_url(URL, "torchvision/net")
        assert path.read_bytes() == CONTENT
    assert len(requests) == 1
    assert [file.name for file in folder.iterdir()] == [path.name]


def test_a_damaged_download_is_not_kept(folder, monkeypatch):
    serve(monkeypatch, CONTENT[:-1])
    with pytest.raises(ValueError, match=r"SHA-256 digest.*damaged"):
        fetch_url(URL, "torchvision/net")
    assert list(folder.iterdir()) == []


def test_half_a_file_is_not_kept(folder, monkeypatch):
    """Also where the name has no digest."""
    serve(monkeypatch, CONTENT[:4], len(CONTENT))
    with pytest.raises(ConnectionError, match=r"torchvision/net.*broke off after 4 of 7 bytes"):
        fetch_url("https://example.org/net.pth", "torchvision/net")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route"),
        TimeoutError("timed out"),
        http.client.IncompleteRead(b"weig", 3),
        http.client.RemoteDisconnected("closed"),
        ConnectionResetError(),
    ],
)
def test_a_server_that_cannot_be_reached(folder, monkeypatch, error):
    requests = serve(monkeypatch, error)
    with pytest.raises(ConnectionError, match=r"torchvision/net.*example\.org.*weights=<file>"):
        fetch_url(URL, "torchvision/net")
    assert [timeout for _, timeout in requests] == [5]
    assert list(folder.iterdir()) == []


def test_offline_nothing_is_asked(folder, monkeypatch):
    requests = serve(monkeypatch, CONTENT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        fetch_url(URL, "torchvision/net")
    assert requests == []


def test_one_attempt_tells_that_there_is_no_hub(folder, monkeypatch):
    """The hub's own library would try again for half a minute, for every file."""
    requests = serve(monkeypatch, urllib.error.URLError("no route"))
    with pytest.raises(ConnectionError, match="no/where.*the hub cannot be reached"):
        fetch_hub_file("no/where", ["a.safetensors", "b.bin"], None, "timm/net")
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("error", "is_there"),
    [
        (urllib.error.HTTPError(URL, 404, "Not Found", {}, None), True),
        (urllib.error.URLError(ssl.SSLError("no certificates")), True),
        (urllib.error.URLError(OSError("no route")), False),
        (TimeoutError(), False),
    ],
)
def test_whether_there_is_a_hub(folder, monkeypatch, error, is_there):
    serve(monkeypatch, error)
    assert _downloads._answers(URL) is is_there


@pytest.mark.parametrize(
    ("kind", "status", "error", "message"),
    [
        ("RepositoryNotFoundError", 404, FileNotFoundError, "there is no repository.*log-in"),
        ("RevisionNotFoundError", 404, FileNotFoundError, "Got revision='v9'.*no such commit"),
        ("EntryNotFoundError", 404, FileNotFoundError, "none of the files a.safetensors, b.bin"),
        ("HfHubHTTPError", 503, ConnectionError, "could not fetch a.safetensors"),
        ("LocalEntryNotFoundError", None, ConnectionError, "cannot be reached"),
    ],
)
def test_what_the_hub_may_say(folder, monkeypatch, kind, status, error, message):
    import huggingface_hub

    serve(monkeypatch, b"")
    kind = getattr(huggingface_hub.errors, kind)
    response = types.SimpleNamespace(headers={}, status_code=status, request=None)

    def download(repository, name, **options):
        raise (
            kind("it said", response=response)
            if issubclass(kind, huggingface_hub.errors.HfHubHTTPError)
            else kind("it said")
        )

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(error, match=message):
        fetch_hub_file("some/where", ["a.safetensors", "b.bin"], "v9", "timm/net")


def test_the_first_file_that_is_there(folder, monkeypatch):
    import huggingface_hub

    serve(monkeypatch, b"")

    def download(repository, name, *, revision, local_files_only):
        assert not local_files_only
        if name == "a.safetensors":
            raise huggingface_hub.errors.EntryNotFoundError("no such file")
        return f"/cache/{repository}/{revision}/{name}"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    path = fetch_hub_file("some/where", ["a.safetensors", "b.bin"], "v9", "timm/net")
    assert str(path) == "/cache/some/where/v9/b.bin"
