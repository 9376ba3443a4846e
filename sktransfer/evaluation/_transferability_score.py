"""transferability_score: how well features suit a target."""

from sktransfer.evaluation._methods import resolve_method


def transferability_score(F, y, *, method="knn", task="auto"):
    """Score how well features of a pretrained network suit a target, without training it.

    Larger is better. The default and "ridge" are accuracies that can be held against chance, the
    others say only which of several backbones or layers is better on the same rows.

    Parameters
    ----------
    F : array-like of shape (n, d)
        Features of the target's rows, such as `FeatureTransferTransformer` gives. For "leep" and
        "nce" the probabilities that the source's own head gives them, of shape
        (n, n_source_classes).
    y : array-like of shape (n,), or (n, n_outputs) for numbers
        Labels of the target.
    method : str or TransferabilityMethod, default="knn"
        An object of `sktransfer.evaluation` has parameters; the names stand for their defaults:

        - ``"knn"``: leave-one-out accuracy of 20 nearest neighbours (`KNNProbe`);
        - ``"ridge"``: leave-one-out accuracy of a linear head (`RidgeProbe`);
        - ``"logme"``: log evidence of a Bayesian linear model (`LogME`);
        - ``"hscore"``: variance between the classes, shrunken (`HScore`);
        - ``"leep"`` and ``"nce"``: from what the source's head says (`LEEP`, `NCE`), for classes
          only.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto": y holds numbers if some are not whole, else classes. For numbers "knn" and "ridge"
        are R².

    Returns
    -------
    score : float

    Raises
    ------
    ValueError
        For missing values, labels of one class only, and an F that the method does not take.

    See Also
    --------
    rank_backbones : Scores of several backbones.
    rank_layers : Scores of the layers of one.
    transferability_scorer : The same for `sklearn.model_selection.GridSearchCV`.

    Examples
    --------
    >>> from sktransfer import FeatureTransferTransformer, transferability_score
    >>> from sktransfer.datasets import load_digit_images
    >>> X, y = load_digit_images()
    >>> F = FeatureTransferTransformer("glyphs").fit_transform(X[:200])
    >>> transferability_score(F, y[:200]) > 0.9
    True
    """
    return resolve_method(method).score(F, y, task=task)
