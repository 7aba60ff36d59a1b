"""`stbench rescore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import Request, default_cache


@asks(Request, only=("secret", "data_root", "gene_sets"))
def rescore(
    request: Request,
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders above them.")],
) -> None:
    """Score stored predictions again with today's metrics, and replace the scores in the records.

    Gene sets are those given here, else those that each run was given.
    """
    from stbench.cli.console import ConsoleReporter, say
    from stbench.evaluation.record import write_record
    from stbench.evaluation.rescore import Truths, rescored

    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret)
    for run in rescored(runs, truths, reporter, request.gene_sets):
        if run.after.status == "done":
            write_record(run.after, run.folder)
            say(f"{run.folder}: {run.moved}")
