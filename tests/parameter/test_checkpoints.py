import concurrent.futures
import functools
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor
from sktransfer.backbones import _weights_file
from sktransfer.training import L2SP, GradualUnfreezing, RandomFlip, RandomShift

# Most tests use a network of random weights, and "auto" says what it is worth.
pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


class Killed(BaseException):
    """What nothing catches, as nothing catches a kill."""


class Kill(Callback):
    """End a fit after so many steps of all its trainings; a class attribute, since it is copied."""

    n_steps = n_left = None

    def on_batch_end(self, net, training=False, **kwargs):
        Kill.n_steps += 1
        if Kill.n_steps == Kill.n_left:
            raise Killed


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def few(digits):
    return digits[0][:40], digits[1][:40] % 3


FINE_TUNE = {
    "strategy": "fine_tune",
    "hidden_layer_sizes": (8,),
    "dropout": 0.3,
    "augment": RandomFlip(),
    "freeze_norm": False,
}
# Regression where there are folds, since its linear heads are quick. An epoch has 5 steps.
KINDS = {
    "fine_tune": FINE_TUNE,
    "early_stopping": {**FINE_TUNE, "early_stopping": True, "n_iter_no_change": 2},
    "patient": {**FINE_TUNE, "early_stopping": True, "n_iter_no_change": 9, "head_lr": 1e-2},
    "frozen": {"hidden_layer_sizes": (8,), "dropout": 0.3},
    "unfreezing": {"strategy": "fine_tune", "unfreezing": GradualUnfreezing(), "l2_sp": 0.1},
    "last_layers": {"strategy": "fine_tune", "trainable": ["norm"], "cache": True},
    "auto": {**FINE_TUNE, "strategy": "auto", "hidden_layer_sizes": (), "backbone_lr": 1e-3},
    "auto_stopping": {"strategy": "auto", "early_stopping": True, "max_epochs": 2},
}


def make(backbone, folder, kind="fine_tune", estimator=ParameterTransferClassifier, **parameters):
    defaults = {
        "strategy": "frozen",
        "max_epochs": 3,
        "checkpoint_dir": folder,
        "checkpoint_every": 2,
        "n_threads": 1,
        "callbacks": [Kill()],
        "random_state": 0,
    }
    return estimator(backbone, **{**defaults, **KINDS[kind], **parameters})


def fit(estimator, X, y, kill_at=None, **options):
    """Return the number of steps that were made; without ``kill_at`` the fit is complete."""
    Kill.n_steps, Kill.n_left = 0, kill_at
    if kill_at is None:
        estimator.fit(X, y, **options)
    else:
        with pytest.raises(Killed):
            estimator.fit(X, y, **options)
    return Kill.n_steps


def all_but_durations(history):
    return [{key: value for key, value in epoch.items() if key != "dur"} for epoch in history]


