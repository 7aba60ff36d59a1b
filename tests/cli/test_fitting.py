"""Tables at fixed widths: names stay whole, columns leave from the right and are named, FAIL is red."""

import pytest
from rich.console import Console

from stbench.catalogue import dataset_cards, method_cards, metric_cards
from stbench.cli import console
from stbench.cli.console import draw, say_table
from stbench.evaluation.summaries import summarise_draws
from stbench.pages.leaderboard import columns_of, table_of
from stbench.pages.protocol import boards_of
from stbench.pages.sections import sections
from stbench.pages.tables import Emphasis, Strong, Table

from ..grids.conftest import SLIDES, facts, record

WIDTHS = [80, 90, 100]
NAMES = ["joint-diffusion", "node-diffusion", "spatial-neighbours", "flag"]


@pytest.fixture
def at(monkeypatch, capsys):
    """What stdout is sent at a width."""

    def shown(width, call, *, terminal=False):
        def fixed(stream):
            colors = "standard" if terminal else None
            return Console(file=stream, width=width, force_terminal=terminal, color_system=colors)

        monkeypatch.setattr(console, "_console", fixed)
        call()
        return capsys.readouterr().out

    return shown


def rows_of(shown):
    return [line.rstrip() for line in shown.splitlines()]


def board():
    single = {name: summarise_draws({slide: [-0.2, 0.4] for slide in SLIDES}) for name in ("pcc", "mse", "gsc", "ssc")}
    changes = {"draws": 8, "metrics_single_draw": single}
    records = [record(name, facts(5), [0.1, 0.2, 0.9], "generative", **changes) for name in NAMES]
    (found,) = boards_of(sections(records))
    return table_of(found, columns_of(found, place="run")).without("#")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_run_keeps_its_names(at, width):
    lines = rows_of(at(width, lambda: draw(board())))
    labels = {line.split("  ")[0] for line in lines}
    assert {f"{name}, {way}" for name in NAMES for way in ("mean of 8", "1 draw")} <= labels
    gone = {80: "SSC ↑", 90: "SSC ↑", 100: ""}[width]
    assert len(lines) == 2 + 8 + bool(gone)  # head, rows, what left
    assert max(map(len, lines[: 2 + 8])) <= width
    assert not gone or lines[-1] == f"not shown at this width: {gone}"


def test_everything_is_shown_where_there_is_room(at):
    shown = at(200, lambda: draw(board()))
    assert "not shown" not in shown
    assert shown.splitlines()[0].split() == ["row", "PCC", "↑", "MSE", "↓", "GSC", "↑", "SSC", "↑"]


def test_names_stay_whole_where_nothing_fits(at):
    lines = rows_of(at(10, lambda: draw(board())))
    assert "joint-diffusion, mean of 8" in lines
    assert lines[-1] == "not shown at this width: PCC ↑, MSE ↓, GSC ↑, SSC ↑"


def test_words_fold_between_words(at):
    rows = [["a-name", "some words that go on for longer than there is room", "3"]]
    lines = rows_of(at(34, lambda: say_table(["name", "what", "n"], rows, numbers=2)))
    assert lines[2:] == ["a-name  some words that go on    3", "        for longer than there", "        is room"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["methods", "list"], method_cards()),
        (["datasets", "list"], dataset_cards()),
        (["metrics", "list"], metric_cards()),
        (["datasets", "show", "kidney"], [slide.section for slide in dataset_cards()["kidney"].slides]),
        (["methods", "show", "flag"], ["standardize_features", "features, xy", "stbench.methods.flag:Flag"]),
    ],
)
def test_no_list_splits_a_name(at, width, words, names):
    from stbench.cli.main import main

    shown = at(width, lambda: main(words))
    assert all(name in shown for name in names)
    fits = [line for line in rows_of(shown) if not line.startswith("not shown")]
    assert max(map(len, fits)) <= width


def test_fail_is_red_on_a_terminal_alone(at):
    rows = [["a", "ok"], ["b", "FAIL"]]
    assert "\x1b[1;31mFAIL" in at(80, lambda: say_table(["check", "verdict"], rows), terminal=True)
    assert "\x1b" not in at(80, lambda: say_table(["check", "verdict"], rows))


def test_what_stands_out_on_a_page_stands_out_on_a_terminal(at):
    table = Table(["row", "PCC"], [[Emphasis("methods")], ["a [b]", Strong("0.5")]])
    shown = at(80, lambda: draw(table), terminal=True)
    assert "\x1b[3mmethods" in shown
    assert "\x1b[1m0.5" in shown
    assert [line.split() for line in at(80, lambda: draw(table)).splitlines()[2:]] == [["methods"], ["a", "[b]", "0.5"]]
