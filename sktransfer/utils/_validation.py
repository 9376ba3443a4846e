"""Checks of scalar parameters, with errors that name, show and suggest."""

import difflib
import math
import numbers
import os

import numpy as np


def suggest(name, options):
    """Return `` Did you mean 'x'?`` for the near misses of ``name``, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(option) for option in options], n=3)
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(option) for option in close) + "?"


def list_options(options, limit=12):
    """Return the options as a short quoted list."""
    options = [repr(option) for option in options]
    shown = ", ".join(options[:limit])
    return shown if len(options) <= limit else f"{shown}, … ({len(options)} in all)"


def check_option(name, value, options):
    """Raise unless ``value`` is one of ``options``."""
    if not (isinstance(value, str | bool | np.bool_) and value in options):
        raise ValueError(
            f"Got {name}={value!r}, but expected one of {list_options(options)}."
            + (suggest(value, options) if isinstance(value, str) else "")
        )


def check_number(name, value, *, low=-math.inf, high=math.inf, low_open=False):
    """Raise unless ``value`` is a finite real number in [low, high], or (low, high] if low_open."""
    bound = f"a number {'>' if low_open else '>='} {low:g}"
    if high < math.inf:
        bound += f" and <= {high:g}"
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"Got {name}={value!r}, but expected {bound}.")
    too_low = value <= low if low_open else value < low
    if not math.isfinite(value) or too_low or value > high:
        raise ValueError(f"Got {name}={value!r}, but expected {bound}.")


def check_count(name, value, *, low=1):
    """Raise unless ``value`` is an integer >= low."""
    expected = f"an integer >= {low}"
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"Got {name}={value!r}, but expected {expected}.")
    if value < low:
        raise ValueError(f"Got {name}={value!r}, but expected {expected}.")


LARGEST = 1e150  # its square is a finite float64


def is_missing(label):
    """Whether a value of a column or a label stands for a missing one: None, NaN, NaT or NA."""
    if label is None:
        return True
    unequal = label != label
    # pd.NA != pd.NA is pd.NA
    return not isinstance(unequal, (bool, np.bool_)) or bool(unequal)


def check_labels(y):
    """Raise unless no label is missing and they can be sorted, that is, compared."""
    if y.dtype.kind == "f":
        n_bad = int((~np.isfinite(y)).sum())
    else:
        n_bad = sum(is_missing(label) for label in y) if y.dtype.kind == "O" else 0
    if n_bad:
        raise ValueError(
            f"Got y with {n_bad} missing or infinite labels, but expected a label for each row; "
            "remove those rows. (Input y contains NaN, None or infinity.)"
        )
    # As a Python float, since LARGEST is infinite as a float32.
    if y.dtype.kind == "f" and (largest := float(np.abs(y).max(initial=0))) > LARGEST:
        raise ValueError(
            f"Got y with values up to {largest:g}, but expected at most {LARGEST:g}, whose squares "
            "are finite; scale the labels."
        )
    try:
        np.unique(y)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"Got y with labels of the types {', '.join(kinds)}, but expected labels of one type."
        ) from error


def check_cache_dir(cache_dir):
    """Raise unless ``cache_dir`` is a path or None; whether it can be used shows when it is."""
    if cache_dir is not None and not isinstance(cache_dir, str | os.PathLike):
        raise TypeError(
            f"Got cache_dir={cache_dir!r}, but expected the path of a folder, or None for a cache "
            "in memory."
        )
    if cache_dir is not None and not os.fspath(cache_dir):
        raise ValueError("Got cache_dir='', but expected the path of a folder, or None.")
