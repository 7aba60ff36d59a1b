"""`stbench sweep-genes`."""

from __future__ import annotations

import typer

from stbench.cli.asks import asks
from stbench.cli.console import ConsoleReporter, say, say_table
from stbench.cli.grids import Dask, DryRun, Jobs, Out, Prepare, Yes, say_troubles, start
from stbench.evaluation.request import default_cache
from stbench.studies.sweep.request import SweepRequest


@asks(SweepRequest, without=("tuned",))
def sweep_genes(
    request: SweepRequest,
    out: Out = None,
    jobs: Jobs = 1,
    dask: Dask = None,
    prepare: Prepare = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Run methods on panels of growing size, and draw PCC, MSE, GSC and SSC against it.

    Every cell is a run with its record. The same command continues an interrupted sweep and tries failed cells again;
    more methods, panel sizes and seeds may be added to a folder, other settings may not.
    """
    from stbench.grids.plan import choose_folder
    from stbench.studies.sweep.grid import plan_sweep
    from stbench.studies.sweep.report import write_report

    sweep = plan_sweep(request, default_cache(), ConsoleReporter())
    carried = start(
        sweep, choose_folder(sweep, out), jobs=jobs, dask=dask, prepare=prepare, dry_run=dry_run, yes=yes,
        interrupted=write_report,
    )  # fmt: skip
    say("")
    say_table([f"PCC by {sweep.columns}", *carried.board.columns], carried.board.lines(), numbers=1)
    say("")
    say_troubles(carried.outcomes)
    for path in write_report(carried.work.out):
        say(str(path))
    raise typer.Exit(carried.code)
