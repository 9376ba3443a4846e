"""Checks of scalar parameters, with errors that name, show and suggest."""

import difflib
import math
import numbers


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
    if not (isinstance(value, str | bool) and value in options):
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
