"""A column of numbers: its scale in the source, and how rows are brought to it."""

import dataclasses

import numpy as np

from sktransfer.backbones.tables._column import Column, Kind

# Where the smooth clip bends: scaled values stay within this bound.
_BOUND = 3.0
# Interquartile range of a standard normal.
_IQR_OF_NORMAL = 1.349
# Beyond it the smooth clip has reached its bound, and squares are finite.
_FAR = 1e6
# So that sums of numbers are finite; larger ones count as this one.
_LARGEST = 1e300


@dataclasses.dataclass(frozen=True)
class NumberColumn:
    """What is known of a column of numbers.

    Parameters
    ----------
    name : str
    center : float
        Median of the source.
    scale : float
        Interquartile range of the source in units of that of a normal distribution; of a column
        that is mostly constant half its range, and 1 if it is constant. 0 if the source has no
        values, of which the network then knows nothing: all count as missing.
    """

    name: str
    center: float
    scale: float

    @classmethod
    def learn(cls, name, column):
        """Find centre and scale in a column of the source."""
        numbers = read_numbers(name, column)
        present = numbers[~np.isnan(numbers)]
        if not len(present):
            return cls(name, 0.0, 0.0)
        return cls(name, float(np.median(present)), _find_spread(present) or 1.0)

    def encode(self, column):
        """Return the scaled numbers, 0 where one is missing, and which are missing."""
        numbers = read_numbers(self.name, column)
        if not self.scale:
            return np.zeros(len(numbers)), np.ones(len(numbers), dtype=bool)
        is_missing = np.isnan(numbers)
        with np.errstate(over="ignore"):
            scaled = np.clip((numbers - self.center) / self.scale, -_FAR, _FAR)
        scaled /= np.sqrt(1 + (scaled / _BOUND) ** 2)
        return np.where(is_missing, 0, scaled), is_missing

    def measure(self, column, at_least):
        """Return median and spread of a column in units of the source.

        None if fewer values than ``at_least`` are there, or none in the source.
        """
        numbers = read_numbers(self.name, column)
        present = numbers[~np.isnan(numbers)]
        if len(present) < at_least or not self.scale:
            return None
        with np.errstate(over="ignore"):
            center = (np.median(present) - self.center) / self.scale
            return float(center), float(_find_spread(present) / self.scale)

    def as_data(self):
        """Return the column as plain data."""
        return {"name": self.name, "center": self.center, "scale": self.scale}


def _find_spread(numbers):
    """Return a robust standard deviation; 0 if all numbers are equal."""
    low, high = np.percentile(numbers, [25, 75])
    spread = (high - low) / _IQR_OF_NORMAL or (numbers.max() - numbers.min()) / 2
    # What is smaller cannot be divided by.
    return float(spread) if spread > np.finfo(np.float64).tiny else 0.0


def read_numbers(name, column):
    """Return the numbers of a column, also those written as text, as float64.

    Raises
    ------
    ValueError
        If a text is no number, or a number infinite.
    """
    numbers = column.numbers if column.kind is Kind.NUMBERS else _parse(name, column)
    check_finite(name, numbers)
    return np.clip(numbers, -_LARGEST, _LARGEST)


def check_finite(name, numbers):
    """Raise for infinity; NaN stands for a missing value."""
    if np.isinf(numbers).any():
        raise ValueError(
            f"Got X with infinity in the column {name!r}, but expected finite values; NaN stands "
            "for a missing one."
        )


def parse_number(value):
    """Return the number that a value is or spells, or None."""
    # Python reads 1_000 as a number.
    if isinstance(value, str) and "_" in value:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _parse(name, column: Column):
    if column.kind not in (Kind.CATEGORIES, Kind.TEXTS, Kind.EMPTY):
        raise ValueError(
            f"Got X with {column.kind.value} in the column {name!r}, but the backbone has numbers "
            f"there; expected numbers.{advise(column.kind)}"
        )
    parsed = [parse_number(value) for value in column.distinct]
    foreign = [v for v, number in zip(column.distinct, parsed, strict=True) if number is None]
    if foreign:
        raise ValueError(
            f"Got X with texts such as {foreign[0]!r} in the column {name!r}, but the backbone has "
            "numbers there; expected numbers, or texts that are all numbers. Make NaN of what "
            "stands for a missing value, and 1.5 of '1,5'."
        )
    return np.array([*parsed, np.nan])[column.codes]


def advise(kind):
    """Say how columns of another kind become numbers or categories."""
    if kind is Kind.TIMES:
        return (
            " skrub.TableVectorizer makes numbers of dates: fit it to the source, and transform "
            "source and target with it."
        )
    return ""
