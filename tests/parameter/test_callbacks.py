import pickle
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.callback._progressbar import RichProgressMonitor
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sktransfer import Backbone, ParameterTransferClassifier, ParameterTransferRegressor

STRATEGIES = ["frozen", "fine_tune", "auto"]
pytestmark = pytest.mark.filterwarnings("ignore::sktransfer.NegativeTransferWarning")


class Record:
    """A callback of scikit-learn that notes what it is told."""

    def __init__(self, stop_at=None, fail_at=None):
        self.stop_at, self.fail_at, self.events = stop_at, fail_at, []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name, ()))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name, ()))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, self.path_of(context)))

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name, self.path_of(context)))
        if context.task_name == "epoch" and context.task_id == self.fail_at:
            raise ZeroDivisionError
        return context.task_name == "epoch" and context.task_id == self.stop_at

    def path_of(self, context):
        path = []
        while context is not None:
            path.insert(0, context.task_id)
            context = context.parent
        return tuple(path)

    def count(self, event, task):
        return sum(e[:2] == (event, task) for e in self.events)


class Propagated(Record):
    max_propagation_depth = None


def make(backbone, estimator=ParameterTransferRegressor, **parameters):
    defaults = {"strategy": "fine_tune", "max_epochs": 3, "n_threads": 1, "random_state": 0}
    return estimator(backbone, **{**defaults, **parameters})


@pytest.fixture
def backbone(small_network):
    return Backbone(small_network)


@pytest.fixture
def few(digits):
    return digits[0][:40], digits[1][:40]


@pytest.fixture
def no_thread_left():
    yield
    left = [t for t in threading.enumerate() if isinstance(t, RichProgressMonitor)]
    for thread in left:
        # It would keep the process from ending.
        thread.queue.put(None)
        thread.join()
    assert left == []


def assert_balanced(events):
    """Every task that begins ends, after those within it."""
    open_tasks = []
    for event, *task in events:
        if event == "begin":
            open_tasks.append(task)
        elif event == "end":
            assert open_tasks.pop() == task
    assert open_tasks == []


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_tasks_begin_and_end_and_epochs_are_tasks(backbone, few, strategy, early_stopping):
    record = Record()
    model = make(backbone, strategy=strategy, early_stopping=early_stopping).set_callbacks(record)
    model.fit(*few)
    assert record.events[0][0] == "setup"
    assert record.events[-1][0] == "teardown"
    assert record.count("begin", "fit") == 1
    assert_balanced(record.events)
    if strategy == "frozen":
        assert record.count("begin", "training") == record.count("begin", "epoch") == 0
    elif not early_stopping:
        n_trainings = record.count("begin", "training")
        assert n_trainings == 1 if strategy == "fine_tune" else n_trainings >= 6
        assert record.count("begin", "epoch") == record.count("end", "epoch") == 3 * n_trainings


def test_hidden_layers_on_a_frozen_backbone_are_trained_in_epochs(backbone, few):
    record = Record()
    make(backbone, strategy="frozen", hidden_layer_sizes=(4,)).set_callbacks(record).fit(*few)
    assert record.count("end", "epoch") == 3


def test_the_fit_is_the_same_with_and_without(backbone, few):
    X, y = few
    plain, told = make(backbone).fit(X, y), make(backbone).set_callbacks(Record()).fit(X, y)
    np.testing.assert_array_equal(plain.predict(X), told.predict(X))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_true_answer_at_the_end_of_an_epoch_ends_the_training(backbone, few, early_stopping):
    record = Record(stop_at=1)
    model = make(backbone, max_epochs=9, early_stopping=early_stopping).set_callbacks(record)
    assert len(model.fit(*few).history_) <= 2
    assert early_stopping or len(model.history_) == 2
    assert np.isfinite(model.predict(few[0])).all()
    assert_balanced(record.events)


