"""One pass over images that are read ahead of their use, in threads or in processes."""

import collections
import concurrent.futures
import contextlib
import contextvars
import math
import warnings

import joblib
import numpy as np
from joblib.parallel import BACKENDS, get_active_backend

from sktransfer.backbones.images._image_file import get_pillow_settings, pillow_settings
from sktransfer.exceptions import UnreadableImageError

# Tasks of a batch for each process: few, since each takes time to send, and not one, since images
# take times that differ.
_TASKS = 2


class Reading:
    """One pass over batches of images, read ahead of their use.

    In threads, since Pillow lets go of the interpreter while it decodes; or where joblib's active
    backend is "loky" and the images are files, in processes, from which each image comes as a copy.

    Iteration gives arrays of shape (n, channels, height, width) of what could be read of each
    batch. ``unread`` then holds the positions, counted over all batches, of what could not, which
    is an error unless the rows have ``on_error="nan"``.
    """

    def __init__(self, rows, batches, network_input, read):
        self.rows, self.batches = rows, batches
        self.network_input, self._read = network_input, read
        self.unread = []
        # The size and the row that all others are compared with.
        self._first = None

    def __iter__(self):
        n_jobs = self.rows.count_jobs()
        longest = max((len(batch) for batch in self.batches), default=1)
        n_ahead = 1 + math.ceil(n_jobs / longest)
        waiting, position = collections.deque(), 0
        with self._open_readers(n_jobs) as readers:
            for batch in [*self.batches, *[None] * n_ahead]:
                if batch is not None:
                    waiting.append((batch, readers.start(batch)))
                if waiting and (batch is None or len(waiting) > n_ahead):
                    ready, wait = waiting.popleft()
                    yield self._assemble(ready, wait(), position)
                    position += len(ready)

    @contextlib.contextmanager
    def _open_readers(self, n_jobs):
        # As joblib has it: threads are preferred, what the user says is done.
        backend, _ = get_active_backend(prefer="threads")
        in_processes = n_jobs > 1 and isinstance(backend, BACKENDS["loky"])
        in_processes = in_processes and self.rows.are_files()
        with threads(1 if in_processes else n_jobs, always=True) as pool:
            kind = _Processes if in_processes else _Threads
            yield kind(pool, n_jobs, self.rows, self.network_input, self._read)

    def _assemble(self, batch, read, position):
        images = []
        for offset, (row, image) in enumerate(zip(batch, read, strict=True)):
            if image is None:
                self.unread.append(position + offset)
            else:
                self._check_size(row, image.shape[1:])
                images.append(image)
        if not images:
            return np.empty((0, 0, 0, 0), dtype=np.float32)
        if any(image.dtype != images[0].dtype for image in images):
            images = [self.network_input.arrange_images(image) for image in images]
        return np.concatenate(images)

    def _check_size(self, row, shape):
        if self._first is None:
            self._first = row, shape
        first, expected = self._first
        if shape == expected:
            return
        described = [
            f"{'x'.join(map(str, s[1:]))} pixels and {s[0]} channel(s) in {self.rows.describe(r)}"
            for r, s in ((first, expected), (row, shape))
        ]
        wanted = self.network_input
        tried = f"resize={wanted.resize!r} and crop={wanted.crop!r}"
        raise ValueError(
            f"Got X with images that differ in size: {described[0]}, {described[1]}, with {tried} "
            "of the network's input; expected one shape; say how to make them alike: "
            "Backbone(module, input=NetworkInput(channels=3, resize=224, crop=224))."
        )


class _Threads:
    """Reads batches of rows in a pool of threads, image by image."""

    def __init__(self, pool, n_jobs, rows, network_input, read):
        self.pool, self.n_jobs = pool, n_jobs
        self.rows, self.network_input, self.read = rows, network_input, read

    def start(self, batch):
        """Begin to read a batch; return a function that gives its images in order, once read."""
        futures = [
            self.pool.submit(_try, self.read, self.rows, row, self.network_input) for row in batch
        ]
        # An iterator: of what fails, the first in order is raised.
        return lambda: (future.result() for future in futures)


class _Processes(_Threads):
    """Reads batches of rows in joblib's processes, which last from pass to pass.

    A thread waits for each batch, so that the next one is read while one is used.
    """

    def start(self, batch):
        """Begin to read a batch; return a function that gives its images in order, once read."""
        parts = np.array_split(batch, min(len(batch), _TASKS * self.n_jobs) or 1)
        tasks = [
            joblib.delayed(_read_elsewhere)(
                self.rows.take_along(part), self.network_input, self.read, get_pillow_settings()
            )
            for part in parts
        ]
        future = self.pool.submit(joblib.Parallel(self.n_jobs, "loky", batch_size=1), tasks)

        def wait():
            for images, caught in future.result():
                for warning in caught:
                    warnings.warn_explicit(*warning)
                for image in images:
                    if isinstance(image, Exception):
                        raise image
                    yield image

        return wait


def _read_elsewhere(rows, network_input, read, settings):
    """Read images in another process; return them, and the warnings that came with them.

    An error is returned, too, in place of its image: joblib ends its processes when one is raised.
    """
    images, warned = [], []
    for row in range(len(rows)):
        with pillow_settings(settings), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                images.append(_try(read, rows, row, network_input))
            except Exception as error:
                images.append(error)
        for warning in caught:
            warning.message.add_note(f"(In {rows.describe(row)}.)")
            warned.append((warning.message, warning.category, warning.filename, warning.lineno))
    return images, warned


def _try(read, rows, row, network_input):
    """Return an image, or None for one that cannot be read where that is no error."""
    try:
        return read(rows, row, network_input)
    except UnreadableImageError:
        if rows.on_error == "raise":
            raise
        return None


class _NoThreads:
    map = map


@contextlib.contextmanager
def threads(n_jobs, always=False):
    """Give a pool of threads that drops what is waiting once its user stops, by Ctrl-C too."""
    if n_jobs == 1 and not always:
        yield _NoThreads
        return
    pool = _Pool(n_jobs, thread_name_prefix="sktransfer-images")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _Pool(concurrent.futures.ThreadPoolExecutor):
    def submit(self, function, /, *args):
        # Filters of warnings are part of the context in some builds of Python.
        return super().submit(contextvars.copy_context().run, function, *args)
