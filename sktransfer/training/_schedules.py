"""How many steps to train, and how the learning rates move over them."""

import dataclasses
import math

from skorch.callbacks import Callback

from sktransfer.utils._validation import check_number

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


@dataclasses.dataclass(frozen=True)
class GradualUnfreezing:
    """Blocks of the backbone begin to move one after the other, the last one first.

    Until its turn a block is as frozen as any other frozen one, and costs no backward pass.

    Parameters
    ----------
    until : float, default=0.5
        Share of the steps by which all blocks move; the head moves from the first step on, and
        the turns are spread evenly over the time before.

    References
    ----------
    Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", ACL 2018.

    Examples
    --------
    >>> from sktransfer.training import GradualUnfreezing
    >>> schedule = GradualUnfreezing(until=0.5)
    >>> [schedule.first_step(depth, n_blocks=3, n_steps=120) for depth in (-1, 0, 1, 2)]
    [0, 20, 40, 60]
    """

    until: float = 0.5

    def __post_init__(self):
        check_number("until", self.until, low=0, high=1)

    def first_step(self, depth, n_blocks, n_steps):
        """Return the step from which a block moves; ``depth`` counts from the head, -1 itself."""
        step = round((depth + 1) / max(1, n_blocks) * self.until * n_steps)
        return min(step, n_steps - 1)


class RateSchedule(Callback):
    """Set learning rates before each step, as a function of its number alone.

    Parameters
    ----------
    factor : callable
        Step to factor on all rates.
    start : int
        Number of the first step.
    first_steps : dict, default=None
        Depth of a block to the first step in which it moves; see `GradualUnfreezing`.
    """

    def __init__(self, factor, start=0, first_steps=None):
        self.factor, self.step, self.first_steps = factor, start, first_steps or {}

    def on_batch_begin(self, net, training=False, **kwargs):
        factor = self.factor(self.step)
        for group in net.optimizer_.param_groups:
            group["lr"] = group["initial_lr"] * factor
            moves = self.step >= self.first_steps.get(group["depth"], 0)
            if moves != group["params"][0].requires_grad:
                for parameter in group["params"]:
                    parameter.requires_grad_(moves)
        self.step += 1


def choose_batch_size(n_rows):
    """Return about eight batches per epoch, of 8 to 32 rows."""
    return min(32, max(8, n_rows // 8))


def choose_epochs(n_batches, *, min_steps=MIN_STEPS):
    """Return the epochs of a budget in steps: few rows need more passes."""
    n_steps = min(MAX_STEPS, max(min_steps, EPOCHS * n_batches))
    return math.ceil(n_steps / n_batches)
