"""What scikit-learn's meta-estimators are made of."""

from inspect import Parameter, signature

from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)

__all__ = ["list_members", "list_steps", "takes_any_keyword"]


def list_steps(estimator):
    """Return the named steps of a pipeline, or an empty list."""
    return list(estimator.steps) if hasattr(estimator, "named_steps") else []


def list_members(estimator):
    """Return the named parts of an ensemble that votes or is stacked, or an empty list."""
    stacked = isinstance(estimator, StackingClassifier | StackingRegressor)
    if not (stacked or isinstance(estimator, VotingClassifier | VotingRegressor)):
        return []
    members = [(name, member) for name, member in estimator.estimators if member != "drop"]
    if stacked and estimator.final_estimator is not None:
        members.append(("final_estimator", estimator.final_estimator))
    return members


def takes_any_keyword(method):
    """Whether a method has ``**kwargs``."""
    return any(p.kind is Parameter.VAR_KEYWORD for p in signature(method).parameters.values())
