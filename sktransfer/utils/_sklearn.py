"""The only file that uses private names of scikit-learn."""

import copy
import inspect

from sklearn.base import clone
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._set_output import _get_output_config as get_output_config
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "check_feature_names_in",
    "check_sample_weight",
    "clone_sharing",
    "get_output_config",
    "safe_indexing",
    "scorer_takes_weights",
    "wrap_in_container",
]


def clone_sharing(estimator, shared):
    """Clone an estimator; the parameters named in ``shared`` are passed on by reference.

    `sklearn.base.clone` deep-copies every parameter that is not an estimator, so a grid search
    would copy a network once per candidate and fold.
    """
    params = {
        name: value if name in shared else clone(value, safe=False)
        for name, value in estimator.get_params(deep=False).items()
    }
    cloned = type(estimator)(**params)
    # What `sklearn.base.clone` itself carries over besides the parameters.
    for attribute in ("_metadata_request", "_sklearn_output_config"):
        if hasattr(estimator, attribute):
            setattr(cloned, attribute, copy.deepcopy(getattr(estimator, attribute)))
    if hasattr(estimator, "_skl_callbacks"):
        cloned._skl_callbacks = estimator._skl_callbacks
    return cloned


def wrap_in_container(rows, original, estimator):
    """Return rows in the container that ``set_output`` asks for, as ``transform`` does by itself.

    A frame takes the index of ``original``, the rows before.
    """
    return _wrap_data_with_container("transform", rows, original, estimator)


def scorer_takes_weights(scorer):
    """Whether the function behind a scorer takes ``sample_weight``."""
    function = getattr(scorer, "_score_func", scorer)
    return "sample_weight" in inspect.signature(function).parameters
