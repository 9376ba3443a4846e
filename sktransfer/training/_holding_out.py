"""Rows of a source that are held out of its pretraining."""

import numpy as np


def hold_out(rows, share, seed, *, classes=None, numbers=None):
    """Return the numbers of the rows to train on, and of those held out.

    Equal rows stay together, since a copy of a held-out row among the others would make the
    network look better than it is.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    share : float
        Of the rows that are held out, at most one half; fewer than one row are none.
    seed : int
    classes : ndarray of shape (n,), default=None
        Each class gives its share; one with a single row stays in training.
    numbers : ndarray of shape (n,), default=None
        Low, middling and high ones give their share.
    """
    generator = np.random.RandomState(seed)
    first = {}
    group = np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(rows)])
    order = generator.permutation(np.array(sorted(first.values())))
    if classes is not None:
        _, label, counts = np.unique(classes[order], return_inverse=True, return_counts=True)
        order, label = order[counts[label] > 1], label[counts[label] > 1]
        order = order[np.argsort(label, kind="stable")]
    if numbers is not None:
        order = order[np.argsort(numbers[order], kind="stable")]
    n_held_out = int(share * len(order))
    # At even distances, at least two apart: so no class of two or more gives all of its rows.
    offset = generator.uniform()
    places = ((np.arange(n_held_out) + offset) * len(order) / max(1, n_held_out)).astype(int)
    held_out = np.isin(group, order[places])
    return np.flatnonzero(~held_out), generator.permutation(np.flatnonzero(held_out))
