import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktransfer.evaluation import KNNProbe
from sktransfer.evaluation._transferability_ranking import Candidate, TransferabilityRanking


@pytest.fixture
def ranking():
    rng = np.random.default_rng(0)
    candidates = []
    for layer, share in (("early", 0.4), ("middle", 0.9), ("late", 0.89)):
        rows = rng.random(400) < share
        candidates.append(Candidate("net", layer, 8, {"knn": rows.mean(), "logme": -share}, rows))
    return TransferabilityRanking(candidates, methods=("knn", "logme"), n_rows=400, chance=0.25)


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_repr_is_a_table_with_the_best_first(ranking):
    lines = repr(ranking).splitlines()
    assert lines[0] == "Transferability by knn, 400 rows, 0.250 without features"
    assert lines[1].split() == [
        *("backbone", "layer", "n_features", "knn", "logme", "standard_error", "near_best")
    ]
    assert {lines[2].split()[1], lines[3].split()[1]} == {"middle", "late"}
    assert lines[4].split()[1] == "early"
    assert len({len(line) for line in lines[1:5]}) == 1


def test_standard_error_is_that_of_a_share(ranking):
    row = ranking.table.iloc[0]
    expected = np.sqrt(row["knn"] * (1 - row["knn"]) / 400)
    assert row["standard_error"] == pytest.approx(expected, rel=0.01)
    assert ranking.table["near_best"].tolist()[-1] is False


def test_html_of_notebooks(ranking):
    html = ranking._repr_html_()
    assert "<table" in html and "near_best" in html


def test_plot(ranking, axes):
    assert ranking.plot(axes) is axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    # In the order of the network, from top to bottom.
    assert names == ["early", "middle", "late"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    texts = [text.get_text() for text in axes.texts]
    assert f"{ranking.best_score:.3f}" in texts
    assert " without features" in texts


def test_plot_of_another_method(ranking, axes):
    ranking.plot(axes, method="logme")
    assert axes.get_xlabel() == "logme"
    assert " without features" not in [text.get_text() for text in axes.texts]
    with pytest.raises(ValueError, match="method='ridge'"):
        ranking.plot(axes, method="ridge")


def test_plot_makes_a_figure_of_its_own_and_marks_what_failed(ranking):
    failed = Candidate("other", "–", 0, {"knn": np.nan, "logme": np.nan})
    both = TransferabilityRanking(
        [*ranking._candidates, failed],
        methods=ranking.methods,
        n_rows=400,
        chance=0.25,
        failures={"other": "no such network"},
    )
    ax = both.plot()
    assert "failed" in [text.get_text() for text in ax.texts]
    assert ax.get_yticklabels()[0].get_text() == "net, early"
    plt.close(ax.figure)


def test_methods_are_known_by_their_names():
    from sktransfer.evaluation._methods import name_method

    assert name_method("ridge") == name_method(KNNProbe()).replace("knn", "ridge") == "ridge"
    assert name_method(KNNProbe(5)) == "KNNProbe(n_neighbors=5)"
