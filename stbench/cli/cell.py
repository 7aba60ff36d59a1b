"""`stbench cell`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.asks import asks
from stbench.cli.console import complain, say
from stbench.evaluation.request import Request, default_cache

if TYPE_CHECKING:
    from stbench.grids.cells import Cell, Outcome

REFUSED = 3
_CODES = {"done": 0, "failed": 1, "refused": REFUSED}


class _Lines:
    """Messages of the one cell on stderr."""

    def started(self, cell: Cell) -> None:
        pass

    def progressed(self, cell: Cell, text: str) -> None:
        pass

    def said(self, cell: Cell, message: str) -> None:
        complain(f"{cell.folder}: {message}")

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        pass


@asks(Request, only=("secret", "data_root", "device"))
def cell(
    request: Request,
    folder: Annotated[Path, typer.Argument(help="Folder that --prepare, or a command that ran, has written.")],
    name: Annotated[str, typer.Argument(metavar="CELL", help="Number or name of the cell, as --prepare lists them.")],
) -> None:
    """Carry out one cell of a grid: for SLURM arrays, Snakemake and Nextflow.

    Any number of cells of one folder may run at once. A cell that is done is not done again. Exit code: 0 done,
    1 failed, 2 the user can mend it, 3 the method refuses the task.
    """
    from stbench.grids.remote import carry_out_cell, end_with_parent, find_cell
    from stbench.studies.folders import work_in

    end_with_parent()
    grid, work = work_in(folder, default_cache(), request)
    chosen = find_cell(work, name)
    outcome = carry_out_cell(grid, work, chosen, _Lines())
    if outcome.status != "done":
        complain(f"{chosen.folder}: {outcome.status}: {outcome.reason}")
        raise typer.Exit(2 if outcome.misused else _CODES[outcome.status])
    say(f"{chosen.folder}: done" + ("" if outcome.score is None else f", pcc {outcome.score:.3f}"))
