"""A column of any container: numbers, or distinct values with a code for each row."""

import dataclasses
import datetime
import decimal
import enum
import numbers

import numpy as np

from sktransfer.utils._validation import is_missing


class Kind(enum.Enum):
    """What a column holds, as far as it tells."""

    NUMBERS = "numbers"
    # By its type: categories, truth values.
    CATEGORIES = "categories"
    # Texts, or texts among other things: categories unless there are too many.
    TEXTS = "texts"
    # Nothing but missing values, of no type.
    EMPTY = "no values"
    TIMES = "dates or times"
    NESTED = "lists or other objects"
    COMPLEX = "complex numbers"


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """The values of one column.

    Parameters
    ----------
    kind : Kind
    numbers : ndarray of shape (n,), default=None
        For ``Kind.NUMBERS``: float64, NaN where a value is missing.
    codes : ndarray of shape (n,), default=None
        For categories and texts: positions in ``distinct``, -1 where a value is missing.
    distinct : list, default=None
    """

    kind: Kind
    numbers: np.ndarray | None = None
    codes: np.ndarray | None = None
    distinct: list | None = None

    @classmethod
    def of_numbers(cls, values):
        return cls(Kind.NUMBERS, numbers=np.asarray(values, dtype=np.float64))

    @classmethod
    def of_categories(cls, codes, categories):
        """Make a column of codes (-1: missing) and the values that they stand for."""
        return cls(Kind.CATEGORIES, codes=np.asarray(codes), distinct=list(categories))._tidy()

    @classmethod
    def of_objects(cls, values, kind=None):
        """Make a column of any Python objects, of the kind that they are."""
        codes_of = {}
        try:
            codes = [codes_of.setdefault(value, len(codes_of)) for value in values]
        except TypeError:
            # What cannot be hashed.
            return cls(Kind.NESTED)
        column = cls(Kind.TEXTS, codes=np.array(codes, dtype=np.intp), distinct=list(codes_of))
        return column._tidy()._with_kind(kind)

    def as_categories(self):
        """Return the column with codes, also where it holds numbers."""
        if self.kind is not Kind.NUMBERS:
            return self
        present = ~np.isnan(self.numbers)
        distinct, inverse = np.unique(self.numbers[present], return_inverse=True)
        codes = np.full(len(self.numbers), -1)
        codes[present] = inverse
        return Column(Kind.CATEGORIES, codes=codes, distinct=distinct.tolist())

    def _tidy(self):
        """Give missing values the code -1, and leave out values that no row has."""
        is_kept = np.zeros(len(self.distinct) + 1, dtype=bool)
        is_kept[self.codes] = True
        is_kept[-1] = False
        for i, value in enumerate(self.distinct):
            is_kept[i] &= not (is_missing(value) or (isinstance(value, str) and not value.strip()))
        new_codes = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
        distinct = [v for v, keep in zip(self.distinct, is_kept[:-1], strict=True) if keep]
        return dataclasses.replace(self, codes=new_codes[self.codes], distinct=distinct)

    def _with_kind(self, kind):
        """Return the column with the kind that is given, or that its values tell."""
        kind = _find_kind(self.distinct) if kind is None else kind
        if kind is Kind.NUMBERS:
            values = np.array([*map(float, self.distinct), np.nan])
            return Column.of_numbers(values[self.codes])
        return dataclasses.replace(self, kind=kind)


_TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def _has_no_text(kind):
    """Tell whether objects are written as their address in memory."""
    return kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__


def _find_kind(values):
    """Return the kind of distinct values, none of which is missing."""
    if not values:
        return Kind.EMPTY
    types = {type(value) for value in values}
    if all(issubclass(kind, bool | np.bool_) for kind in types):
        return Kind.CATEGORIES
    # Before numbers, since numpy takes durations for integers.
    if any(issubclass(kind, _TIMES) or kind.__name__ == "Period" for kind in types):
        return Kind.TIMES
    if all(issubclass(kind, numbers.Real | decimal.Decimal | np.bool_) for kind in types):
        return Kind.NUMBERS
    if any(issubclass(kind, tuple | frozenset) or _has_no_text(kind) for kind in types):
        return Kind.NESTED
    if any(issubclass(kind, complex | np.complexfloating) for kind in types):
        return Kind.COMPLEX
    return Kind.TEXTS
