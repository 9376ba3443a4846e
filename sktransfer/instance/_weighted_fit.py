"""Fit any estimator with sample weights, or say that it takes none."""

from inspect import signature

from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import has_fit_parameter

from sktransfer.instance._estimator_parts import list_members, list_steps, takes_any_keyword
from sktransfer.instance._weight_requests import request_weights, weights_arrive

__all__ = ["check_takes_weights", "fit_weighted"]


def fit_weighted(estimator, X, y, sample_weight):
    """Fit a clone of ``estimator``; weights go to every step of a pipeline that takes them.

    With metadata routing enabled, steps that say nothing about ``sample_weight`` are asked to
    take it, and steps that refused it with ``set_fit_request`` go without.

    Raises
    ------
    TypeError
        When the last step takes no weights, or a member of an ensemble that votes or is stacked.
    """
    estimator, keywords = _prepare(estimator)
    return estimator.fit(X, y, **dict.fromkeys(keywords, sample_weight))


def check_takes_weights(estimator):
    """Raise the error of `fit_weighted` without a fit."""
    _prepare(estimator)


def _prepare(estimator):
    """Return a clone and the keywords under which its ``fit`` takes weights."""
    estimator = clone(estimator)
    if get_config()["enable_metadata_routing"]:
        request_weights(estimator)
        keywords = ["sample_weight"] if weights_arrive(estimator) else []
    else:
        keywords = _weight_keywords(estimator)
    if not keywords:
        raise TypeError(_explain(estimator))
    return estimator, keywords


def _explain(estimator):
    routing = get_config()["enable_metadata_routing"]
    arrives = weights_arrive if routing else _takes_weights_by_name
    left_out = [
        f"{name!r} ({type(member).__name__})"
        for name, member in list_members(_innermost(estimator))
        if not arrives(member)
    ]
    reason = f", which has no way to give weights to {', '.join(left_out)}" if left_out else ""
    advice = ""
    if not routing:
        advice = (
            " Where it only passes weights on to others, "
            "sklearn.set_config(enable_metadata_routing=True) may help."
        )
    elif _weight_keywords(estimator):
        advice = " sklearn.set_config(enable_metadata_routing=False) lets it take weights."
    return (
        f"Got estimator={type(estimator).__name__}(...){reason}, but expected one whose fit takes "
        "sample_weight; use InstanceWeightingSampler, which draws source rows by their weights "
        f"instead.{advice}"
    )


def _innermost(estimator):
    """Return what a pipeline ends in, or what a search is over."""
    inner = list_steps(estimator)[-1][1] if list_steps(estimator) else None
    inner = getattr(estimator, "estimator", None) if inner is None else inner
    return estimator if inner is None else _innermost(inner)


def _weight_keywords(estimator):
    """Return the keywords of ``fit`` under which the estimator and its steps take weights."""
    if has_fit_parameter(estimator, "sample_weight"):
        return ["sample_weight"]
    steps = list_steps(estimator)
    if steps:
        if not _step_keywords(steps[-1][1]):
            return []
        return [f"{name}__{word}" for name, step in steps for word in _step_keywords(step)]
    members = list_members(estimator)
    if members:
        reaches_all = all(_takes_weights_by_name(member) for _, member in members)
        return ["sample_weight"] if reaches_all else []
    if isinstance(estimator, TransformedTargetRegressor):
        return _weight_keywords(estimator.regressor or LinearRegression())
    inner = getattr(estimator, "estimator", None)
    if inner is not None and takes_any_keyword(estimator.fit):  # such as GridSearchCV
        return _weight_keywords(inner)
    return []


def _takes_weights_by_name(member):
    """Whether weights can be passed as ensembles do, which a pipeline does not take."""
    return _weight_keywords(member) == ["sample_weight"]


def _step_keywords(step):
    """Return the keywords of a step; a pipeline calls fit_transform where there is one."""
    if step is None or isinstance(step, str):
        return []
    keywords = _weight_keywords(step)
    fit_transform = getattr(step, "fit_transform", None)
    if keywords and fit_transform is not None and not takes_any_keyword(fit_transform):
        accepted = signature(fit_transform).parameters
        keywords = [keyword for keyword in keywords if keyword in accepted]
    return keywords
