"""What stands for the source in a saved estimator without source rows."""

from sktransfer.utils._immutable import Immutable

__all__ = ["DroppedSource", "drop_rows"]


class DroppedSource(Immutable):
    """Say which source an estimator had; its rows are gone.

    Parameters
    ----------
    description : str
    """

    __slots__ = ("description",)

    def __init__(self, description):
        self._set(description=description)

    def __reduce__(self):
        return DroppedSource, (self.description,)

    def __repr__(self):
        return f"<dropped: {self.description}>"


def drop_rows(source):
    """Return what stands for a source, or for each of a list."""
    if source is None or isinstance(source, DroppedSource):
        return source
    if isinstance(source, list | tuple):
        return [drop_rows(each) for each in source]
    return DroppedSource(repr(source))
