"""`stbench sweep-genes`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.console import ConsoleReporter, complain, say, say_aligned, say_table
from stbench.cli.datasets import DataRoot, Simulate
from stbench.cli.run import (
    Controls,
    Dataset,
    Device,
    Draws,
    DryRun,
    Encoder,
    Normalize,
    Patch,
    Set,
    SplitBy,
    SplitSeed,
    Weights,
)
from stbench.errors import SettingError
from stbench.evaluation.choices import Choices, default_cache
from stbench.studies.sweep.choices import GENES, METHODS, PRESET, SEEDS, SweepChoices, parse_variant
from stbench.text import parse_names, parse_numbers

if TYPE_CHECKING:
    from stbench.grids.board import Board
    from stbench.grids.grid import Outcome
    from stbench.studies.sweep.genes import SweepPlan, Work


_METHODS, _GENES, _SEEDS = (",".join(map(str, values)) for values in (METHODS, GENES, SEEDS))

Methods = Annotated[str, typer.Option(help="Registered names or path/to/file.py:Class, with a comma between two.")]
VariantOf = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="NAME=METHOD,KEY=VALUE,...",
        help="A curve NAME of its own: METHOD with these settings over those of --set; repeatable.",
    ),
]
Genes = Annotated[str, typer.Option(help="Panel sizes, with a comma between two.")]
Seeds = Annotated[str, typer.Option(help="Seeds of fitting and sampling; controls run with the smallest alone.")]
Preset = Annotated[
    str, typer.Option(help="small (two CPU cores, minutes per cell), paper, official ...; without it: its defaults.")
]
Jobs = Annotated[int, typer.Option(help="Worker processes; they share cores and device, and one may die alone.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder; the same command continues what lies in it. Default: runs/ and a name of the settings."),
]


def sweep_genes(
    methods: Methods = _METHODS,
    variant: VariantOf = None,
    dataset: Dataset = Choices.dataset,
    genes: Genes = _GENES,
    seeds: Seeds = _SEEDS,
    jobs: Jobs = 1,
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
    controls: Controls = True,
    data_root: DataRoot = None,
    out: Out = None,
    device: Device = Choices.device,
    dry_run: DryRun = False,
) -> None:
    """Run methods on panels of growing size, and draw PCC, MSE, GSC and SSC against it.

    Every cell is a run with its record. The same command continues an interrupted sweep and tries failed cells again;
    more methods, panel sizes and seeds may be added to a folder, other settings may not.
    """
    run = Choices(
        methods=(),
        dataset=dataset,
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
        controls=controls,
        data_root=data_root,
        device=device,
    )
    choices = SweepChoices(
        methods=parse_names(methods, "--methods"),
        variants=tuple(parse_variant(text) for text in variant or ()),
        genes=parse_numbers("--genes", genes, 2, " (a correlation needs two genes)"),
        seeds=parse_numbers("--seeds", seeds, 0),
        run=run,
    )
    _start(choices, out, jobs=check_jobs(jobs), dry_run=dry_run)


def _start(choices: SweepChoices, out: Path | None, *, jobs: int, dry_run: bool) -> None:
    from stbench.grids.board import Board
    from stbench.studies.sweep.genes import choose_folder, open_work, plan_sweep
    from stbench.studies.sweep.report import write_report

    sweep = plan_sweep(choices, default_cache(), ConsoleReporter())
    work = open_work(sweep, choose_folder(sweep, out))
    say_aligned([*sweep.lines(), *work_lines(work, jobs)])
    if dry_run:
        return
    board = Board(work.cells, work.earlier, jobs)
    outcomes = carry_out(sweep, work, jobs, board, write_report)
    say("")
    say_table([f"PCC by {sweep.columns}", *board.columns], board.lines(), numbers=1)
    say("")
    say_troubles(outcomes)
    for path in write_report(work.out):
        say(str(path))
    asked = {cell.folder for cell in work.cells if cell.asked}
    raise typer.Exit(0 if all(outcomes[folder].status == "done" for folder in asked) else 1)


def work_lines(work: Work, jobs: int) -> list[tuple[str, str]]:
    """How many cells there are, and where."""
    state = f"{len(work.cells)} in all, {len(work.earlier)} finished, {len(work.waiting)} to run, {jobs} at a time"
    return [("cells", state), ("out", str(work.out))]


def check_jobs(jobs: int) -> int:
    """Raise SettingError below one worker."""
    if jobs < 1:
        raise SettingError(f"--jobs: expected at least 1 worker, found {jobs}")
    return jobs


def carry_out(
    sweep: SweepPlan, work: Work, jobs: int, board: Board, report: Callable[[Path], object]
) -> dict[str, Outcome]:
    """Run what is left to do under a live table; an interruption still writes the report."""
    from stbench.cli.board import BoardView
    from stbench.studies.sweep.genes import carry_out_sweep

    view = BoardView(board, sweep.columns)
    try:
        with view.shown():
            return carry_out_sweep(sweep, work, jobs, view)
    except KeyboardInterrupt:
        complain(f"stbench: interrupted; the same command with --out {work.out} continues")
        report(work.out)
        raise typer.Exit(130) from None


def say_troubles(outcomes: dict[str, Outcome]) -> None:
    """Cells that were refused or failed, those with one reason on one line."""
    from stbench.grids.grid import named

    troubles: dict[str, list[str]] = {}
    for folder, outcome in outcomes.items():
        if outcome.status != "done":
            troubles.setdefault(f"{outcome.status}: {outcome.reason}", []).append(folder)
    for reason, folders in troubles.items():
        say(f"{named(folders)}: {reason}")
