"""Where features come from: the contract of a network and of a fitted estimator."""

from sktransfer.backbones.cache._cache import CacheInfo


class FeatureSource:
    """Base of what turns rows into blocks of features.

    A source is made in fit, learns from the first rows which blocks there are (`prepare`), and
    then computes them for any rows. It never learns anything else.

    Attributes
    ----------
    backbone : Backbone or estimator
        What is shown as ``backbone_``.
    layers : tuple of str
        Names of the blocks.
    columns : list of list of str
        Names of the columns of each block; after `prepare`.
    dtypes : list of numpy.dtype
        Of each block; after `prepare`.
    """

    def check(self, estimator, X, *, reset):
        """Return X as `compute` takes it; set or check what the estimator saw in fit."""
        raise NotImplementedError

    def prepare(self, X):
        """Learn from a few checked rows which blocks there are."""
        raise NotImplementedError

    def compute(self, X, *, n_rows, verbose=0):
        """Return the blocks of checked rows, each of shape (n, number of its columns).

        Parameters
        ----------
        X : array-like
        n_rows : int
            How many rows there are in all where X is only a part of them.
        verbose : int, default=0
        """
        raise NotImplementedError

    def check_caching(self, X, n_rows):
        """Raise unless `compute` keeps the rows of a checked X, which are so many in all."""
        raise NotImplementedError

    def cache_info(self):
        """Return the counts of the row cache; zeros without one."""
        return CacheInfo()