def list_files(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same_fit(estimator, other, X, tensors_of):
    assert tensors_of(estimator.module_) == tensors_of(other.module_)
    np.testing.assert_array_equal(estimator.predict(X), other.predict(X))
    assert all_but_durations(estimator.history_) == all_but_durations(other.history_)
    assert estimator.weights_ == other.weights_
    assert estimator.oof_loss_ == other.oof_loss_


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_is_cut_off_anywhere_goes_on_to_the_same_bits(
    small_network, few, folder, tensors_of, kind
):
    X, y = few
    estimator = ParameterTransferRegressor if "auto" in kind else ParameterTransferClassifier
    make_this = functools.partial(make, Backbone(small_network), kind=kind, estimator=estimator)
    whole = make_this(folder=None)
    n_steps = fit(whole, X, y)
    for kill_at in np.random.default_rng(0).integers(3, n_steps + 1, 3):
        fit(make_this(folder=folder), X, y, kill_at)
        assert list_files(folder)
        resumed = make_this(folder=folder)
        assert fit(resumed, X, y) < n_steps
        assert_same_fit(resumed, whole, X, tensors_of)
        assert list_files(folder) == []


def test_a_fit_that_is_cut_off_again_and_again_arrives(small_network, few, folder, tensors_of):
    X, y = few
    make_this = functools.partial(make, Backbone(small_network), head_init="random")
    whole, resumed = make_this(folder=None), make_this(folder=folder)
    assert fit(whole, X, y) == 15
    # Of every three steps two are kept, so this walks through each place within an epoch.
    for _ in range(6):
        fit(resumed, X, y, kill_at=3)
    assert fit(resumed, X, y) == 3
    assert_same_fit(resumed, whole, X, tensors_of)


@pytest.mark.parametrize("every", [1, 4, 5, 7, 1000])
def test_a_checkpoint_every_so_many_steps(small_network, few, folder, tensors_of, every):
    X, y = few
    make_this = functools.partial(make, Backbone(small_network), head_init="random")
    whole, resumed = make_this(folder=None), make_this(folder=folder, checkpoint_every=every)
    n_steps = fit(whole, X, y)
    fit(resumed, X, y, kill_at=13)
    # The checkpoint of a step comes after it.
    assert fit(resumed, X, y) == n_steps - 12 // every * every
    assert_same_fit(resumed, whole, X, tensors_of)


def test_scores_of_skorch_remember_the_best_so_far(small_network, few, folder):
    X, y = few

    def loss(net, X, y):
        return net.history[-1, "train_loss"]

    callbacks = [Kill(), EpochScoring(loss, use_caching=False, on_train=True)]
    make_this = functools.partial(
        make, Backbone(small_network), callbacks=callbacks, max_epochs=6, head_lr=0.3
    )
    whole, resumed = make_this(folder=None), make_this(folder=folder)
    fit(whole, X, y)
    assert not all(epoch["train_loss_best"] for epoch in whole.history_)
    fit(resumed, X, y, kill_at=24)
    fit(resumed, X, y)
    for before, after in zip(whole.history_, resumed.history_, strict=True):
        assert before["train_loss_best"] == after["train_loss_best"]


class Blurred(nn.Module):
    """A network whose code differs from that of its neighbour, not its weights."""

    def __init__(self, network, sign):
        super().__init__()
        self.network, self.sign = network, sign

    def forward(self, images):
        return self.network(self.sign * images)


CHANGES = [
    {"random_state": 1},
    {"max_epochs": 4},
    {"batch_size": 10},
    {"head_lr": 2e-3},
    {"backbone_lr": 2e-4},
    {"weight_decay": 0.1},
    {"layer_decay": 0.5},
    {"dropout": 0.6},
    {"hidden_layer_sizes": (9,)},
    {"head_init": "linear_probe"},
    {"trainable": "norm"},
    {"freeze_norm": True},
    {"l2_sp": 0.5},
    {"penalty": L2SP(0.3)},
    {"augment": None},
    {"augment": RandomFlip(0.1)},
    {"augment": RandomShift()},
    {"augment": lambda images: images + 1},
    {"unfreezing": GradualUnfreezing()},
    {"callbacks": [Kill(), EpochScoring("accuracy", on_train=True)]},
    {"early_stopping": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_other_parameters_have_another_file(small_network, few, folder, change):
    X, y = few
    make_this = functools.partial(make, Backbone(small_network), folder)
    start = {"head_init": "random"}
    fit(make_this(**start), X, y, kill_at=5)
    (name,) = list_files(folder)
    fit(make_this(**{**start, **change}), X, y, kill_at=5)
    assert len(list_files(folder)) == 2
    assert fit(make_this(**start), X, y) == 15 - 4
    assert len(list_files(folder)) == 1
    assert name not in list_files(folder)


@pytest.mark.parametrize("change", ["rows", "labels", "weights", "order", "weights of network"])
def test_other_data_have_another_file(small_network, few, folder, tensors_of, change):
    X, y = few
    options = {}
    fit(make(Backbone(small_network), folder), X, y, kill_at=9)
    if change == "rows":
        X = X.copy()
        X[-1, 0, 0] += 1
    elif change == "labels":
        y = np.where(np.arange(40) == 39, (y + 1) % 3, y)
    elif change == "weights":
        options = {"sample_weight": np.where(np.arange(40) == 39, 2.0, 1.0)}
    elif change == "order":
        X, y = X[::-1], y[::-1]
    else:
        with torch.no_grad():
            small_network.conv.bias[0] += 1
    backbone = Backbone(small_network)
    whole, resumed = make(backbone, None), make(backbone, folder)
    assert fit(resumed, X, y, **options) == fit(whole, X, y, **options)
    assert_same_fit(resumed, whole, X, tensors_of)


def test_the_same_weights_under_other_code_have_another_file(small_network, few, folder):
    for sign in (1.0, -1.0):
        fit(make(Backbone(Blurred(small_network, sign)), folder), *few, kill_at=9)
    assert len(list_files(folder)) == 2


def test_several_fits_share_a_folder(small_network, few, folder, tensors_of):
    X, y = few
    backbone = Backbone(small_network)
    whole = make(backbone, None)
    n_steps = fit(whole, X, y)
    fit(make(backbone, folder), X, y, kill_at=9)
    fit(make(backbone, folder, random_state=1), X, y)
    assert len(list_files(folder)) == 1
    resumed = make(backbone, folder)
    assert fit(resumed, X, y) == n_steps - 8
    assert_same_fit(resumed, whole, X, tensors_of)


@pytest.mark.parametrize("seeds", [(0, 1), (0, 0)])
def test_fits_at_the_same_time_share_a_folder(small_network, few, folder, tensors_of, seeds):
    X, y = few
    make_this = functools.partial(make, Backbone(small_network), callbacks=None)
    estimators = [make_this(folder=folder, random_state=seed) for seed in seeds]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda estimator: estimator.fit(X, y), estimators))
    for seed, estimator in zip(seeds, estimators, strict=True):
        whole = make_this(folder=None, random_state=seed).fit(X, y)
        assert_same_fit(estimator, whole, X, tensors_of)
    assert list_files(folder) == []


def test_a_file_that_was_only_half_written_does_no_harm(
    small_network, few, folder, tensors_of, monkeypatch
):
    X, y = few
    backbone = Backbone(small_network)
    whole = make(backbone, None)
    n_steps = fit(whole, X, y)
    fit(make(backbone, folder), X, y, kill_at=5)
    (name,) = list_files(folder)

    def cut_short(path, content):
        path.with_name(f"{path.name}.123.tmp").write_bytes(content[: len(content) // 2])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_weights_file, "_replace", cut_short)
        with pytest.raises(Killed):
            make(backbone, folder).fit(X, y)
    assert list_files(folder) == [name, f"{name}.123.tmp"]
    resumed = make(backbone, folder)
    assert fit(resumed, X, y) == n_steps - 4
    assert_same_fit(resumed, whole, X, tensors_of)


def test_a_flipped_bit_is_an_error_that_says_what_to_do(small_network, few, folder):
    X, y = few
    backbone = Backbone(small_network)
    fit(make(backbone, folder), X, y, kill_at=9)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [0, 9, 30, len(content) - 1, *rng.integers(0, len(content), 12)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path.name}.*Remove the file to train"):
            make(backbone, folder).fit(X, y)
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=rf"{path.name}.*Remove the file to train"):
        make(backbone, folder).fit(X, y)
    path.unlink()
    make(backbone, folder, callbacks=None).fit(X, y)


def test_checkpoints_want_a_seed(small_network, few, folder):
    with pytest.raises(ValueError, match="Got checkpoint_dir=.*random_state=None"):
        make(small_network, folder, random_state=None).fit(*few)
    assert not folder.exists()


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_wrong_intervals(small_network, few, folder, every):
    with pytest.raises((ValueError, TypeError), match="Got checkpoint_every="):
        make(small_network, folder, checkpoint_every=every).fit(*few)


def test_the_folder_is_made_and_a_linear_head_leaves_nothing_there(small_network, few, tmp_path):
    for folder in (tmp_path / "a" / "b", str(tmp_path / "c")):
        make(small_network, folder, strategy="frozen", hidden_layer_sizes=()).fit(*few)
    assert list_files(tmp_path) == ["a", "c"]
    assert list_files(tmp_path / "a" / "b") == list_files(tmp_path / "c") == []


# One process that has imported torch forks those that are killed, which saves seconds for each.
DRIVER = """
import json, os, pathlib, signal, sys, time, warnings

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor
from sktransfer.training import RandomFlip

torch.set_num_threads(1)
warnings.simplefilter("ignore")
root, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
COUNT = {"steps": 0, "kill_at": None, "writes": 0, "kill_write": None}


class Kill(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        COUNT["steps"] += 1
        if COUNT["steps"] == COUNT["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)


fsync = os.fsync


def cut_short(descriptor):
    COUNT["writes"] += 1
    if COUNT["writes"] == COUNT["kill_write"]:
        os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)


os.fsync = cut_short
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    nn.Linear(16, 5),
)
rng = np.random.default_rng(0)
X = rng.normal(size=(36, 8, 8))
y = X[:, :3, 0].argmax(1)
parameters = dict(
    strategy="fine_tune", hidden_layer_sizes=(8,), dropout=0.3, augment=RandomFlip(backend="torch"),
    freeze_norm=False, early_stopping=True, n_iter_no_change=3, max_epochs=6, head_lr=1e-2,
)
estimator = ParameterTransferClassifier
if kind == "auto":
    estimator = ParameterTransferRegressor
    parameters |= dict(
        strategy="auto", hidden_layer_sizes=(), early_stopping=True, max_epochs=3,
        backbone_lr=1e-3,
    )


def fit(folder, out=None, kill_at=None, kill_write=None):
    COUNT.update(steps=0, kill_at=kill_at, writes=0, kill_write=kill_write)
    model = estimator(
        Backbone(network), checkpoint_dir=folder, checkpoint_every=2, n_threads=1,
        callbacks=[Kill()], random_state=0, **parameters,
    ).fit(X, y)
    weights = {k: v.numpy().tobytes().hex() for k, v in model.module_.state_dict().items()}
    history = [{k: v for k, v in e.items() if k != "dur"} for e in model.history_]
    predicted = model.predict(X).tobytes().hex()
    result = {"steps": COUNT["steps"], "writes": COUNT["writes"]}
    out.write_text(json.dumps([result, weights, history, predicted, model.weights_]))


def run(delay=None, **arguments):
    '''Fit in a process of its own; return the signal that ended it.'''
    child = os.fork()
    if not child:
        try:
            fit(**arguments)
            os._exit(0)
        finally:
            os._exit(1)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


began = time.perf_counter()
run(folder=root / "whole", out=root / "whole.json")
seconds = time.perf_counter() - began
counts, *expected = json.loads((root / "whole.json").read_text())
rng = np.random.default_rng(int(sys.argv[3]))
kills = [
    *({"kill_at": int(step)} for step in rng.integers(3, counts["steps"] + 1, 4)),
    *({"kill_write": int(n)} for n in rng.integers(2, counts["writes"] + 1, 2)),
    *({"delay": seconds * share} for share in rng.uniform(0.1, 1.1, 4)),
]
report = []
for i, kill in enumerate(kills):
    folder, out = root / f"cut{i}", root / f"cut{i}.json"
    by = run(folder=folder, out=out, **kill)
    resumed, *got = [{"steps": 0}]
    if by is not None:
        assert by == signal.SIGKILL
        out.unlink(missing_ok=True)
        assert run(folder=folder, out=out) is None
    resumed, *got = json.loads(out.read_text())
    assert got == expected, kill
    assert not list(folder.glob("*.safetensors")), kill
    report.append([kill, by is not None, resumed["steps"], counts["steps"]])
print(json.dumps(report))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fine_tune", "auto"])
def test_killed_processes_go_on_to_the_same_bits(tmp_path, kind):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    done = subprocess.run(
        [sys.executable, script, tmp_path, kind, "0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, report = done.stdout.splitlines()
    cuts = json.loads(report)
    assert len(cuts) == 10
    # A delay may end after the fit; a fit that is cut off at a step or in a write always resumes.
    by_step = [cut for cut in cuts if "delay" not in cut[0]]
    assert all(was_killed and steps < of for _, was_killed, steps, of in by_step)
