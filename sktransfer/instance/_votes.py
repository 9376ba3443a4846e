"""Learners that vote for classes."""

from typing import NamedTuple

import numpy as np

__all__ = ["Voters", "class_scores", "decide", "votes_softly"]


class Voters(NamedTuple):
    """Learners and their weights in the vote.

    Parameters
    ----------
    estimators : list of fitted classifiers
    weights : array of shape (n_learners,)
    classes : array of shape (n_classes,)
        Sorted; a learner may know some of them only.
    soft : bool
        Whether a learner votes with its probabilities.
    last_half : bool
        Whether the last half of the learners votes alone.
    """

    estimators: list
    weights: np.ndarray
    classes: np.ndarray
    soft: bool
    last_half: bool

    def predict(self, X):
        """Return the class with the largest share of the vote."""
        return self.classes[self.shares(X).argmax(axis=1)]

    def staged_predict(self, X):
        """Yield ``predict`` after each learner."""
        for shares in self.staged_shares(X):
            yield self.classes[shares.argmax(axis=1)]

    def shares(self, X):
        """Return each class's share of the vote of all learners."""
        first = self._first_of(len(self.estimators))
        voters = zip(self.estimators[first:], self.weights[first:], strict=True)
        votes = sum(
            weight * class_scores(learner, X, self.classes, self.soft) for learner, weight in voters
        )
        return votes / self.weights[first:].sum()

    def staged_shares(self, X):
        """Yield each class's share of the vote after each learner."""
        votes, first = [], 0
        total = np.zeros((X.shape[0], len(self.classes)))
        for n, (learner, weight) in enumerate(
            zip(self.estimators, self.weights, strict=True), start=1
        ):
            votes.append(weight * class_scores(learner, X, self.classes, self.soft))
            if self._first_of(n) == first:
                total = total + votes[-1]
            else:
                first = self._first_of(n)
                total = sum(votes[first:])
            yield total / self.weights[first:n].sum()

    def _first_of(self, n_learners):
        """Return the position of the first of the learners that votes."""
        # From the one at ceil(n / 2), counted from 1.
        return -(-n_learners // 2) - 1 if self.last_half else 0


def class_scores(learner, X, classes, soft):
    """Return a learner's votes for each class, which sum to 1 for each row."""
    scores = np.zeros((X.shape[0], len(classes)))
    if soft:
        scores[:, np.searchsorted(classes, learner.classes_)] = learner.predict_proba(X)
    else:
        scores[np.arange(X.shape[0]), np.searchsorted(classes, learner.predict(X))] = 1
    return scores


def decide(shares):
    """Return by how much the second of two classes leads, or the shares of more classes."""
    return shares[:, 1] - shares[:, 0] if shares.shape[1] == 2 else shares


def votes_softly(voting, estimator):
    """Return whether learners vote with probabilities, given the parameter ``voting``."""
    has_probabilities = hasattr(estimator, "predict_proba")
    if voting == "soft" and not has_probabilities:
        raise ValueError(
            f"Got voting='soft' with estimator={type(estimator).__name__}(...), which has no "
            'predict_proba, but expected one that has; pass voting="hard".'
        )
    return has_probabilities and voting != "hard"
