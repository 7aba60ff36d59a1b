"""`stbench ablate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from stbench.cli.asks import asks
from stbench.cli.console import ConsoleReporter, draw, say
from stbench.cli.grids import Dask, DryRun, Jobs, Out, Prepare, Yes, say_troubles, start
from stbench.evaluation.request import default_cache
from stbench.studies.ablation.request import AblateRequest

if TYPE_CHECKING:
    from stbench.studies.ablation.results import Ablated


@asks(AblateRequest, without=("controls", "tuned"))
def ablate(
    request: AblateRequest,
    out: Out = None,
    jobs: Jobs = 1,
    dask: Dask = None,
    prepare: Prepare = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Run the variants of a method that are declared for it, and print reported values beside measured ones.

    Every variant is a run with its record, whichever tables it is in. The same command continues an interrupted
    ablation and tries failed cells again; more tables, seeds and --prior may be added to a folder, other settings may
    not. Rows start from the preset and --set; for a prior in all of them: --set prior=file:PATH.
    """
    from stbench.evaluation.rescore import Truths
    from stbench.grids.plan import choose_folder
    from stbench.studies.ablation.plan import plan_ablation
    from stbench.studies.ablation.report import write_ablated
    from stbench.studies.ablation.results import read_ablation

    plan = plan_ablation(request, default_cache(), ConsoleReporter())
    truths = Truths(request.data_root, default_cache(), secret=request.secret)
    carried = start(
        plan, choose_folder(plan, out), jobs=jobs, dask=dask, prepare=prepare, dry_run=dry_run, yes=yes,
        interrupted=lambda out: write_ablated(out, read_ablation(out, truths)),
    )  # fmt: skip
    folder = carried.work.out
    ablated = read_ablation(folder, truths)
    tables = {table.table for table in plan.tables}
    _show(ablated, tables)
    say_troubles(carried.outcomes)
    for path in write_ablated(folder, ablated):
        say(str(path))
    asked = [found for found in ablated.found if found.table.table in tables]
    complete = all(records for found in asked for records in found.records.values())
    raise typer.Exit(carried.code or (0 if complete else 1))


def _show(ablated: Ablated, asked: set[str]) -> None:
    """The tables asked for; single draws are on the page and in the CSV."""
    from stbench.pages.rows import DECLARED
    from stbench.studies.ablation.page import conditions_of, row_lines, signs, table_of

    for found in ablated.found:
        if found.table.table in asked:
            conditions = conditions_of(ablated, found)
            say(f"\nTable {found.table.table}: {found.table.title}")
            say(f"{conditions.warning} {conditions.text}".strip())
            draw(table_of(found, [DECLARED]))
            for line in [*row_lines(found), *signs(found)]:
                say(f"- {line}")
    say(
        "\nmeasured: mean ± SD over slides, ±s over seeds. ± seeds, ± slides: half the 95 % t interval of the "
        "difference; * leaves out 0 over seeds. Single draws are on the page.\n"
    )
