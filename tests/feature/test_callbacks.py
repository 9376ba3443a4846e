import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar

from sktransfer import FeatureTransferTransformer
from sktransfer.feature import _chunks


class Record:
    """A callback of scikit-learn that notes what it is told."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name))


WHOLE = [("setup", "fit"), ("begin", "fit"), ("end", "fit"), ("teardown", "fit")]


def test_a_fit_that_learns_nothing_is_one_task(small_network, digits):
    record = Record()
    FeatureTransferTransformer(small_network).set_callbacks(record).fit(digits[0][:20])
    assert record.events == WHOLE


def test_chunks_from_which_scales_are_learned_are_tasks(
    small_network, digits, tmp_path, monkeypatch
):
    np.save(tmp_path / "rows.npy", digits[0][:50])
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    monkeypatch.setattr(_chunks, "_CHUNK_BYTES", 20 * 64 * 8)
    record = Record()
    transformer = FeatureTransferTransformer(small_network, mode="concat", batch_size=4)
    transformer.set_callbacks(record).fit(rows)
    parts = [("begin", "rows"), ("end", "rows")] * 3
    assert record.events == [*WHOLE[:2], *parts, *WHOLE[2:]]


def test_callbacks_are_torn_down_after_a_failure(small_network, digits):
    record = Record()
    transformer = FeatureTransferTransformer(small_network).set_callbacks(record)
    with pytest.raises(ValueError, match="contains NaN"):
        transformer.fit(np.full((4, 8, 8), np.nan))
    assert record.events[-1] == ("teardown", "fit")
    assert vars(transformer).keys() >= {"_skl_callbacks"}


def test_clones_have_the_callbacks_of_the_original(small_network, digits):
    record = Record()
    transformer = FeatureTransferTransformer(small_network).set_callbacks(record)
    clone(transformer).fit(digits[0][:20])
    assert record.events == WHOLE


def test_a_progress_bar(small_network, digits, capsys):
    pytest.importorskip("rich")
    transformer = FeatureTransferTransformer(small_network, mode="concat")
    transformer.set_callbacks(ProgressBar()).fit(digits[0][:20])
    assert "FeatureTransferTransformer" in capsys.readouterr().out
