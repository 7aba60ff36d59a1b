"""`stbench ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.console import ConsoleReporter, draw, say, say_aligned
from stbench.cli.datasets import DataRoot, Simulate
from stbench.cli.run import (
    Dataset,
    Device,
    Draws,
    DryRun,
    Encoder,
    Genes,
    Normalize,
    Patch,
    Set,
    SplitBy,
    SplitSeed,
    Weights,
)
from stbench.cli.sweep import Jobs, Out, Preset, carry_out, check_jobs, say_troubles, work_lines
from stbench.evaluation.choices import Choices, default_cache
from stbench.studies.ablation.choices import GENES, SEEDS, AblationChoices, parse_tables, parse_vectors
from stbench.studies.sweep.choices import PRESET
from stbench.text import parse_numbers

if TYPE_CHECKING:
    from stbench.studies.ablation.results import Ablated

_SEEDS = ",".join(map(str, SEEDS))

Method = Annotated[str, typer.Option(help="Registered name or path/to/file.py:Class, whose card declares ablations.")]
Tables = Annotated[str, typer.Option(help="Tables of the card, with a comma between two; default: all.")]
Seeds = Annotated[str, typer.Option(help="Seeds of fitting and sampling, with a comma between two.")]
Prior = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        metavar="NAME=PATH",
        help="Vectors of a gene model for the rows that need them, as stbench prior writes them; repeatable.",
    ),
]


def ablate(
    method: Method,
    dataset: Dataset = Choices.dataset,
    genes: Genes = GENES,
    tables: Tables = "",
    seeds: Seeds = _SEEDS,
    jobs: Jobs = 1,
    prior: Prior = None,
    split: SplitBy = Choices.split,
    split_seed: SplitSeed = Choices.split_seed,
    draws: Draws = None,
    encoder: Encoder = None,
    weights: Weights = None,
    patch: Patch = None,
    normalize: Normalize = Choices.normalization,
    preset: Preset = PRESET,
    setting: Set = None,
    simulate: Simulate = None,
    data_root: DataRoot = None,
    out: Out = None,
    device: Device = Choices.device,
    dry_run: DryRun = False,
) -> None:
    """Run the variants of a method that its card declares, and print reported values beside measured ones.

    Every variant is a run with its record, whichever tables it is in. The same command continues an interrupted
    ablation and tries failed cells again; more tables, seeds and --prior may be added to a folder, other settings may
    not. Rows start from the preset and --set; for a prior in all of them: --set prior=file:PATH.
    """
    run = Choices(
        methods=(method,),
        dataset=dataset,
        genes=genes,
        split=split,
        split_seed=split_seed,
        draws=draws,
        encoder=encoder,
        weights=weights,
        patch=patch,
        normalization=normalize,
        preset=preset,
        overrides=tuple(setting or ()),
        simulate=tuple(simulate or ()),
        controls=False,
        data_root=data_root,
        device=device,
    )
    choices = AblationChoices(
        run=run,
        tables=parse_tables(tables),
        seeds=parse_numbers("--seeds", seeds, 0),
        vectors=parse_vectors(prior or ()),
    )
    _start(choices, out, jobs=check_jobs(jobs), dry_run=dry_run)


def _start(choices: AblationChoices, out: Path | None, *, jobs: int, dry_run: bool) -> None:
    from stbench.grids.board import Board
    from stbench.studies.ablation.plan import plan_ablation
    from stbench.studies.ablation.report import write_ablated, write_report
    from stbench.studies.ablation.results import read_ablation
    from stbench.studies.sweep.genes import choose_folder, open_work

    plan = plan_ablation(choices, default_cache(), ConsoleReporter())
    work = open_work(plan.grid, choose_folder(plan.grid, out))
    say_aligned([*plan.lines(), *work_lines(work, jobs)])
    if dry_run:
        return
    outcomes = carry_out(plan.grid, work, jobs, Board(work.cells, work.earlier, jobs), write_report)
    ablated = read_ablation(work.out)
    tables = {table.table for table in plan.manifest.tables}
    _show(ablated, tables)
    say_troubles(outcomes)
    for path in write_ablated(work.out, ablated):
        say(str(path))
    asked = [found for found in ablated.found if found.table.table in tables]
    complete = all(records for found in asked for records in found.records.values())
    raise typer.Exit(0 if complete and all(outcome.status == "done" for outcome in outcomes.values()) else 1)


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