@pytest.mark.parametrize("kind", ["of the callback", "of the fit", "interrupt"])
def test_teardown_comes_after_an_error_too(backbone, few, kind):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    record = Record(fail_at=0 if kind == "of the callback" else None)
    options = {"of the fit": {"head_lr": 1e30}, "interrupt": {"callbacks": [Interrupt()]}}
    model = make(backbone, **options.get(kind, {})).set_callbacks(record)
    with pytest.raises((ZeroDivisionError, ValueError, KeyboardInterrupt)):
        model.fit(*few)
    assert record.events[-1][0] == "teardown"
    assert record.count("teardown", "fit") == 1
    assert "_callback_fit_ctx" not in vars(model)
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_progress_bars(backbone, few, strategy, capsys, no_thread_left):
    make(backbone, strategy=strategy).set_callbacks(ProgressBar()).fit(*few)
    shown = capsys.readouterr().out
    assert "ParameterTransferRegressor - fit" in shown
    assert ("training" in shown) == (strategy != "frozen")


def test_progress_bars_end_with_an_error(backbone, few, no_thread_left):
    model = make(backbone, head_lr=1e30).set_callbacks(ProgressBar())
    with pytest.raises(ValueError, match="diverged"):
        model.fit(*few)


@pytest.mark.parametrize(("strategy", "n_jobs"), [("frozen", None), ("fine_tune", 2)])
def test_progress_bars_of_a_search(backbone, few, strategy, n_jobs, capsys, no_thread_left):
    model = make(backbone, strategy=strategy, max_epochs=1)
    search = GridSearchCV(model, {"head_lr": [1e-3, 1e-2]}, cv=2, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(*few)
    assert "GridSearchCV - fit" in capsys.readouterr().out
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_callbacks_of_a_search_see_the_epochs_of_every_fit(backbone, few):
    record = Propagated()
    search = GridSearchCV(make(backbone, max_epochs=1), {"head_lr": [1e-3, 1e-2]}, cv=2)
    search.set_callbacks(record).fit(*few)
    assert record.count("end", "epoch") == 2 * 2 + 1
    assert record.count("setup", "fit") == record.count("teardown", "fit") == 1
    assert_balanced([e for e in record.events if e[1] in ("training", "epoch")])


def test_partial_fit_leaves_nothing_of_a_callback_behind(backbone, few, no_thread_left):
    record = Record()
    model = make(backbone).set_callbacks(record)
    for _ in range(2):
        model.partial_fit(*few)
    assert record.count("setup", "fit") == record.count("teardown", "fit")
    assert_balanced(record.events)
    assert "_callback_fit_ctx" not in vars(model)
    make(backbone).set_callbacks(ProgressBar()).partial_fit(*few)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_clone_and_pickle_after_a_fit_with_callbacks(backbone, few, strategy):
    X, y = few
    model = make(backbone, ParameterTransferRegressor, strategy=strategy)
    model.set_callbacks(Record(), ProgressBar()).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert clone(model).fit(X, y).predict(X).shape == (40,)
    assert "_callback_fit_ctx" not in vars(model)


def test_what_is_no_callback_is_refused(backbone):
    with pytest.raises(TypeError, match="FitCallback"):
        make(backbone).set_callbacks("bar")


class Epochs(Callback):
    """Count epochs and batches."""

    def __init__(self):
        self.n_epochs, self.n_batches = 0, 0

    def on_batch_end(self, net, training=False, **kwargs):
        self.n_batches += 1

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1
        net.history.record("mine", self.n_epochs)


def test_callbacks_of_skorch_see_epochs_and_may_record(backbone, few):
    callback = Epochs()
    model = make(backbone, callbacks=[("mine", callback)]).fit(*few)
    assert [epoch["mine"] for epoch in model.history_] == [1, 2, 3]
    assert (callback.n_epochs, callback.n_batches) == (0, 0)
    used = dict(model.net_.callbacks_)["mine"]
    assert (used.n_epochs, used.n_batches) == (3, 3 * 5)
    assert model.get_params()["callbacks"] == [("mine", callback)]


@pytest.mark.parametrize("estimator", [ParameterTransferClassifier, ParameterTransferRegressor])
def test_verbose_prints_a_line_per_epoch(backbone, few, capsys, estimator):
    X, y = few[0], few[1] % 2
    make(backbone, estimator).fit(X, y)
    assert capsys.readouterr().out == ""
    make(backbone, estimator, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert "train_loss" in lines[0]
    assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "3"]
