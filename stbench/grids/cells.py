"""Cells of a grid: what one is, how it ended, and which of them need no work any more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stbench.catalogue import MethodCard
from stbench.errors import DataError
from stbench.evaluation.model import is_damaged
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import PRIMARY, Record, Tuned, read_record
from stbench.evaluation.task import TaskSettings
from stbench.files import write_text
from stbench.reading import read_json

FAILURES = "failures.json"
_MOST_NAMED = 6


@dataclass(frozen=True)
class MethodRun:
    """The method of a cell.

    Args:
        card: the method.
        preset: name of the preset.
        overrides: setting to text, over the preset.
        draws: samples per slide, None for the card's own number.
        tuned: how the overrides were chosen, None where they are the user's.
    """

    card: MethodCard
    preset: str
    overrides: Mapping[str, str]
    draws: int | None = None
    tuned: Tuned | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a grid, to be carried out in any order and in any process.

    Args:
        folder: where its run is kept, below the folder of the grid; names the cell.
        row: what it is a case of, e.g. the method.
        column: which case, e.g. the panel size.
        task: what is predicted from what.
        run: the method.
        seed: seed of fitting and sampling.
        command: command that repeats the cell alone.
        request: what that command asks, as a record keeps it.
        weight: how long it may take, in any unit; the heaviest cells begin first.
        asked: whether the user named it, in contrast to the usual controls and ceilings.
        expected: hash of the task that finished cells of the same task have, None while there is none.
    """

    folder: str
    row: str
    column: str
    task: TaskSettings
    run: MethodRun
    seed: int = 0
    command: str = ""
    request: Mapping[str, Any] | None = None
    weight: float = 1.0
    asked: bool = True
    expected: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Args:
        status: ``done``, ``refused`` or ``failed``.
        reason: why it was refused or failed.
        seconds: wall time.
        score: mean of the primary metric over slides, None where undefined.
        misused: whether it failed because of an input or a setting that the user can mend.
    """

    status: str
    reason: str | None = None
    seconds: float = 0.0
    score: float | None = None
    misused: bool = False


class Listener(Protocol):
    """Is told what happens while a grid is carried out, always in the process that called."""

    def started(self, cell: Cell) -> None:
        """A worker took the cell."""

    def progressed(self, cell: Cell, text: str) -> None:
        """What the cell is doing, in a few words."""

    def said(self, cell: Cell, message: str) -> None:
        """A message of the run."""

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """The cell ended, and what it leaves lies in its folder."""


class SilentListener:
    """A listener that drops everything; the base of those that hear of some things alone."""

    def started(self, cell: Cell) -> None:
        pass

    def progressed(self, cell: Cell, text: str) -> None:
        pass

    def said(self, cell: Cell, message: str) -> None:
        pass

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        pass


def outcome_of(record: Record) -> Outcome:
    """A record in short."""
    score = record.metrics[PRIMARY].mean if PRIMARY in record.metrics else None
    return Outcome(record.status, record.reason, round(sum(record.seconds.values()), 3), score)


def record_of(out: Path, cell: Cell) -> Record | None:
    """What a cell left behind, None where it has not ended; a damaged record counts as none."""
    path = out / cell.folder / RECORD
    try:
        return read_record(path) if path.is_file() else None
    except DataError:
        return None


def finished(out: Path, cell: Cell) -> Outcome | None:
    """How a cell ended in an earlier session, None where it has to be run (again)."""
    record = record_of(out, cell)
    ended = record is not None and record.status != "failed" and not is_damaged(out / cell.folder)
    return outcome_of(record) if record is not None and ended else None


def heaviest_first(cells: Sequence[Cell]) -> list[Cell]:
    """The order in which cells begin: a long one that began last would leave the other workers idle.

    Cells of one task stay together, because the task is built once for them.
    """
    heaviest: dict[TaskSettings, float] = {}
    for cell in cells:
        heaviest[cell.task] = max(cell.weight, heaviest.get(cell.task, 0.0))
    places = {task: place for place, task in enumerate(sorted(heaviest, key=lambda task: -heaviest[task]))}
    return sorted(cells, key=lambda cell: (places[cell.task], -cell.weight))


class Failures:
    """Reasons of cells that ended without a record, kept in one file beside them.

    Args:
        out: folder of the grid.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FAILURES
        try:
            said = read_json(self._path)
        except (OSError, ValueError):
            said = {}
        self.reasons: dict[str, str] = said if isinstance(said, dict) else {}

    def note(self, cell: Cell, reason: str | None) -> None:
        """Keep the reason of a cell, or forget it with None."""
        if self.reasons.get(cell.folder) == reason:
            return
        self.reasons.pop(cell.folder, None)
        if reason is not None:
            self.reasons[cell.folder] = reason
        write_text(self._path, json.dumps(self.reasons, indent=1, sort_keys=True) + "\n")


def named(folders: Sequence[str]) -> str:
    """Up to six cells by name, and how many there are."""
    if len(folders) <= _MOST_NAMED:
        return ", ".join(folders)
    return f"{', '.join(folders[:_MOST_NAMED])} ... {len(folders)} cells"
