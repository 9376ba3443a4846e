"""Files that appear once they are complete."""

import contextlib
import os
import uuid


@contextlib.contextmanager
def replacing(path):
    """Give the path of a file to write, which takes the place of another if there is no error.

    Parameters
    ----------
    path : pathlib.Path
        An older file is replaced; an error leaves it as it is, and nothing of the new one.
    """
    # In the same folder, since a rename does not leave a file system.
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
