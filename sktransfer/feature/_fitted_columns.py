"""The columns that an estimator was fitted on, taken from the frame of another domain."""

import re
import warnings

from sktransfer.domain import is_frame
from sktransfer.exceptions import ColumnMismatchWarning
from sktransfer.utils._validation import list_options, suggest

# Of the columns that the estimator knows: with fewer it would say what it says of an empty row.
_SMALLEST_SHARE = 0.5
# What libraries call columns that came without names.
_GENERATED = re.compile(r"(Column_|f|x)?\d+")


class FittedColumns:
    """Names and order of the columns of an estimator; those of any frame are brought into it.

    Parameters
    ----------
    estimator : fitted estimator
        scikit-learn, XGBoost and LightGBM have ``feature_names_in_``, CatBoost
        ``feature_names_``. One that was fitted without names takes columns by their place.

    Attributes
    ----------
    names : list of str or None
    """

    def __init__(self, estimator):
        self.owner = type(getattr(estimator, "estimator", estimator)).__name__
        names = getattr(estimator, "feature_names_in_", None)
        names = getattr(estimator, "feature_names_", None) if names is None else names
        self.names = None if names is None else [str(name) for name in names]

    def align(self, X, *, missing_as="number"):
        """Return X with the columns of the estimator.

        Parameters
        ----------
        X : frame or array-like
            Anything else than a frame is returned as it is.
        missing_as : {"number", "category"}, default="number"
            What kind of missing values stand in columns that X lacks.
        """
        places = self._find(X)
        if places is None or list(places.values()) == list(X.columns):
            return X
        if hasattr(X, "reindex"):
            return _take_pandas(X, places, missing_as)
        return _take_polars(X, places, missing_as)

    def find_missing(self, X):
        """Return the names of the columns that a frame lacks."""
        places = self._find(X) or {}
        return [name for name, place in places.items() if place is None]

    def check(self, X, *, keeps_extra):
        """Warn of columns that the estimator, or X, lacks; raise if hardly any is there.

        Parameters
        ----------
        X : frame or array-like
        keeps_extra : bool
            Whether columns that the estimator does not know have a use elsewhere.
        """
        places = self._find(X)
        if places is None:
            return
        missing = self.find_missing(X)
        used = set(places.values())
        extra = [name for name in X.columns if name not in used]
        if len(missing) > (1 - _SMALLEST_SHARE) * len(places):
            near = "".join(
                f" {name!r}:{suggest(name, extra)}" for name in missing if suggest(name, extra)
            )
            raise ValueError(
                f"Got X without {len(missing)} of the {len(places)} columns that {self.owner} was "
                f"fitted on, such as {list_options(missing, 5)}, but expected at least half of "
                f"them; rename the columns of X, or choose another source.{near}"
            )
        parts = []
        if missing:
            parts.append(f"lacks {list_options(missing)}, which count as missing values there")
        if extra and not keeps_extra:
            parts.append(f"has {list_options(extra)}, which are not used")
        if parts:
            warnings.warn(
                f"X has other columns than {self.owner} was fitted on: it "
                + ", and ".join(parts)
                + ".",
                ColumnMismatchWarning,
                stacklevel=2,
            )

    def _find(self, X):
        """Return which column of X each name stands for, or None where places count."""
        if self.names is None or not is_frame(X):
            return None
        columns = {str(name): name for name in X.columns}
        if not any(name in columns for name in self.names) and all(
            map(_GENERATED.fullmatch, self.names)
        ):
            return None
        # LightGBM writes spaces as underscores.
        written = {re.sub(r"\s", "_", name): place for name, place in columns.items()}
        return {
            name: columns[name] if name in columns else written.get(name) for name in self.names
        }


def _take_pandas(X, places, missing_as):
    # A column that is not there becomes one of NaN.
    taken = X.reindex(columns=[n if p is None else p for n, p in places.items()])
    if missing_as == "number":
        return taken
    import pandas

    dtype = pandas.CategoricalDtype([])
    return taken.astype({name: dtype for name, place in places.items() if place is None})


def _take_polars(X, places, missing_as):
    import polars

    dtype = {"number": polars.Float64, "category": polars.String}[missing_as]
    missing = polars.lit(None, dtype=dtype)
    return X.select(
        missing.alias(name) if place is None else polars.col(place)
        for name, place in places.items()
    )
