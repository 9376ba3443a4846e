"""What an estimator knows, kept through a fit that fails."""

import contextlib


@contextlib.contextmanager
def restored_on_error(estimator):
    """Put the attributes of an estimator back as they were if the block raises.

    So a fit that fails, or is interrupted, leaves neither half a model nor a mixture of two.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
