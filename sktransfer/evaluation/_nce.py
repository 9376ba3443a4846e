"""NCE: what is left unknown of the target's class once the source's is known."""

import numpy as np

from sktransfer.evaluation._source_labels import (
    check_leave_one_out,
    check_probabilities,
    measure_log_likelihood,
)
from sktransfer.evaluation._transferability_method import TransferabilityMethod


class NCE(TransferabilityMethod):
    r"""Negative conditional entropy of the target's classes, given the source's labels [1]_.

    :math:`-H(y \mid z)`, where z is the class to which the source's head gives the largest
    probability. It is at most 0.

    Parameters
    ----------
    leave_one_out : bool, default=False
        False takes the entropy of the counts, as the paper does: it is 0, the best there is, where
        each z occurs once, as it nearly does where the source has many more classes than the target
        has rows. True estimates the entropy by the likelihood of each row given the others, to
        which one row with the shares of the classes is added.

    Notes
    -----
    ``score`` takes probabilities of shape (n, n_source_classes) in place of features, as `LEEP`
    does; labels of the source go in as rows of 0 and 1.

    References
    ----------
    .. [1] A. T. Tran, C. V. Nguyen and T. Hassner, "Transferability and hardness of supervised
       classification tasks", ICCV 2019.

    Examples
    --------
    >>> from sktransfer.evaluation import NCE
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]]
    >>> NCE().score(proba, ["ant", "ant", "bee", "bee"])
    0.0
    """

    takes = "proba"
    takes_numbers = False

    def __init__(self, *, leave_one_out=False):
        self.leave_one_out = leave_one_out

    def _check_parameters(self):
        check_leave_one_out(self.leave_one_out)

    def _score(self, F, targets):
        largest = check_probabilities(F, "nce").argmax(axis=1)
        labels = np.eye(F.shape[1])[largest]
        return measure_log_likelihood(labels, targets, self.leave_one_out)
