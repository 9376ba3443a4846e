"""From rows of a table, in any container, to what a network of tables takes."""

import dataclasses
import functools
import hashlib
import json
import warnings

import numpy as np

from sktransfer.backbones.tables._alignment import align, list_names
from sktransfer.backbones.tables._category_column import CategoryColumn
from sktransfer.backbones.tables._column import Kind
from sktransfer.backbones.tables._encoded_rows import EncodedRows, TableRows, mark_encoded
from sktransfer.backbones.tables._number_column import NumberColumn, advise, parse_number
from sktransfer.backbones.tables._one_hot_rows import OneHotRows
from sktransfer.backbones.tables._table import Table
from sktransfer.exceptions import ColumnMismatchWarning
from sktransfer.utils._validation import suggest

VERSION = 1
# Texts of more distinct values than this, most of them seen once or twice, are no categories.
_MAX_TEXTS, _MIN_REPEATS = 50, 2
# A column of so many numbers as texts has other texts as marks, if they are so few.
_MIN_NUMBERS, _MAX_MARKS = 10, 2
# Fewer values than this do not tell of a column that it is written otherwise.
_TELLING = 5
# Numbers whose spread is this many times that of the source, or a part, are of another scale, and
# so are those this many spreads away.
_FAR_SPREAD, _FAR_CENTER, _VERY_FAR = 4.0, 4.0, 20.0
# Fewer rows than this tell nothing about the scale of a column.
_MEASURED_FROM = 10


