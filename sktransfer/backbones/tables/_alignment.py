"""Which column of a table is which column of the source."""

import dataclasses
import difflib
import warnings

from sktransfer.exceptions import ColumnMismatchWarning

_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Where the columns that a backbone knows are in a table.

    Parameters
    ----------
    positions : tuple of (int or None)
        One for each column that the backbone knows; None where the table lacks it.
    missing : tuple of str
        Columns that the table lacks.
    extra : tuple of str
        Columns that the backbone does not know.
    by_position : bool
        Whether a frame had to be read by position, as the source had no names.
    """

    positions: tuple
    missing: tuple = ()
    extra: tuple = ()
    by_position: bool = False

    def warn(self, known, *, about_extra):
        """Say what is missing, and what is left out."""
        said = []
        if self.missing:
            said.append(
                f"without the columns {list_names(self.missing)} of the source, whose values count "
                f"as missing{_name_near(self.missing, self.extra)}"
            )
        if self.extra and about_extra:
            said.append(
                f"with the columns {list_names(self.extra)}, which the backbone does not know and "
                "which are left out"
            )
        if self.by_position:
            said.append("with names of columns, which the source had not: they count by position")
        if said:
            warnings.warn(
                f"Got X {'; and '.join(said)}. Expected the columns of the source: "
                f"{list_names(known)}.",
                ColumnMismatchWarning,
                stacklevel=2,
            )


def align(names, n_columns, known, has_names):
    """Return the `Alignment` of a table with the columns of the source.

    Parameters
    ----------
    names : tuple of str or None
        Of the table.
    n_columns : int
    known : tuple of str
        Of the source.
    has_names : bool
        Whether the source had names.

    Raises
    ------
    ValueError
        If more than half of the columns are missing; without names, if their number differs.
    """
    if names is None or not has_names:
        if n_columns != len(known):
            raise ValueError(
                f"Got X with {n_columns} columns, but the backbone was "
                f"trained on {len(known)}: {list_names(known)}; expected as many, in this order, "
                "or a frame with these names."
            )
        return Alignment(tuple(range(n_columns)), by_position=names is not None)
    place = {name: position for position, name in enumerate(names)}
    missing = tuple(name for name in known if name not in place)
    known_names = set(known)
    extra = tuple(name for name in names if name not in known_names)
    if 2 * len(missing) > len(known):
        raise ValueError(
            f"Got X with the columns {list_names(names)}, but expected those of the source, "
            f"{list_names(known)}: {len(missing)} of {len(known)} are missing, more than half"
            f"{_name_near(missing, extra)}."
        )
    return Alignment(tuple(place.get(name) for name in known), missing, extra)


def list_names(names):
    """Return names as a short quoted list."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    rest = len(names) - _SHOWN
    return shown + (f" and {rest} more" if rest > 0 else "")


def _name_near(missing, extra):
    """Say which of the other columns have nearly the same names."""
    lower = {name.casefold(): name for name in reversed(extra)}
    pairs = []
    for name in missing:
        near = difflib.get_close_matches(name.casefold(), lower, n=1)
        if near:
            pairs.append(f"{lower[near[0]]!r} for {name!r}")
    return f" (near: {', '.join(pairs[:3])}; rename them)" if pairs else ""
