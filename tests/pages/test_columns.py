"""A metric whose card says where it is shown is shown there, without a line of code."""

import pytest

from stbench.catalogue import MetricCard, metric_cards
from stbench.evaluation.summaries import summarise
from stbench.grids.manifest import write_manifest
from stbench.pages import columns as module
from stbench.pages.columns import columns, decimals, direction, title
from stbench.pages.leaderboard import columns_of, leaderboard
from stbench.pages.protocol import boards_of
from stbench.pages.sections import sections
from stbench.studies.sweep.curves import draw
from stbench.studies.sweep.page import page
from stbench.studies.sweep.results import read_results

from ..grids.conftest import facts, manifest, record, series
from ..studies.sweep.test_results import put

MADE_UP = MetricCard(
    name="made-up", title="Made up", entry="a:b", direction="lower", decimals=1, order=15,
    columns=["board", "run", "curve"],
)  # fmt: skip


@pytest.fixture
def made_up(monkeypatch):
    """One more metric than there are."""
    monkeypatch.setattr(module, "metric_cards", lambda: {**metric_cards(), "made-up": MADE_UP})
    scores = {"pcc": summarise(dict.fromkeys(["t1", "t2", "t3"], 0.5))}
    scores["made-up"] = summarise({"t1": 1.0, "t2": 2.0, "t3": 3.0})
    return record("x", facts(5), [0.5] * 3, metrics=scores)


def test_the_usual_columns():
    small, sets = ["pcc", "mse", "gsc", "ssc"], ["gene-set-pcc", "gene-set-network"]
    assert (columns("run"), columns("curve")) == (small + sets, small)
    assert columns("board") == [
        "pcc", "pooled-pcc", "mse", "gsc", "ssc", "moran-bias", "partial-pcc", "variance-ratio", "crps", *sets,
    ]  # fmt: skip
    assert columns("board", {"ssc", "mse", "unknown"}) == ["mse", "ssc"]


def test_a_made_up_card_is_on_the_board_and_in_the_table_of_a_run(made_up):
    text = leaderboard([made_up])
    assert "| # | row | PCC ↑ | Made up ↓ |" in text
    assert "| 1 | x | 0.500 | 2.0 |" in text
    (found,) = boards_of(sections([made_up]))
    assert columns_of(found, place="run") == ["pcc", "made-up"]


def test_a_made_up_card_has_a_curve(made_up, tmp_path):
    put(tmp_path, "g5/seed0/x", made_up)
    write_manifest(tmp_path, manifest(series("x"), genes=[5]))
    results = read_results(tmp_path)
    assert "## Made up ↓" in page(results)
    assert [axes.get_title() for axes in draw(results, "").axes] == ["PCC ↑", "Made up ↓"]


def test_a_card_that_no_record_holds_is_not_shown(made_up):
    assert "Made up" not in leaderboard([record("x", facts(5), [0.5] * 3)])


def test_what_has_no_card_is_named_plainly():
    assert (title("gone"), direction("gone"), decimals("gone")) == ("gone", "none", 3)
    assert (title("pcc-draw-sd"), direction("pcc-draw-sd"), decimals("pcc-draw-sd")) == (
        "PCC, sd over draws",
        "none",
        4,
    )