@dataclasses.dataclass(frozen=True, repr=False)
class TableInput:
    """What a network of tables wants to be fed, learned from the source and never again.

    An encoded row is one vector of float32: the numbers, brought to the scale of the source, 0
    where one is missing; for each number 1 where it is missing and 0 elsewhere; and for each
    category its code, 0 where it is unknown or missing, else from 1 on.

    Numbers become ``z / sqrt(1 + (z / 3) ** 2)`` with ``z = (x - median) / spread``, where the
    spread is the interquartile range in units of that of a normal distribution [1]_. They stay
    within -3 and 3, however far they are from the source.

    Parameters
    ----------
    columns : tuple of NumberColumn or CategoryColumn
        In the order of the source.
    has_names : bool, default=True
        Whether the source had names of columns; without, columns count by position.

    Attributes
    ----------
    feature_names : tuple of str
        Of the source; ``x0``, ``x1`` and so on if it had none.
    n_numeric : int
    cardinalities : tuple of int
        Number of categories of each column of categories, the unknown one left out.
    n_encoded : int
        Length of an encoded row.
    encoded_names : tuple of str
        The columns in the order of the codes: those of numbers first.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: strong pre-tuned MLPs
       and boosted trees on tabular data", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.backbones import TableInput
    >>> X_source = np.array([[1.0, "red"], [2.0, "blue"], [3.0, "red"]], dtype=object)
    >>> table = TableInput.learn(X_source)
    >>> table.n_numeric, table.cardinalities, table.n_encoded
    (1, (2,), 3)
    >>> table.prepare(np.array([[2.0, "red"], [np.nan, "green"]], dtype=object)).tolist()
    [[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]]
    """

    columns: tuple
    has_names: bool = True

    # What kinds of X estimators may hand on as they come.
    takes_frames = True
    # As of a `NetworkInput` for vectors.
    channels = 0
    min_size = 1

    @classmethod
    def learn(cls, X, *, categorical="auto"):
        """Find scales and vocabularies in the source.

        Parameters
        ----------
        X : frame or array-like of shape (n, n_columns)
            Rows of the source, with missing values where there are any.
        categorical : "auto" or sequence of str or int, default="auto"
            Names (of an array: positions) of columns that hold categories although they are
            numbers, or although nearly each of their values is another. "auto": those that are of
            the types category, bool or text.

        Returns
        -------
        table_input : TableInput

        Raises
        ------
        ValueError
            For dates, nested values and texts that are no categories.
        """
        table = Table(X)
        if not table.n_columns:
            raise ValueError(f"Got X with 0 feature(s) (shape=({table.n_rows}, 0)).")
        names = table.names or tuple(f"x{i}" for i in range(table.n_columns))
        chosen = _check_categorical(categorical, table.names, table.n_columns)
        columns = [
            _learn_column(name, table.read(i), is_chosen=i in chosen)
            for i, name in enumerate(names)
        ]
        return cls(tuple(columns), table.names is not None)

    @functools.cached_property
    def feature_names(self):
        return tuple(column.name for column in self.columns)

    @functools.cached_property
    def _numbers(self):
        return tuple(i for i, c in enumerate(self.columns) if isinstance(c, NumberColumn))

    @functools.cached_property
    def _categories(self):
        return tuple(i for i, c in enumerate(self.columns) if isinstance(c, CategoryColumn))

    @property
    def encoded_names(self):
        return tuple(self.columns[i].name for i in (*self._numbers, *self._categories))

    @property
    def n_numeric(self):
        return len(self._numbers)

    @functools.cached_property
    def cardinalities(self):
        return tuple(len(self.columns[i].categories) for i in self._categories)

    @property
    def n_encoded(self):
        return 2 * self.n_numeric + len(self.cardinalities)

    @functools.cached_property
    def digest(self):
        """Digest of all that is known of the columns."""
        text = json.dumps(self.as_data(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def __repr__(self):
        # Backbones are known by it, among other things.
        counts = [
            f"{n} {one if n == 1 else many}"
            for n, one, many in (
                (self.n_numeric, "number", "numbers"),
                (len(self.cardinalities), "category", "categories"),
            )
        ]
        return f"TableInput({', '.join(counts)}, {self.digest})"

    def prepare(self, X, image_shape=None):
        """Return the rows as float32, of shape (n, n_encoded)."""
        return np.asarray(self.encode_rows(X))

    def encode_rows(self, X, *, quiet=False, about_extra=True):
        """Return the rows as `EncodedRows`, which are left as they are if they are encoded.

        Parameters
        ----------
        X : frame, array-like of shape (n, n_columns), Table or EncodedRows
        quiet : bool, default=False
            Leave out the warnings about columns that are missing, not used or of another scale.
        about_extra : bool, default=True
            Whether a warning names columns that are not used.

        Raises
        ------
        ValueError
            If the rows cannot be read as those of the source.
        """
        if isinstance(X, EncodedRows):
            return X
        if isinstance(X, TableRows):
            return X.encoded
        table = self.read(X)
        aligned = self.align(table)
        encoded = np.zeros((table.n_rows, self.n_encoded), dtype=np.float32)
        read = {i: table.read(p) for i, p in enumerate(aligned.positions) if p is not None}
        for place, i in enumerate(self._numbers):
            numbers, is_missing = self.columns[i].encode(read[i]) if i in read else (0, 1)
            encoded[:, place], encoded[:, self.n_numeric + place] = numbers, is_missing
        for place, i in enumerate(self._categories, start=2 * self.n_numeric):
            if i in read:
                encoded[:, place] = self.columns[i].encode(read[i])
        if not quiet:
            aligned.warn(self.feature_names, about_extra=about_extra)
            self._warn_of_scale(read)
        self._warn_of_unknown(read)
        return mark_encoded(encoded)

    def read(self, X):
        """Return X as a `Table`."""
        return X if isinstance(X, Table) else Table(X)

    def align(self, table):
        """Return the `Alignment` of a `Table` with the source."""
        return align(table.names, table.n_columns, self.feature_names, self.has_names)

    def _warn_of_unknown(self, read):
        """Name columns of which most values are unknown: they may be written otherwise."""
        for i in self._categories:
            column = self.columns[i]
            if i not in read or not column.categories:
                continue
            n_present, n_unknown, examples = column.find_unknown(read[i])
            if n_present >= _TELLING and 2 * n_unknown > n_present:
                warnings.warn(
                    f"Got X with {n_unknown / n_present:.0%} of the values in the column "
                    f"{column.name!r} unknown to the backbone, such as {list_names(examples)}; "
                    f"expected categories of the source, such as {list_names(column.categories)}. "
                    "Unknown ones count as missing; if they only are written otherwise, recode "
                    "them.",
                    ColumnMismatchWarning,
                    stacklevel=2,
                )

    def _warn_of_scale(self, read):
        """Name columns that seem to have been scaled before, or to be of other units."""
        measured, far, is_certain = 0, [], False
        for i in self._numbers:
            found = self.columns[i].measure(read[i], _MEASURED_FROM) if i in read else None
            if found is None:
                continue
            measured += 1
            center, spread = abs(found[0]), found[1]
            has_other_spread = spread > 0 and not 1 / _FAR_SPREAD < spread < _FAR_SPREAD
            if center > _FAR_CENTER or has_other_spread:
                far.append(self.columns[i].name)
            is_certain |= center > _VERY_FAR
        if is_certain or 2 * len(far) > measured:
            warnings.warn(
                f"Got X with numbers of another scale than those of the source, in the columns "
                f"{list_names(far)}; expected them as the source had them, in the same units, "
                "since the backbone scales them itself. Leave out a scaler, or use the one that "
                "was fitted to the source.",
                ColumnMismatchWarning,
                stacklevel=2,
            )

    # What follows is asked of any input of a network, see `NetworkInput`.

    def check(self, shape, image_shape=None):
        """Raise unless encoded rows of this shape fit the network."""
        if image_shape is not None:
            raise ValueError(
                f"Got image_shape={image_shape!r} with a backbone for tables; leave image_shape "
                "out."
            )
        if tuple(shape[1:]) != (self.n_encoded,):
            raise ValueError(
                f"Got encoded rows of shape {tuple(shape[1:])}, but expected "
                f"{self.n_encoded} values; encode rows with the input of this backbone."
            )

    def count_foreign_channels(self, shape, image_shape=None):
        """Return None: tables have no channels."""

    def find_size(self):
        """Return None: tables have no size in pixels."""

    def lay_out(self, X, image_shape=None):
        """Return encoded rows as they are."""
        return self.prepare(X)

    def arrange(self, X, image_shape=None):
        """Return encoded rows as they are."""
        return self.prepare(X)

    def normalise(self, rows, out=None):
        """Return encoded rows as they are."""
        return rows

    def cast(self, inputs, dtype):
        """Return a tensor of encoded rows as it is: lower precision would mix up codes."""
        return inputs

    def make_plain_network(self):
        """Return a network without weights that gives the rows as a linear model takes them."""
        return OneHotRows(self.n_numeric, self.cardinalities)

    def make_example(self):
        """Return two encoded rows."""
        return mark_encoded(np.zeros((2, self.n_encoded)))

    def as_data(self):
        """Return all that is known of the columns as plain data, of which `from_data` makes it."""
        columns = [column.as_data() for column in self.columns]
        return {
            "kind": "table",
            "version": VERSION,
            "has_names": self.has_names,
            "columns": columns,
        }

    @classmethod
    def from_data(cls, data):
        """Make a `TableInput` of what `as_data` returned.

        Raises
        ------
        ValueError
            If it was written by a newer version, or is something else.
        """
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise ValueError(
                f"Got a description of columns of version {version}, but this sktransfer reads "
                f"versions up to {VERSION}; update sktransfer."
            )
        try:
            columns = tuple(_make_column(column) for column in data["columns"])
            return cls(columns, bool(data["has_names"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Got a description of columns that cannot be read ({error!r}); expected one "
                "written by Backbone.save."
            ) from error


def _make_column(data):
    if "categories" in data:
        return CategoryColumn(str(data["name"]), tuple(map(str, data["categories"])))
    center, scale = float(data["center"]), float(data["scale"])
    if not (np.isfinite([center, scale]).all() and scale >= 0):
        raise ValueError(f"center={center}, scale={scale}")
    return NumberColumn(str(data["name"]), center, scale)


def _check_categorical(categorical, names, n_columns):
    """Return the positions of the columns that are said to hold categories."""
    if isinstance(categorical, str):
        if categorical != "auto":
            raise ValueError(
                f"Got categorical={categorical!r}, but expected 'auto' or a sequence of names of "
                "columns."
            )
        return set()
    if categorical is None or not np.iterable(categorical):
        raise TypeError(
            f"Got categorical={categorical!r}, but expected 'auto' or a sequence of names of "
            "columns."
        )
    positions = {name: i for i, name in enumerate(names or ())}
    positions |= {i: i for i in range(n_columns)}
    unknown = [column for column in categorical if column not in positions]
    if unknown:
        known = names or range(n_columns)
        raise ValueError(
            f"Got categorical={list(categorical)!r}, but X has no column {unknown[0]!r}; expected "
            f"some of {list_names(tuple(known))}.{suggest(unknown[0], known)}"
        )
    return {positions[column] for column in categorical}


def _refuse_marks(name, values):
    """Raise where all texts are numbers but for one or two, such as a question mark."""
    foreign = [value for value in values if parse_number(value) is None]
    if 0 < len(foreign) <= _MAX_MARKS and len(values) - len(foreign) >= _MIN_NUMBERS:
        raise ValueError(
            f"Got X with texts such as {foreign[0]!r} among the numbers of the column {name!r}; "
            "expected numbers. Make NaN of what stands for a missing value, and 1.5 of '1,5'; or "
            "name the column in categorical=[...] if its values are categories."
        )


def _learn_column(name, column, *, is_chosen):
    if column.kind in (Kind.TIMES, Kind.NESTED, Kind.COMPLEX):
        raise ValueError(
            f"Got X with {column.kind.value} in the column {name!r}, but expected numbers or "
            f"categories.{advise(column.kind)}"
        )
    if is_chosen or column.kind is not Kind.TEXTS:
        kind = NumberColumn if column.kind is Kind.NUMBERS and not is_chosen else CategoryColumn
        return kind.learn(name, column)
    _refuse_marks(name, column.distinct)
    n_distinct, n_present = len(column.distinct), int((column.codes >= 0).sum())
    if n_distinct <= _MAX_TEXTS or n_distinct * _MIN_REPEATS <= n_present:
        return CategoryColumn.learn(name, column)
    if all(parse_number(value) is not None for value in column.distinct):
        return NumberColumn.learn(name, column)
    raise ValueError(
        f"Got X with {n_distinct} distinct texts, such as {column.distinct[0]!r}, among "
        f"{n_present} values of the column {name!r}, which are too many for categories. Leave it "
        "out, name it in categorical=[...], or make numbers of texts with "
        "skrub.TableVectorizer: fit it to the source, and transform source and target with it."
    )
