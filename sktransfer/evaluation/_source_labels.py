"""What the source's labels say about the target's: the likelihood that LEEP and NCE share."""

import numpy as np

from sktransfer.utils._validation import check_option


def measure_log_likelihood(proba, targets, leave_one_out):
    r"""Return the mean log-likelihood of the classes of a target, given those of the source.

    A row is predicted by :math:`\sum_z P(y \mid z) \theta_z` where :math:`P(y \mid z)` comes from
    the counts of all rows, each of which counts for every z by its probability.

    Parameters
    ----------
    proba : ndarray of shape (n, n_source_classes)
        :math:`\theta`, or one-hot labels of the source.
    targets : Targets
    leave_one_out : bool
        Count the other rows only, and one more row with the shares of the target's classes.
    """
    # Classes of the source that no row has anything of would give 0 / 0.
    proba = proba[:, proba.sum(axis=0) > 0]
    counts = targets.columns.T @ proba
    own = counts[targets.codes]
    if not leave_one_out:
        return float(np.log((proba * own / counts.sum(axis=0)).sum(axis=1)).mean())
    n, n_classes = targets.columns.shape
    members = targets.columns.sum(axis=0)[targets.codes]
    # One row for all classes together, so that no share is zero.
    shares = (members - 1 + 1 / n_classes) / n
    given = (own - proba + shares[:, None]) / (counts.sum(axis=0) - proba + 1)
    return float(np.log((proba * given).sum(axis=1)).mean())


def check_probabilities(F, method):
    """Raise unless each row has probabilities."""
    sums = F.sum(axis=1)
    if F.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            f"Got F with values from {F.min():g} to {F.max():g} and rows that sum up to "
            f"{sums.min():g} to {sums.max():g}, but method={method!r} takes the probabilities that "
            "the source's own head gives each row; use predict_proba of the source's model, or "
            "FeatureTransferTransformer(backbone, output='proba')."
        )
    return F / sums[:, None]


def check_leave_one_out(value):
    check_option("leave_one_out", value, (True, False))
