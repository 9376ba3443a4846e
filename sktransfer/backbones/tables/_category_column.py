"""A column of categories: the vocabulary of the source, and the codes of rows."""

import dataclasses
import functools

import numpy as np

from sktransfer.backbones.tables._category_keys import index_keys, make_key
from sktransfer.backbones.tables._column import Kind
from sktransfer.backbones.tables._number_column import advise, check_finite

# Of a column, in messages.
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class CategoryColumn:
    """What is known of a column of categories.

    Parameters
    ----------
    name : str
    categories : tuple of str
        Keys of the values that the source has, in alphabetical order.
    """

    name: str
    categories: tuple

    @classmethod
    def learn(cls, name, column):
        """Find the vocabulary in a column of the source."""
        categories = _read_categories(name, column).distinct
        return cls(name, tuple(sorted({make_key(value) for value in categories})))

    @functools.cached_property
    def _codes(self):
        return index_keys(self.categories)

    def encode(self, column):
        """Return the codes of the rows, 0 where the category is unknown or missing."""
        column, codes = self._look_up(column)
        return codes[column.codes]

    def find_unknown(self, column):
        """Return how many values are not missing, how many of them are unknown, and a few."""
        column, codes = self._look_up(column)
        is_present = column.codes >= 0
        is_unknown = is_present & (codes[column.codes] == 0)
        positions = np.unique(column.codes[is_unknown])[:_SHOWN]
        return int(is_present.sum()), int(is_unknown.sum()), [column.distinct[i] for i in positions]

    def _look_up(self, column):
        column = _read_categories(self.name, column)
        codes = [self._codes.get(make_key(value), 0) for value in column.distinct]
        return column, np.array([*codes, 0])

    def as_data(self):
        """Return the column as plain data."""
        return {"name": self.name, "categories": list(self.categories)}


def _read_categories(name, column):
    """Return a column with codes; raise if it holds what is no category."""
    if column.kind in (Kind.TIMES, Kind.NESTED, Kind.COMPLEX):
        raise ValueError(
            f"Got X with {column.kind.value} in the column {name!r}, but the backbone has "
            f"categories there; expected categories.{advise(column.kind)}"
        )
    if column.kind is Kind.NUMBERS:
        check_finite(name, column.numbers)
    return column.as_categories()
