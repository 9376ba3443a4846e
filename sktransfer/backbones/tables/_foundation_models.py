"""Foundation models of tables by name: how they are made, and what is said where they are not."""

from sktransfer.utils._optional import import_optional
from sktransfer.utils._validation import list_options, suggest

# Name -> class names for classes and for numbers, and what users have to know about its weights.
_MODELS = {
    "tabpfn": (
        "TabPFNClassifier",
        "TabPFNRegressor",
        "Its weights are downloaded at the first fit. From version 2.5 on they are for "
        "non-commercial use and need an account: accept the licence in the browser, or set "
        "TABPFN_TOKEN. Those of version 2 are free with attribution: backbone="
        "TabPFNClassifier.create_default_for_version(ModelVersion.V2).",
    ),
    "tabicl": (
        "TabICLClassifier",
        "TabICLRegressor",
        "Its weights (BSD licence) are downloaded from the Hugging Face Hub at the first fit; "
        "without a network pass backbone=TabICLClassifier(model_path=...).",
    ),
}


def make_foundation_model(name, *, is_classification, random_state):
    """Return an estimator that is not fitted yet, of one member, so that rows have one embedding.

    Raises
    ------
    ValueError
        If there is no model of this name.
    ImportError
        If its library is not installed.
    """
    if name not in _MODELS:
        raise ValueError(
            f"Got backbone={name!r}, but expected one of {list_options(_MODELS)}, an estimator "
            f"that has embeddings, or None.{suggest(name, _MODELS)}"
        )
    *classes, about_weights = _MODELS[name]
    try:
        library = import_optional(name, name, f"Got backbone={name!r}, which needs {name}")
    except ImportError as error:
        raise ImportError(f"{error} {about_weights}") from error
    kind = getattr(library, classes[0 if is_classification else 1])
    return kind(n_estimators=1, random_state=random_state)


def explain_weights(name, error):
    """Raise an error that says what to do where a fit could not get the weights of a model."""
    if not _is_about_weights(error):
        return
    raise RuntimeError(
        f"Got backbone={name!r}, but its weights could not be loaded: {error} {_MODELS[name][-1]}"
    ) from error


def _is_about_weights(error):
    origin = type(error).__module__.partition(".")[0]
    is_refusal = origin == "tabpfn" and not isinstance(error, ValueError)
    is_failure = isinstance(error, OSError) or origin == "huggingface_hub"
    return is_refusal or is_failure or "download" in str(error).lower()
