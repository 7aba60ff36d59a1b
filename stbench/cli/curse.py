"""`stbench curse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.datasets import DataRoot, Simulate
from stbench.studies.curse.settings import PANEL_SIZES, CurseSettings, parse_sizes

_SIZES = ",".join(map(str, PANEL_SIZES))

Dataset = Annotated[
    str | None, typer.Option(help="Registered name or a folder, for its counts alone; default: simulated genes only.")
]
Genes = Annotated[
    str | None,
    typer.Option(metavar="G,G,...", help=f"Panel sizes, three or more; default: those of {_SIZES} that fit."),
]
Spots = Annotated[int, typer.Option(help="Spots of a window, 3 to 40.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Repeats = Annotated[int, typer.Option(help="Independent repetitions; intervals come from them.")]
Out = Annotated[Path, typer.Option(help="Folder for a page, a figure (PNG, SVG) and the numbers (JSON).")]


def curse(
    dataset: Dataset = None,
    genes: Genes = None,
    spots: Spots = CurseSettings.spots,
    seed: Seed = CurseSettings.seed,
    repeats: Repeats = CurseSettings.repeats,
    simulate: Simulate = None,
    data_root: DataRoot = None,
    out: Out = Path("runs/curse"),
) -> None:
    """How correlations of spots, and the sharpness of their score, scale with the number of genes."""
    settings = CurseSettings(
        genes=parse_sizes(genes),
        spots=spots,
        seed=seed,
        repeats=repeats,
        dataset=dataset,
        simulate=tuple(simulate or ()),
        data_root=data_root,
    )
    from stbench.cli.console import ConsoleReporter, draw, say
    from stbench.studies.curse.page import cohort_fits, gaussian_fits, slopes
    from stbench.studies.curse.study import measure, write
    from stbench.studies.curse.wording import mark

    study = measure(settings, ConsoleReporter())
    say("simulated Gaussian genes")
    draw(slopes(gaussian_fits(study.gaussian)), names=())
    if study.cohort is not None:
        say(f"\n{study.cohort.card.name}: {mark(study.cohort.card)}")
        draw(slopes(cohort_fits(study.cohort)), names=())
    say("")
    for path in write(study, out):
        say(str(path))
