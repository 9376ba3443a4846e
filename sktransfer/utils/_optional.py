"""Libraries that sktransfer needs for some of what it does."""

import importlib


def import_optional(name, extra, need):
    """Import a library that may not be there, or say how it is installed.

    Parameters
    ----------
    name : str
        Of the library or a module in it.
    extra : str
        The extra of sktransfer that has the library.
    need : str
        What is needed and why, a sentence without its end, for messages.

    Raises
    ------
    ImportError
        If it is not installed, or cannot be imported.
    """
    library = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise ImportError(
                f"{need}, which is installed but cannot be imported: {error}"
            ) from error
        raise ImportError(
            f'{need}, which is not installed; do pip install "sktransfer[{extra}]".'
        ) from error
