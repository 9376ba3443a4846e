"""Ask for sample weights where metadata routing is enabled."""

from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegressionCV
from sklearn.metrics import get_scorer
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from sktransfer.instance._estimator_parts import list_members, list_steps, takes_any_keyword
from sktransfer.utils._sklearn import scorer_takes_weights

__all__ = ["request_weights", "weights_arrive"]


def request_weights(estimator):
    """Have each part that takes weights ask for them, unless the user has decided.

    A search inside hands what it routes to ``score`` and to scorers as well, which must say what
    they do with it.
    """
    for part in _list_parts(estimator):
        _replace_none(part)
    for part in _list_parts(estimator):
        if hasattr(part, "set_fit_request") and _is_undecided(part, "fit"):
            part.set_fit_request(sample_weight=True)
        if hasattr(part, "set_score_request") and _is_undecided(part, "score"):
            part.set_score_request(sample_weight=True)
        if isinstance(_get_routing(part), MetadataRouter):
            _request_in_scorers(part)


def weights_arrive(estimator):
    """Whether weights that are routed reach an estimator, or all that it predicts with."""
    if has_fit_parameter(estimator, "sample_weight"):
        return _get_routing(estimator) is not None
    steps, members = list_steps(estimator), list_members(estimator)
    if steps:
        return weights_arrive(steps[-1][1])
    if members:
        return all(weights_arrive(member) for _, member in members)
    if isinstance(estimator, TransformedTargetRegressor):
        return weights_arrive(estimator.regressor)
    inner = getattr(estimator, "estimator", None)
    if inner is not None and takes_any_keyword(estimator.fit):  # such as GridSearchCV
        return weights_arrive(inner)
    routing = _get_routing(estimator)
    return routing is not None and "sample_weight" in routing.consumes("fit", ["sample_weight"])


def _list_parts(estimator):
    return [estimator, *estimator.get_params(deep=True).values()]


def _replace_none(part):
    """Set what None stands for, where it would ask for nothing."""
    if isinstance(part, TransformedTargetRegressor) and part.regressor is None:
        part.set_params(regressor=LinearRegression())
    # "warn" is a None that is about to change.
    if isinstance(part, LogisticRegressionCV) and part.scoring in (None, "warn"):
        part.set_params(scoring="accuracy")


def _request_in_scorers(part):
    """Have the scorers of a search ask for weights."""
    scoring = part.get_params(deep=False).get("scoring")
    if isinstance(scoring, list | tuple | set):
        scoring = {name: name for name in scoring}
    if isinstance(scoring, dict):
        part.set_params(scoring={name: _make_asking(scorer) for name, scorer in scoring.items()})
    elif scoring is not None:
        part.set_params(scoring=_make_asking(scoring))


def _make_asking(scoring):
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    if hasattr(scorer, "set_score_request") and _is_undecided(scorer, "score"):
        scorer.set_score_request(sample_weight=scorer_takes_weights(scorer))
    return scorer


def _get_routing(part):
    """Return what a part asks for, or None where it cannot say."""
    try:
        return get_routing_for_object(part)
    except NotImplementedError:  # such as AdaBoostClassifier
        return None


def _is_undecided(part, method):
    """Whether a method takes weights, and the user has not said if it is to get them."""
    routing = _get_routing(part)
    own = getattr(routing, "_self_request", routing)  # what a router asks for itself
    if own is None:
        return False
    requests = getattr(own, method).requests
    return "sample_weight" in requests and requests["sample_weight"] is None
