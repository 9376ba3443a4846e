"""The text that stands for a category, however a file or a library has read it."""

import re
from decimal import Decimal
from numbers import Real

# Without zeros in front, as postal codes and identifiers have them.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")
# What one reader calls a truth value is a number for another one.
_ALIASES = {"True": "1", "False": "0", "1": "True", "0": "False", "true": "1", "false": "0"}


def make_key(value):
    """Return the text that is the same for 1, 1.0 and "1", for True and "True".

    Texts lose spaces at their ends; those that are empty then stand for a missing value.

    Parameters
    ----------
    value : object
        No missing one.

    Examples
    --------
    >>> [make_key(value) for value in (1, 1.0, "1", "1.0", " 01", 1.5, True)]
    ['1', '1', '1', '1', '01', '1.5', 'True']
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        return str(int(text.partition(".")[0])) if _WHOLE.fullmatch(text) else text
    if hasattr(value, "dtype"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return str(value).strip()
    number = float(value)
    return str(int(value)) if number.is_integer() else repr(number)


def index_keys(keys):
    """Return a dict from each key, and from what else it may be written as, to its code >= 1."""
    codes = {key: code for code, key in enumerate(keys, start=1)}
    for written, key in _ALIASES.items():
        if key in codes:
            codes.setdefault(written, codes[key])
    for written, key in (("true", "True"), ("false", "False")):
        if key in codes:
            codes.setdefault(written, codes[key])
    return codes
