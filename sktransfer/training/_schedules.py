"""How many steps to train, and how the learning rates move over them."""

import dataclasses
import math

EPOCHS, MIN_STEPS, MAX_STEPS = 30, 200, 2000
# The smallest budget of a head alone: random weights need more steps, and they are cheap.
HEAD_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Factor on every learning rate: linear warm-up, then half a cosine down to zero."""

    n_steps: int
    warmup: float = 0.1

    def __call__(self, step):
        n_warmup = max(1, round(self.warmup * self.n_steps))
        if step < n_warmup:
            return (step + 1) / n_warmup
        done = (step - n_warmup) / max(1, self.n_steps - n_warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def choose_batch_size(n_rows):
    """Return about eight batches per epoch, of 8 to 32 rows."""
    return min(32, max(8, n_rows // 8))


def choose_epochs(n_rows, batch_size, *, min_steps=MIN_STEPS):
    """Return the epochs of a budget in steps: few rows need more passes."""
    n_batches = max(1, math.ceil(n_rows / batch_size))
    n_steps = min(MAX_STEPS, max(min_steps, EPOCHS * n_batches))
    return math.ceil(n_steps / n_batches)
