"""`stbench tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stbench.cli.asks import asks
from stbench.cli.console import ConsoleReporter, complain, draw, say, say_aligned
from stbench.cli.grids import Dask, DryRun, Jobs, Out, check_jobs
from stbench.errors import UserError
from stbench.evaluation.request import default_cache
from stbench.studies.tuning.request import TuneRequest

if TYPE_CHECKING:
    from stbench.studies.tuning.plan import TuningPlan

ASKED_NOT = ("controls", "tuned")


@asks(TuneRequest, without=ASKED_NOT)
def tune(request: TuneRequest, out: Out = None, jobs: Jobs = 1, dask: Dask = None, dry_run: DryRun = False) -> None:
    """Tune methods, the same trials for each, on inner folds of the slides that an outer fold trains on.

    No slide that an outer fold tests is read. Leaves settings.toml for every method in every outer fold, which
    stbench run --tuned takes. The same command continues; trials, minutes and methods may be added to a folder.
    """
    from stbench.evaluation.estimate import estimated
    from stbench.studies.tuning.plan import choose_study, plan_tuning
    from stbench.studies.tuning.report import write_study

    check_jobs(jobs)
    plan = choose_study(plan_tuning(request, Path(), default_cache(), ConsoleReporter()), out)
    say_aligned([*plan.lines(), ("out", str(plan.out))])
    if dry_run:
        say_aligned([("estimate", line) for line in estimated(plan.plan, plan.foreseen()).lines()])
        raise typer.Exit(0)
    failed = _carry_out(plan, jobs, dask)
    _show(plan.out)
    for path in write_study(plan.out):
        say(str(path))
    if failed:
        raise UserError(
            f"expected a trial that ends, found none for {'; '.join(failed)}; mend that, choose another --out"
        )


def _carry_out(plan: TuningPlan, jobs: int, dask: str | None) -> list[str]:
    from stbench.grids.cells import SilentListener
    from stbench.studies.tuning.report import write_study
    from stbench.studies.tuning.study import Hands, carry_out_study

    try:
        return carry_out_study(plan, Hands(jobs, SilentListener(), ConsoleReporter(), dask))
    except KeyboardInterrupt:
        complain(f"stbench: interrupted; the same command with --out {plan.out} continues")
        write_study(plan.out)
        raise typer.Exit(130) from None


def _show(out: Path) -> None:
    from stbench.studies.tuning.page import chosen
    from stbench.studies.tuning.results import read_study

    say("")
    draw(chosen(read_study(out)), names=(0, 1))
