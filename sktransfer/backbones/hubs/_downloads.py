"""Pretrained weights from where their libraries keep them, in the caches of those libraries.

Without a network this fails within seconds: the libraries themselves try again for half a minute
for each file.
"""

import hashlib
import http.client
import os
import pathlib
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request

import torch

from sktransfer.backbones.hubs._state_dict import SUFFIXES
from sktransfer.utils._files import replacing

_TIMEOUT = 5


def is_offline():
    """Tell whether the user switched downloads off, with the variable of the hub's own library."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch_hub_file(repository, names, revision, subject, advice=None):
    """Return the path of the first of these files that a repository of the hub has.

    Parameters
    ----------
    repository : str
    names : sequence of str
        In order of preference.
    revision : str or None
    subject : str
        Who asks, for messages: the name of the backbone.
    advice : str, default=None
        What to do without a network, for messages.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = f"repository {repository!r} of {constants.ENDPOINT}"
    cannot_ask = is_offline() or not _answers(constants.ENDPOINT)
    for name in names:
        try:
            path = hf_hub_download(repository, name, revision=revision, local_files_only=cannot_ask)
            return pathlib.Path(path)
        except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError):
            reason = "it is not in the cache of this machine, and the hub cannot be reached"
            if is_offline():
                reason = "it is not in the cache of this machine, and HF_HUB_OFFLINE is set"
            if name == names[-1] or not cannot_ask:
                wanted = f"{names[0]} of {place}"
                raise _unavailable(subject, wanted, reason, advice) from None
        except EntryNotFoundError:
            continue
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise FileNotFoundError(
                f"Got backbone={subject!r}, but there is no {place}, or it wants a log-in; check "
                "the name, or pass a local folder or file."
            ) from error
        except RevisionNotFoundError as error:
            raise FileNotFoundError(
                f"Got revision={revision!r} with backbone={subject!r}, but {place} has no such "
                "commit, tag or branch."
            ) from error
        except HfHubHTTPError as error:
            wanted = f"{names[0]} of {place}"
            raise _unavailable(subject, wanted, str(error)[:200], advice) from error
    raise FileNotFoundError(
        f"Got backbone={subject!r}, but {place} has none of the files {', '.join(names)}; pass "
        "weights=... with a file from elsewhere."
    )


def fetch_url(url, subject):
    """Return the path of a file by its address, from the cache of torch.hub or downloaded.

    If the name of the file ends in the beginning of a SHA-256 digest, as torch has it, a download
    is checked.
    """
    name = pathlib.PurePosixPath(urllib.parse.urlparse(url).path).name
    folder = pathlib.Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / name
    if path.is_file():
        return path
    if is_offline():
        reason = f"it is not in {str(folder)!r}, and HF_HUB_OFFLINE is set"
        raise _unavailable(subject, url, reason)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as unfinished:
            with (
                urllib.request.urlopen(url, timeout=_TIMEOUT) as response,
                open(unfinished, "xb") as file,
            ):
                shutil.copyfileobj(response, file, 2**20)
                expected, found = response.headers.get("Content-Length"), file.tell()
            if expected is not None and found != int(expected):
                reason = f"the download broke off after {found} of {expected} bytes; try again"
                raise _unavailable(subject, url, reason)
            _check_name(unfinished, name, url)
    except urllib.error.URLError as error:
        raise _unavailable(subject, url, f"it is not in {str(folder)!r}, and {error}") from error
    except TimeoutError as error:
        raise _unavailable(subject, url, "the server does not answer") from error
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError) as error:
        reason = f"the connection broke off ({error or type(error).__name__}); try again"
        raise _unavailable(subject, url, reason) from error
    return path


def _check_name(path, name, url):
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if digits and not found.startswith(digits[1]):
        raise ValueError(
            f"Got a file from {url} with the SHA-256 digest {found}, but its name says "
            f"{digits[1]}…: the download is damaged; try again."
        )


def _answers(url):
    """Tell whether there is a server, with one short attempt."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        # Who has no certificates here may have them in the hub's library, and there is a server.
        return isinstance(getattr(error, "reason", error), ssl.SSLError)
    return True


def _unavailable(subject, what, reason, advice=None):
    advice = advice or (
        "Fetch the file where there is a network and pass it as weights=<file> "
        f"({', '.join(SUFFIXES)}), or pass pretrained=False for random weights"
    )
    return ConnectionError(
        f"Got backbone={subject!r}, but could not fetch {what}: {reason}. {advice}."
    )
