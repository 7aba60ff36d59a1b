"""A grid as it runs, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from stbench.cli import board as view_module
from stbench.evaluation.task import TaskSettings
from stbench.grids.board import Board
from stbench.grids.cells import Cell, Outcome

CELLS = [Cell(f"g5/seed{seed}/flag", "flag", "5", TaskSettings(genes=5), None, seed) for seed in (0, 1)]


def carried_out(view):
    first, second = CELLS
    with view.shown():
        view.started(first)
        view.progressed(first, "training 3/9")
        view.said(first, "about 3 min")
        view.finished(first, Outcome("done", None, 2.0, 0.25))
        view.started(second)
        view.finished(second, Outcome("failed", "broke [bold]", 1.0))


@pytest.fixture
def screen(monkeypatch):
    """What a terminal is sent."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=30)
    monkeypatch.setattr(view_module, "stderr_console", lambda: console)
    return file


def test_a_table_lives_on_a_terminal(screen):
    carried_out(view_module.BoardView(Board(CELLS, {}), "genes"))
    shown = screen.getvalue()
    assert "PCC by genes" in shown
    assert "g5/seed0/flag: about 3 min\n" in shown
    assert "g5/seed1/flag: failed: broke [bold], 1.0 s; 2 of 2 cells, 1 failed\n" in shown
    assert "0.250 1/2 x" in shown


def test_lines_elsewhere(capsys):
    carried_out(view_module.BoardView(Board(CELLS, {}), "genes"))
    assert capsys.readouterr().err.splitlines() == [
        "g5/seed0/flag: about 3 min",
        "g5/seed0/flag: pcc 0.250, 2.0 s; 1 of 2 cells, about 2 s left",
        "g5/seed1/flag: failed: broke [bold], 1.0 s; 2 of 2 cells, 1 failed",
    ]


def test_an_interruption_ends_the_table(screen):
    view = view_module.BoardView(Board(CELLS, {}), "genes")
    with pytest.raises(KeyboardInterrupt), view.shown():
        raise KeyboardInterrupt
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is back
