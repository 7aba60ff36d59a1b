"""`stbench run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.console import ConsoleReporter, complain, draw, say, say_aligned
from stbench.cli.datasets import DataRoot, Simulate
from stbench.evaluation.choices import Choices, default_cache

if TYPE_CHECKING:
    from stbench.evaluation.record import Record

Methods = Annotated[list[str], typer.Option("--method", help="Registered name or path/to/file.py:Class; repeatable.")]
Dataset = Annotated[str, typer.Option(help="Registered name, or a folder in a known layout.")]
Genes = Annotated[int, typer.Option(help="Size of the panel.")]
SplitBy = Annotated[
    str, typer.Option(help="slide (7:2:1), patient (7:2:1 of patients), kfold-K-I, lopo-PATIENT, or a JSON file.")
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split; another one is another task.")]
Seed = Annotated[int, typer.Option(help="Seed of fitting and sampling.")]
Draws = Annotated[int | None, typer.Option(help="Samples per slide of generative methods; default: the card's.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="handcrafted-v1, mean-rgb, uni ... (stbench encode --list), timm:<architecture>, precomputed; "
        "default: the cohort's."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Local weight file, or its folder, of a network encoder; folder of precomputed features."),
]
Patch = Annotated[str | None, typer.Option(help="Side of a patch, e.g. 224px or 112um; default: the cohort's.")]
Normalize = Annotated[str, typer.Option(help="log1p, log2p1 or cp10k-log1p.")]
Preset = Annotated[str, typer.Option(help="paper, official, small ...; methods without it take their defaults.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="[METHOD.]KEY=VALUE", help="Setting of the methods that have it; repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="Folder; default: runs/<dataset>-g<genes>-<time>.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what lies in --out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the settings, stop.")]
Controls = Annotated[bool, typer.Option(help="Run the usual controls too, and the ceilings of a generated cohort.")]


def run(
    method: Methods,
    dataset: Dataset = Choices.dataset,
    genes: Genes = Choices.genes,
    split: SplitBy = Choices.split,
    split_seed: SplitSeed = Choices.split_seed,
    seed: Seed = Choices.seed,
    draws: Draws = None,
    encoder: Encoder = None,
    weights: Weights = None,
    patch: Patch = None,
    normalize: Normalize = Choices.normalization,
    preset: Preset = Choices.preset,
    setting: Set = None,
    simulate: Simulate = None,
    controls: Controls = True,
    data_root: DataRoot = None,
    out: Out = None,
    device: Device = Choices.device,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Fit, predict, score and record methods and the usual controls on one task."""
    choices = Choices(
        methods=tuple(method),
        dataset=dataset,
        genes=genes,
        split=split,
        split_seed=split_seed,
        seed=seed,
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
    _start(choices, out, resume=resume, dry_run=dry_run)


def _start(choices: Choices, out: Path | None, *, resume: bool, dry_run: bool) -> None:
    from stbench.evaluation.session import carry_out, check_out, choose_out, plan

    reporter, cache = ConsoleReporter(), default_cache()
    session = plan(choices, cache, reporter)
    folder = choose_out(session, out, resume=resume)
    check_out(session, folder, resume=resume)
    say_aligned([*session.lines(), ("out", str(folder))])
    if dry_run:
        return
    records = []
    with _interruptible(folder):
        for record in carry_out(session, folder, resume=resume, cache_dir=cache, reporter=reporter):
            reporter.info(_status(record))
            records.append(record)
    say("")
    _show_scores(records)
    say(f"\nrecords: {folder}")
    asked = {planned.card.name for planned in session.runs if planned.requested}
    raise typer.Exit(0 if all(record.status == "done" for record in records if record.method in asked) else 1)


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        complain(f"stbench: interrupted; the same command with --out {folder} --resume continues")
        raise typer.Exit(130) from None


def _status(record: Record) -> str:
    if record.status != "done":
        return f"{record.method}: {record.status}: {record.reason}"
    return f"{record.method}: done, {sum(record.seconds.values()):.1f} s"


def _show_scores(records: Sequence[Record]) -> None:
    from stbench.pages.leaderboard import columns_of, sections, table_of

    for section in sections(records):
        say(section.name)
        draw(table_of(section, columns_of(section, place="run")).without("#"))
    for record in records:
        if record.status != "done":
            say(f"{record.method}: {record.status}: {record.reason}")
