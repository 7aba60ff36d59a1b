"""What every command that carries out a grid does: plan, show, run under a live table, say what failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.console import complain, say, say_aligned
from stbench.errors import SettingError
from stbench.evaluation.request import RESULT
from stbench.process import loading

if TYPE_CHECKING:
    from stbench.evaluation.request import Request
    from stbench.grids.board import Board
    from stbench.grids.cells import Outcome
    from stbench.grids.plan import GridPlan, Work


def _folder(text: str) -> Path:
    if not text.strip():
        raise SettingError("--out: expected a folder, found an empty name; leave it out or name one")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option(
        parser=_folder,
        metavar="PATH",
        rich_help_panel=RESULT,
        help="Folder; the same command continues what lies in it. Default: runs/ and a name of the settings.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(rich_help_panel=RESULT, help="Worker processes; they share cores and device, and one may die alone."),
]
Dask = Annotated[
    str | None,
    typer.Option(rich_help_panel=RESULT, help="Address of a Dask scheduler whose workers carry out the cells."),
]
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare", rich_help_panel=RESULT, help="Write the folder's settings, list its cells, run none: stbench cell."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=RESULT, help="Check and estimate everything, print it, stop.")
]
Yes = Annotated[bool, typer.Option("--yes", rich_help_panel=RESULT, help="Begin without being asked, however long.")]
Resume = Annotated[
    bool, typer.Option("--resume", rich_help_panel=RESULT, help="Changes nothing: the same command always continues.")
]
_ASK_ABOVE_S = 3600


class Carried:
    """A grid that was carried out.

    Args:
        work: its folder and cells.
        board: the table as it stands.
        outcomes: folder of every cell asked for to its outcome.
    """

    def __init__(self, work: Work, board: Board, outcomes: Mapping[str, Outcome]) -> None:
        self.work, self.board, self.outcomes = work, board, outcomes

    @property
    def code(self) -> int:
        """0 when everything the user named is done, 2 where none of it could even begin, else 1."""
        asked = [self.outcomes[cell.folder] for cell in self.work.cells if cell.asked]
        if all(outcome.status == "done" for outcome in asked):
            return 0
        return 2 if all(outcome.misused for outcome in asked) else 1


def start(
    grid: GridPlan,
    out: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    prepare: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    interrupted: Callable[[Path], object] = lambda out: None,
    place: Path | None = None,
) -> Carried:
    """Show what is asked for, and carry it out; ends the command where nothing is to be run.

    Args:
        grid: the grid.
        out: its folder.
        jobs: worker processes.
        dask: address of a scheduler, None for workers of this machine.
        prepare: write the settings and list the cells alone.
        dry_run: check and estimate alone.
        yes: whether a long estimate is accepted.
        interrupted: is called before an interrupted command ends.
        place: what the command calls its ``--out``, where that is not the grid's own folder.
    """
    from stbench.evaluation.estimate import estimated
    from stbench.grids.board import Board
    from stbench.grids.plan import open_work

    check_jobs(jobs)
    work = open_work(grid, out)
    if dry_run and not prepare:
        raise typer.Exit(foresee(grid, work, jobs))
    width = _say_plan(grid, work, jobs)
    if prepare:
        _prepare(work, grid.plan.request)
    if work.waiting and grid.plan.device == "cpu" and sys.stdin.isatty() and not yes:
        estimates = estimated(grid.plan, work.waiting)
        say_aligned([("estimate", line) for line in estimates.lines()], width)
        if estimates.seconds / jobs > _ASK_ABOVE_S:
            typer.confirm("That is long. Begin?", abort=True)
    board = Board(work.cells, work.earlier, jobs)
    return Carried(work, board, _carry_out(grid, work, jobs, dask, board, interrupted, place or work.out))


def foresee(grid: GridPlan, work: Work, jobs: int) -> int:
    """Say what a grid would do, what would fail and what it would take; the exit code."""
    from stbench.cli.console import ConsoleReporter
    from stbench.evaluation.estimate import estimated, foreseen

    width = _say_plan(grid, work, jobs)
    problems = foreseen(grid.plan, ConsoleReporter())
    say_aligned([("would fail", problem) for problem in problems], width)
    say_aligned([("estimate", line) for line in estimated(grid.plan, work.waiting).lines()], width)
    return 2 if problems else 0


def _say_plan(grid: GridPlan, work: Work, jobs: int) -> int:
    """Say the resolved settings and what is left to do; the width of the names."""
    return say_aligned([*grid.lines(), *_work_lines(work, jobs)])


def check_jobs(jobs: int) -> None:
    """Raise SettingError below one worker."""
    if jobs < 1:
        raise SettingError(f"--jobs: expected at least 1 worker, found {jobs}")


def _work_lines(work: Work, jobs: int) -> list[tuple[str, str]]:
    """How many cells there are, and where."""
    state = f"{len(work.cells)} in all, {len(work.earlier)} finished, {len(work.waiting)} to run, {jobs} at a time"
    return [("cells", state), ("out", str(work.out)), *([("note", work.note)] if work.note else [])]


def _prepare(work: Work, asked: Request) -> None:
    """Write what the folder is asked to hold, and list all its cells as ``stbench cell`` names them."""
    from stbench.evaluation.request import default_cache
    from stbench.grids.lock import only_one
    from stbench.grids.manifest import join, write_manifest
    from stbench.studies.folders import work_in

    with only_one(work.out):
        write_manifest(work.out, join(work.out, work.manifest))
    _, whole = work_in(work.out, default_cache(), asked)
    say("")
    for number, cell in enumerate(whole.cells, start=1):
        say(f"{number}\t{cell.folder}\t{'finished' if cell in whole.earlier else 'waits'}")
    raise typer.Exit(0)


def _carry_out(
    grid: GridPlan, work: Work, jobs: int, dask: str | None, board: Board, interrupted: Callable[[Path], object],
    place: Path,
) -> Mapping[str, Outcome]:  # fmt: skip
    from stbench.cli.board import BoardView
    from stbench.grids.crew import call_early
    from stbench.grids.plan import carry_out
    from stbench.grids.remote import carry_out_on_dask

    if work.waiting:
        if dask is None:
            call_early()  # before this process loads what it reads slides with
        with loading():
            import anndata  # noqa: F401

    view = BoardView(board, grid.columns)
    try:
        with view.shown():
            if dask is not None:
                return carry_out_on_dask(grid, work, dask, view)
            return carry_out(grid, work, jobs, view)
    except KeyboardInterrupt:
        complain(f"stbench: interrupted; the same command with --out {place} continues")
        interrupted(work.out)
        raise typer.Exit(130) from None


def say_troubles(outcomes: Mapping[str, Outcome]) -> None:
    """Cells that were refused or failed, those with one reason on one line."""
    from stbench.grids.cells import named

    troubles: dict[str, list[str]] = {}
    for folder, outcome in outcomes.items():
        if outcome.status != "done":
            troubles.setdefault(f"{outcome.status}: {outcome.reason}", []).append(folder)
    for reason, folders in troubles.items():
        say(f"{named(folders)}: {reason}")
