import json

from sktransfer.backbones import PretrainingReport
from sktransfer.backbones._pretraining_report import read_report

REPORT = PretrainingReport(
    task="classification",
    scores={"accuracy": 0.9, "roc_auc": 0.95},
    chance={"accuracy": 0.5},
    n_rows=850,
    n_held_out=150,
    n_parameters=20_993,
    n_epochs=30,
    best_epoch=28,
    seconds=3.14,
)


def test_a_report_survives_as_plain_data():
    assert read_report(json.loads(json.dumps(REPORT.to_dict()))) == REPORT


def test_other_data_stays_as_it_is():
    data = {**REPORT.to_dict(), "of_a_later_version": 1}
    assert read_report(data) is data
    assert read_report({}) == {}


def test_the_repr_says_how_good_it_was():
    shown = repr(REPORT)
    assert "accuracy 0.900 (chance 0.500), roc_auc 0.950" in shown
    assert "150 held-out" in shown
