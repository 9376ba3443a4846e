"""Fit any estimator with sample weights, or say that it takes none."""

from inspect import Parameter, signature

from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

__all__ = ["check_takes_weights", "fit_weighted"]


def fit_weighted(estimator, X, y, sample_weight):
    """Fit a clone of ``estimator``; weights go to every step of a pipeline that takes them.

    With metadata routing enabled, steps that say nothing about ``sample_weight`` are asked to
    take it, and steps that refused it with ``set_fit_request`` go without.

    Raises
    ------
    TypeError
        When the last step takes no weights.
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
        _request_weights(estimator)
        keywords = ["sample_weight"] if _routes_weights(estimator) else []
    else:
        keywords = _weight_keywords(estimator)
    if not keywords:
        raise TypeError(
            f"Got estimator={type(estimator).__name__}(...), but expected one whose fit takes "
            "sample_weight; use InstanceWeightingSampler, which draws source rows by their "
            "weights instead. Where it only passes weights on to others, "
            "sklearn.set_config(enable_metadata_routing=True) may help."
        )
    return estimator, keywords


def _weight_keywords(estimator):
    """Return the keywords of ``fit`` under which the estimator and its steps take weights."""
    if has_fit_parameter(estimator, "sample_weight"):
        return ["sample_weight"]
    steps = _steps(estimator)
    if steps:
        if not _step_keywords(steps[-1][1]):
            return []
        return [f"{name}__{word}" for name, step in steps for word in _step_keywords(step)]
    if isinstance(estimator, TransformedTargetRegressor):
        return _weight_keywords(estimator.regressor or LinearRegression())
    inner = getattr(estimator, "estimator", None)
    if inner is not None and _takes_any_keyword(estimator.fit):  # such as GridSearchCV
        return _weight_keywords(inner)
    return []


def _step_keywords(step):
    """Return the keywords of a step; a pipeline calls fit_transform where there is one."""
    if step is None or isinstance(step, str):
        return []
    keywords = _weight_keywords(step)
    fit_transform = getattr(step, "fit_transform", None)
    if keywords and fit_transform is not None and not _takes_any_keyword(fit_transform):
        accepted = signature(fit_transform).parameters
        keywords = [keyword for keyword in keywords if keyword in accepted]
    return keywords


def _request_weights(estimator):
    """Have each part that takes weights ask for them, unless the user has decided.

    A search inside hands what it routes to ``score`` as well, which must say what it does with it.
    """
    for part in [estimator, *estimator.get_params(deep=True).values()]:
        if hasattr(part, "set_fit_request") and _is_undecided(part, "fit"):
            part.set_fit_request(sample_weight=True)
        if hasattr(part, "set_score_request") and _is_undecided(part, "score"):
            part.set_score_request(sample_weight=True)


def _is_undecided(part, method):
    """Whether a method takes weights, and the user has not said if it is to get them."""
    routing = get_routing_for_object(part)
    own = getattr(routing, "_self_request", routing)  # what a router asks for itself
    if own is None:
        return False
    requests = getattr(own, method).requests
    return "sample_weight" in requests and requests["sample_weight"] is None


def _routes_weights(estimator):
    """Whether weights that are routed reach the estimator, or the last step of a pipeline."""
    steps = _steps(estimator)
    if steps:
        return _routes_weights(steps[-1][1])
    routed = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
    return has_fit_parameter(estimator, "sample_weight") or "sample_weight" in routed


def _steps(estimator):
    """Return the named steps of a pipeline, or an empty list."""
    return list(estimator.steps) if hasattr(estimator, "named_steps") else []


def _takes_any_keyword(method):
    return any(p.kind is Parameter.VAR_KEYWORD for p in signature(method).parameters.values())
