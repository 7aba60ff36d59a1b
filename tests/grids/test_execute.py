"""Grids of cells: their order, their ends, and the table that shows them."""

import errno
import fcntl
import json
from dataclasses import replace

import pytest

from stbench.errors import UserError
from stbench.evaluation.record import read_record
from stbench.evaluation.task import TaskSettings
from stbench.features.encoders import load_encoder
from stbench.grids.board import Board
from stbench.grids.cells import Cell, Failures, MethodRun, Outcome, finished, heaviest_first, named
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.grids.lock import among_others, only_one
from stbench.grids.progress import CellReporter

SMALL, LARGE = TaskSettings(genes=5), TaskSettings(genes=50)


def test_one_process_at_a_time(tmp_path):
    with only_one(tmp_path), pytest.raises(UserError, match="another process is at work"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_single_cells_share_a_folder_that_a_command_has_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("stbench.grids.lock._PATIENCE_S", 0.1)
    (tmp_path / ".lock").touch()
    with among_others(tmp_path, "a"), among_others(tmp_path, "b"):
        with pytest.raises(UserError, match="another process is at work"), only_one(tmp_path):
            pass
        with pytest.raises(UserError, match="another process is at work"), among_others(tmp_path, "a"):
            pass
    with only_one(tmp_path), pytest.raises(UserError, match="another process"), among_others(tmp_path, "a"):
        pass


def cell(folder, row="flag", column="5", task=SMALL, **changes):
    return Cell(folder, row, column, task, None, **changes)


def test_long_cells_begin_first_and_tasks_stay_together():
    cells = [
        cell("s1", weight=2.0),
        cell("s2", weight=9.0),
        cell("l1", task=LARGE, weight=1.0),
        cell("l2", task=LARGE, weight=20.0),
    ]
    assert [one.folder for one in heaviest_first(cells)] == ["l2", "l1", "s2", "s1"]


def test_names_of_many_cells():
    assert named(["a", "b"]) == "a, b"
    assert named([str(i) for i in range(9)]) == "0, 1, 2, 3, 4, 5 ... 9 cells"


def test_reasons_outlive_the_process(tmp_path):
    one, other = cell("g5/a"), cell("g5/b")
    book = Failures(tmp_path)
    book.note(one, "broke")
    book.note(other, "broke too")
    book.note(one, None)
    assert Failures(tmp_path).reasons == {"g5/b": "broke too"}
    Failures(tmp_path).note(cell("never"), None)
    assert json.loads((tmp_path / "failures.json").read_text()) == {"g5/b": "broke too"}


class Told:
    """A listener that remembers."""

    def __init__(self):
        self.events = []

    def started(self, cell):
        self.events.append(("started", cell.folder))

    def progressed(self, cell, text):
        self.events.append(("progressed", text))

    def said(self, cell, message):
        self.events.append(("said", message))

    def finished(self, cell, outcome):
        self.events.append((outcome.status, cell.folder))


@pytest.fixture
def desk(cohort, card, settings, tmp_path):
    """Makes a desk over the tiny cohort, and says which slides were read."""
    reads = []

    def reader(slide_id):
        reads.append(slide_id)
        return cohort.reader(slide_id)

    encoder = load_encoder(settings.encoder)
    return Desk(replace(cohort, reader=reader), card, encoder, tmp_path / "cache", "cpu"), reads


@pytest.fixture
def grid(method, settings):
    """Makes a cell of a dummy."""

    def make(name, genes=5, seed=0, **changes):
        task = replace(settings, genes=genes)
        run = MethodRun(method(name), "paper", {})
        return Cell(f"g{genes}/seed{seed}/{name}", name, str(genes), task, run, seed, **changes)

    return make


def test_what_is_known_of_the_slides_is_said_once(desk, settings):
    shared, _ = desk
    read = shared.cohort.reader
    shared.cohort = replace(shared.cohort, reader=lambda id_: replace(read(id_), notes=(f"{len(id_)} odd spots",)))
    told = Told()
    for genes in (5, 6):
        shared.task(replace(settings, genes=genes), CellReporter(lambda text: None, lambda text: told.said(None, text)))
    assert told.events == [("said", "note: all 7 slides: 5 odd spots")]


def test_whatever_fails_ends_its_own_cell(desk, grid, tmp_path):
    cells = [
        *(grid(name, weight=9.0) for name in ("SlideMean", "Crashes", "Refuses", "BadInput")),
        grid("SlideMean", genes=13, weight=99.0),
        grid("SlideMean", seed=1, expected="of other data"),
    ]
    told = Told()
    outcomes = execute(cells, desk[0], tmp_path, 1, told)
    assert {folder: outcome.status for folder, outcome in outcomes.items()} == {
        "g13/seed0/SlideMean": "failed",
        "g5/seed0/SlideMean": "done",
        "g5/seed0/Crashes": "failed",
        "g5/seed0/Refuses": "refused",
        "g5/seed0/BadInput": "failed",
        "g5/seed1/SlideMean": "failed",
    }
    assert "at most 12 genes" in outcomes["g13/seed0/SlideMean"].reason
    assert read_record(tmp_path / "g5/seed0/Crashes").reason == "ZeroDivisionError: division"
    reasons = Failures(tmp_path).reasons
    assert set(reasons) == {"g13/seed0/SlideMean", "g5/seed0/BadInput", "g5/seed1/SlideMean"}
    assert {folder for folder, outcome in outcomes.items() if outcome.misused} == set(reasons)
    assert reasons["g5/seed0/BadInput"] == "expected a prior file, found none"
    assert "data or code changed" in reasons["g5/seed1/SlideMean"]
    assert next(event for event in told.events if event[0] == "started") == ("started", "g13/seed0/SlideMean")
    again = [one for one in cells if finished(tmp_path, one) is None]
    assert {one.folder for one in again} == set(reasons) | {"g5/seed0/Crashes"}


def test_slides_are_read_once_for_all_tasks(desk, grid, tmp_path, slides):
    execute([grid("SlideMean", genes=genes) for genes in (3, 4, 5)], desk[0], tmp_path, 1, Told())
    used = {"P0-s0", "P0-s1", "P1-s0", "P2-s0", "P2-s1", "P3-s0", "P3-s1"}
    assert sorted(desk[1]) == sorted(used)


def test_more_slides_than_memory_are_read_again(desk, grid, tmp_path):
    desk[0].cohort.reader._left = 0
    execute([grid("SlideMean")], desk[0], tmp_path, 1, Told())
    assert len(desk[1]) == 14


def test_a_cell_repaired_is_no_failure_any_more(desk, grid, tmp_path):
    one = grid("SlideMean")
    Failures(tmp_path).note(one, "its worker process was ended by SIGKILL")
    assert execute([one], desk[0], tmp_path, 1, Told())[one.folder].status == "done"
    assert Failures(tmp_path).reasons == {}
    assert finished(tmp_path, one).score == read_record(tmp_path / one.folder).metrics["pcc"].mean


def test_progress_in_a_few_words():
    texts = []
    with CellReporter(texts.append, texts.append).track("training", 20) as advance:
        for _ in range(20):
            advance()
    assert texts == ["training 1/20"]  # not twenty within half a second


def test_board():
    now = [0.0]
    cells = [
        cell(f"g{g}/seed{s}/{row}", row, str(g), weight=float(g))
        for row in ("a", "b")
        for g in (10, 20)
        for s in (0, 1)
    ]
    by_name = {one.folder: one for one in cells}
    board = Board(cells, {by_name["g10/seed0/a"]: Outcome("done", None, 10.0, 0.5)}, jobs=2, clock=lambda: now[0])
    assert board.lines() == [["a", "0.500 1/2", "."], ["b", ".", "."]]
    board.started(by_name["g10/seed1/a"])
    board.progressed(by_name["g10/seed1/a"], "training 3/9")
    now[0] = 4.0
    assert board.text("a", "10") == "0.500 1/2 ..."
    assert board.doing() == ["g10/seed1/a: training 3/9, 4 s"]
    # 10 - 4 for the one at work, 2 x 20 for a at 20, 2 x 10 and 2 x 20 for b, by two workers
    assert board.count() == "1 of 8 cells, about 53 s left"
    board.finished(by_name["g10/seed1/a"], Outcome("done", None, 12.0, 0.7))
    board.finished(by_name["g20/seed0/a"], Outcome("failed", "broke"))
    board.finished(by_name["g20/seed1/a"], Outcome("refused", "too large"))
    assert board.lines()[0] == ["a", "0.600 2/2", "x -"]
    assert board.count().startswith("4 of 8 cells, 1 failed, ")


def test_nothing_is_known_of_the_time_at_first():
    assert Board([cell("x")], {}).count() == "0 of 1 cells"


@pytest.mark.parametrize("lock", [only_one, lambda out: among_others(out, "a")])
def test_a_disk_without_locks_is_no_other_process(tmp_path, monkeypatch, lock):
    def refuse(file, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".lock").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="No locks available; choose another --out"), lock(tmp_path):
        pass
