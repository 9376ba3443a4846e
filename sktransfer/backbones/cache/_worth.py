"""Whether looking rows up costs less than sending them through a network: ``cache="auto"``."""

import time

import numpy as np

from sktransfer.utils._digests import digest_rows

# Below this many parameters a forward pass on a vector is taken to cost less than digesting the
# row, until both have been measured.
_CACHED_FROM = 50_000
# A pass through the network has to cost this many digests: rows are digested at every look-up,
# also where few of them come again.
_WORTH = 10
# Fewer rows than this tell nothing about the time of one.
_MEASURED_FROM = 256

# What was measured in this process, by network, layers and shape of a row.
_VERDICTS = {}


def wants_cache(cache, backbone, X, image_shape, pooling, layers):
    """Resolve ``cache="auto"``: digesting a row must cost less than sending it.

    Images are always worth it if the network has any weights. For rows of tables, what was
    measured in an earlier pass decides, and before that the number of parameters.
    """
    if not is_hashable(pooling):
        return False
    if cache != "auto":
        return cache
    if _are_images(X, image_shape):
        return backbone.n_parameters > 0
    prior = backbone.n_parameters >= _CACHED_FROM
    return _VERDICTS.get((backbone.fingerprint, layers, X.shape[1:]), prior)


def is_hashable(value):
    # An instance of Hashable may hold what is not.
    try:
        hash(value)
    except TypeError:
        return False
    return True


def note_costs(backbone, X, image_shape, layers, forward):
    """Measure, once per process, what rows of a table cost, for the passes to come.

    Parameters
    ----------
    forward : object
        With ``prepare(rows)`` and ``fastest``, the least seconds that a row took.
    """
    key = (backbone.fingerprint, layers, X.shape[1:])
    if key in _VERDICTS or _are_images(X, image_shape) or forward.n_sent < _MEASURED_FROM:
        return
    # The first batch of a process takes longer than those that follow.
    if forward.n_batches < 2:
        return
    rows = forward.prepare(np.arange(min(len(X), _MEASURED_FROM)))
    digesting = min(_time_digests(rows) for _ in range(3)) / len(rows)
    _VERDICTS[key] = forward.fastest > _WORTH * digesting


def _time_digests(rows):
    started = time.perf_counter()
    digest_rows(rows)
    return time.perf_counter() - started


def _are_images(X, image_shape):
    # Images that are read one by one have one axis.
    return X.ndim != 2 or image_shape is not None
