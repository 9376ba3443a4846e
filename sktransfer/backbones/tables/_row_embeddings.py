"""What foundation models of tables hold of a row: their embeddings, as numbers."""

import numpy as np


def has_embeddings(model):
    """Tell whether `read_embeddings` can ask this estimator, fitted or not."""
    if hasattr(model, "get_embeddings"):
        return True
    return type(model).__module__.partition(".")[0] == "tabicl" or hasattr(
        getattr(model, "model_", None), "row_interactor"
    )


def read_embeddings(model, X):
    """Return embeddings of rows that are not in the context of a fitted model.

    Of TabPFN what its transformer makes of a row of the test set, before the output layers; of
    TabICL its row representations, before in-context learning. Of models that average several
    members, each with other columns first, the mean over the members.

    Parameters
    ----------
    model : fitted estimator
        With ``get_embeddings(X, data_source="test")``, as TabPFN has it; or with a network
        ``model_`` whose part ``row_interactor`` gives the rows of a context and then those asked
        for, as TabICL has it.
    X : array-like or frame of n rows

    Returns
    -------
    embeddings : ndarray of shape (n, d), float32
    """
    if hasattr(model, "get_embeddings"):
        embeddings = np.asarray(model.get_embeddings(X, data_source="test"), dtype=np.float32)
    else:
        embeddings = _read_from_rows(model, X)
    if embeddings.ndim == 3:
        embeddings = embeddings.mean(axis=0)
    if embeddings.ndim != 2 or len(embeddings) != X.shape[0]:
        raise ValueError(
            f"Got embeddings of shape {embeddings.shape} from {type(model).__name__}, but expected "
            f"({X.shape[0]}, d), or (n_estimators, {X.shape[0]}, d); use another version of it."
        )
    return embeddings


def _read_from_rows(model, X):
    """Return row representations of all members, (n_estimators, n, d), taken while predicting."""
    taken = []

    def take(module, inputs, rows):
        # Of all tables of a batch the rows behind those of the context.
        taken.append(rows[:, rows.shape[1] - X.shape[0] :].detach().float().cpu().numpy())

    handle = model.model_.row_interactor.register_forward_hook(take)
    try:
        model.predict(X)
    finally:
        handle.remove()
    return np.concatenate(taken)
