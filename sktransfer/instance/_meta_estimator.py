"""What every estimator does that wraps another and holds a source."""

from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import get_tags

from sktransfer.instance._dropped_source import drop_rows

__all__ = ["BaseSourceMetaEstimator"]


class BaseSourceMetaEstimator(MetaEstimatorMixin, BaseEstimator):
    """Wrap an estimator, take the rows that it takes, and leave the source out of pickles.

    A subclass has the parameters ``estimator``, ``source`` and ``drop_source``, and says which
    estimators it wraps.

    Attributes
    ----------
    _estimator_type_name : str
        Such as "classifier".
    _default_estimator, _is_right_type : methods
        What ``estimator=None`` stands for, and whether an estimator is of the type.
    """

    def _wrapped(self):
        return self._default_estimator() if self.estimator is None else self.estimator

    def _check_estimator(self):
        estimator = self._wrapped()
        if not hasattr(estimator, "fit") or isinstance(estimator, type):
            raise TypeError(
                f"Got estimator={estimator!r}, but expected a {self._estimator_type_name}, such as "
                f"{self._default_estimator()!r}."
            )
        if not self._is_right_type(estimator):
            raise TypeError(
                f"Got estimator of type {type(estimator).__name__}, but expected a "
                f"{self._estimator_type_name}."
            )
        return estimator

    def __getstate__(self):
        state = super().__getstate__()
        if self.drop_source and "input_shape_" in state:  # only what is fitted
            state = {**state, "source": drop_rows(self.source)}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.categorical = wrapped.input_tags.categorical
        tags.input_tags.string = wrapped.input_tags.string
        return tags
