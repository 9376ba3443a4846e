"""The same weight for every source row."""

import numpy as np

from sktransfer.instance._base import BaseWeighting

__all__ = ["BalancedWeighting"]


class BalancedWeighting(BaseWeighting):
    """Weight all source rows the same: the honest baseline.

    How much the source counts beside the target is the ``target_weight`` of the estimators,
    which works with every weighting; with this one it is all there is [1]_. A weighting that
    looks at the rows is worth its cost where it predicts held-out target rows better than this
    one does. Where no domain differs from the other in its rows, or where the source is wrong
    about the labels and not about the rows, none will.

    Attributes
    ----------
    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`: zeros, the number of source rows, one by that number, and
        None.

    References
    ----------
    .. [1] Wu and Dietterich, "Improving SVM accuracy by training on auxiliary data sources",
       International Conference on Machine Learning, 2004.

    Examples
    --------
    >>> from sktransfer.instance import BalancedWeighting
    >>> BalancedWeighting().compute_weights([[1.0], [2.0], [3.0]], [[2.5]])
    array([1., 1., 1.])
    """

    def __init__(self):
        super().__init__()

    def _compute_log_weights(self, X_source, X_target):
        return np.zeros(len(X_source))
