"""What is known of a pretraining: how good it was on held-out source rows, and what it took."""

import dataclasses


@dataclasses.dataclass(frozen=True, repr=False)
class PretrainingReport:
    """Quality of a pretrained backbone on source rows that were held out, and what it took.

    Parameters
    ----------
    task : str
        What was learned: "classification", "multilabel", "regression" or "self-supervised".
    scores : dict of str to float
        Of the weights that were kept, on the held-out rows; empty if none were held out.
    chance : dict of str to float
        The same scores of a prediction that knows no row: the mean of the labels.
    n_rows, n_held_out : int
        Source rows that were trained on, and held out.
    n_parameters : int
    n_epochs, best_epoch : int
        Passes over the rows, and the one whose weights were kept.
    seconds : float
        All that the pretraining took.

    Examples
    --------
    >>> from sktransfer.backbones import PretrainingReport
    >>> PretrainingReport(
    ...     task="regression",
    ...     scores={"r2": 0.8312},
    ...     chance={"r2": 0.0},
    ...     n_rows=850,
    ...     n_held_out=150,
    ...     n_parameters=20_993,
    ...     n_epochs=30,
    ...     best_epoch=28,
    ...     seconds=3.14159,
    ... )
    PretrainingReport(regression, 850 rows, 20,993 parameters, epoch 28 of 30, 3.1 s)
      on 150 held-out source rows: r2 0.831 (chance 0.000)
    """

    task: str
    scores: dict
    chance: dict
    n_rows: int
    n_held_out: int
    n_parameters: int
    n_epochs: int
    best_epoch: int
    seconds: float

    def __repr__(self):
        return (
            f"PretrainingReport({self.task}, {self.n_rows:,} rows, {self.n_parameters:,} "
            f"parameters, epoch {self.best_epoch} of {self.n_epochs}, {self.seconds:.1f} s)\n"
            f"  {self._describe_scores()}"
        )

    def _describe_scores(self):
        if not self.scores:
            return "no source rows held out"
        scores = [
            f"{name} {value:.3f}"
            + (f" (chance {self.chance[name]:.3f})" if name in self.chance else "")
            for name, value in self.scores.items()
        ]
        return f"on {self.n_held_out:,} held-out source rows: {', '.join(scores)}"

    def to_dict(self):
        """Return plain data that JSON can hold."""
        return dataclasses.asdict(self)


def read_report(data):
    """Return the report that `PretrainingReport.to_dict` described; other data as it is."""
    names = {field.name for field in dataclasses.fields(PretrainingReport)}
    return PretrainingReport(**data) if set(data) == names else data
