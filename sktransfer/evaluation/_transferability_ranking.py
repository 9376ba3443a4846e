"""TransferabilityRanking: backbones and layers, and how well each suits a target."""

import dataclasses
from textwrap import shorten

import numpy as np

from sktransfer.utils._optional import import_optional

__all__ = ["Candidate", "TransferabilityRanking"]

_CORRECT, _WRONG, _CHANCE = "#0072b2", "#999999", "#d55e00"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layer of a backbone, and its scores.

    Parameters
    ----------
    backbone, layer : str
    n_features : int
        0 if they could not be computed.
    scores : dict of str to float
        By method; NaN where a method failed.
    rows : ndarray of bool of shape (n,) or None
        Which rows the first method predicts, if it predicts classes.
    """

    backbone: str
    layer: str
    n_features: int
    scores: dict
    rows: np.ndarray | None = None


class TransferabilityRanking:
    """Which backbones and layers suit a target, the best first.

    What `rank_backbones` and `rank_layers` return.

    Attributes
    ----------
    methods : tuple of str
        The first decides on the order.
    best_backbone, best_layer : str
    best_score : float
    chance : float or None
        What "knn" and "ridge" give without features: the share of the largest class, 0 for
        numbers. None if the first method is neither.
    table : pandas.DataFrame
        A row for each layer of each backbone, the best first: ``backbone``, ``layer``,
        ``n_features``, a column for each method; where the first method is an accuracy, its
        ``standard_error`` and ``near_best``: whether it predicts as many rows as the best, within
        one standard error of their difference row by row.
    failures : dict of str to str
        What could not be scored, and why; NaN in the table.
    """

    def __init__(self, candidates, *, methods, n_rows, chance=None, failures=None):
        self.methods = tuple(methods)
        self.n_rows, self.chance, self.failures = n_rows, chance, dict(failures or {})
        # In their own order, which for layers is that of the network.
        self._candidates = tuple(candidates)
        scores = np.array([c.scores[self.methods[0]] for c in candidates])
        # What failed comes last.
        order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
        self._ranked = [self._candidates[i] for i in order]

    @property
    def best_backbone(self):
        return self._ranked[0].backbone

    @property
    def best_layer(self):
        return self._ranked[0].layer

    @property
    def best_score(self):
        return self._ranked[0].scores[self.methods[0]]

    @property
    def table(self):
        pandas = import_optional(
            "pandas", "plot", "Got .table, which is a DataFrame, and that needs pandas"
        )
        return pandas.DataFrame(self._list_rows())

    def _list_rows(self):
        """Return the rows of the table as dictionaries."""
        rows = []
        for candidate in self._ranked:
            row = {
                "backbone": candidate.backbone,
                "layer": candidate.layer,
                "n_features": candidate.n_features,
                **candidate.scores,
            }
            if self._ranked[0].rows is not None:
                error, is_near = _compare(candidate.rows, self._ranked[0].rows)
                row.update(standard_error=error, near_best=is_near)
            rows.append(row)
        return rows

    def __repr__(self):
        rows = self._list_rows()
        cells = [list(rows[0]), *([_write(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        # Names to the left, numbers to the right.
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        title = f"Transferability by {self.methods[0]}, {self.n_rows} rows"
        if self.chance is not None:
            title += f", {self.chance:.3f} without features"
        failed = [
            shorten(f"{name} failed: {reason}", 300, placeholder=" …")
            for name, reason in self.failures.items()
        ]
        return "\n".join([title, *lines, *failed])

    def _repr_html_(self):
        title, _, rest = repr(self).partition("\n")
        try:
            body = self.table.round(4).to_html(index=False)
        except ImportError:
            body = f"<pre>{rest}</pre>"
        return f"<p>{title}</p>{body}"

    def plot(self, ax=None, *, method=None):
        """Draw the scores, one line for each layer of each backbone, in the order they came in.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            A new figure if None.
        method : str, default=None
            One of ``methods``; the first if None.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        need = "Got plot(), which draws with matplotlib"
        pyplot = import_optional("matplotlib.pyplot", "plot", need)
        method = self.methods[0] if method is None else method
        if method not in self.methods:
            raise ValueError(f"Got method={method!r}, but expected one of {self.methods}.")
        if ax is None:
            height = 1.2 + 0.3 * len(self._candidates)
            _, ax = pyplot.subplots(figsize=(6.4, height), layout="constrained")
        is_first = method == self.methods[0]
        rows = {(row["backbone"], row["layer"]): row for row in self._list_rows()}
        for place, candidate in enumerate(self._candidates):
            row = rows[candidate.backbone, candidate.layer]
            is_near = is_first and row.get("near_best", candidate is self._ranked[0])
            color = _CORRECT if is_near else _WRONG
            error = row.get("standard_error") if is_first else None
            score = row[method]
            ax.errorbar(score, place, xerr=error, fmt="o", color=color, capsize=3)
            text = "failed" if np.isnan(score) else f"{score:.3f}"
            ax.annotate(
                text, (1.01, place), xycoords=("axes fraction", "data"), va="center", color=color
            )
        if is_first and self.chance is not None:
            ax.axvline(self.chance, color=_CHANCE, ls=":", lw=1.2)
            ax.annotate(
                " without features",
                (self.chance, 1),
                xycoords=("data", "axes fraction"),
                va="bottom",
                color=_CHANCE,
                fontsize="small",
            )
        names = self._name_candidates()
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlabel(method if self.chance is None or not is_first else f"{method}, leave-one-out")
        ax.grid(axis="x", alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _name_candidates(self):
        """Return the names that tell candidates apart: of layers, of backbones or of both."""
        backbones = {c.backbone for c in self._candidates}
        layers = {c.layer for c in self._candidates}
        if len(backbones) == 1:
            return [c.layer for c in self._candidates]
        if len(layers) == 1:
            return [c.backbone for c in self._candidates]
        return [f"{c.backbone}, {c.layer}" for c in self._candidates]


def _compare(rows, best):
    """Return the standard error of an accuracy, and whether it is near the best one."""
    if rows is None:
        return np.nan, False
    n = len(rows)
    differences = best.astype(float) - rows
    near = differences.mean() <= differences.std(ddof=1) / np.sqrt(n)
    return float(rows.std(ddof=1) / np.sqrt(n)), bool(near)


def _write(value):
    return f"{value:.3f}" if isinstance(value, float) else str(value)
