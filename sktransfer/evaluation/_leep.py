"""LEEP: how likely the target's classes are, given what the source's head says."""

from sktransfer.evaluation._source_labels import (
    check_leave_one_out,
    check_probabilities,
    measure_log_likelihood,
)
from sktransfer.evaluation._transferability_method import TransferabilityMethod


class LEEP(TransferabilityMethod):
    r"""Log expected empirical prediction, from the probabilities of the source's head [1]_.

    .. math:: \frac{1}{n} \sum_i \log \sum_z \hat P(y_i \mid z) \, \theta(x_i)_z

    with the probability :math:`\theta(x)_z` of the source's class z, and :math:`\hat P(y \mid z)`
    from the rows of the target, each of which counts for all z. It is at most 0.

    Parameters
    ----------
    leave_one_out : bool, default=False
        False is the score of the paper: there a class of the source that only one row is given to
        predicts that row without error, so that a head with many classes looks the better, the
        fewer rows there are. True leaves the row that is predicted out of the counts, to which one
        row with the shares of the classes is added.

    Notes
    -----
    ``score`` takes probabilities of shape (n, n_source_classes) in place of features. So it says
    something about networks with a head only, and nothing about their layers.

    References
    ----------
    .. [1] C. V. Nguyen, T. Hassner, M. Seeger and C. Archambeau, "LEEP: A new measure to evaluate
       transferability of learned representations", ICML 2020.

    Examples
    --------
    >>> from sktransfer.evaluation import LEEP
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]]
    >>> LEEP().score(proba, ["ant", "ant", "bee", "bee"]) > LEEP().score(proba, [0, 1, 0, 1])
    True
    """

    takes = "proba"
    takes_numbers = False

    def __init__(self, *, leave_one_out=False):
        self.leave_one_out = leave_one_out

    def _check_parameters(self):
        check_leave_one_out(self.leave_one_out)

    def _score(self, F, targets):
        return measure_log_likelihood(check_probabilities(F, "leep"), targets, self.leave_one_out)
