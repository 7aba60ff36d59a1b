"""`stbench run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from stbench.cli.asks import asks
from stbench.cli.console import ConsoleReporter, draw, say
from stbench.cli.grids import Dask, DryRun, Jobs, Out, Prepare, Resume, Yes, say_troubles, start
from stbench.evaluation.request import BOARDS, Request, default_cache
from stbench.process import loading

if TYPE_CHECKING:
    from stbench.evaluation.record import Record


@asks(Request)
def run(
    request: Request,
    out: Out = None,
    jobs: Jobs = 1,
    dask: Dask = None,
    prepare: Prepare = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    resume: Resume = False,
) -> None:
    """Fit, predict, score and record methods and the usual controls.

    Every method, seed, fold and scale is a cell with its record. The same command continues an interrupted run and
    tries failed cells again; more methods and seeds may be added to a folder, other settings may not.
    """
    with loading():
        from stbench.evaluation.plan import plan
        from stbench.grids.cells import record_of
        from stbench.grids.plan import choose_folder, run_grid

    grid = run_grid(plan(request, default_cache(), ConsoleReporter()))
    carried = start(grid, choose_folder(grid, out), jobs=jobs, dask=dask, prepare=prepare, dry_run=dry_run, yes=yes)
    work = carried.work
    say("")
    _show_scores([record for cell in work.cells if (record := record_of(work.out, cell)) is not None])
    say_troubles(carried.outcomes)
    say(f"\nrecords: {work.out}")
    raise typer.Exit(carried.code)


def _show_scores(records: Sequence[Record]) -> None:
    """One table per board: folds that meet and scales of one fold have one together."""
    from stbench.evaluation.public import marked, read_published
    from stbench.pages.leaderboard import columns_of, table_of
    from stbench.pages.protocol import boards_of
    from stbench.pages.sections import sections
    from stbench.pages.wording import verdict

    for board in boards_of(sections(marked(records, read_published(BOARDS)))):
        say(f"{board.name}\n{verdict(board)}")
        draw(table_of(board, columns_of(board, place="run")).without("#"))
