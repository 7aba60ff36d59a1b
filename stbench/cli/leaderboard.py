"""`stbench leaderboard`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders that stbench run wrote, or record.json files.")],
    out: Annotated[Path, typer.Option(help="Folder for one markdown and one CSV file per task.")] = Path(
        "leaderboards"
    ),
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Column, in order; repeatable. Default: the usual. METRIC-draw-sd: its deviation over draws."
        ),
    ] = None,
) -> None:
    """Write leaderboards: a pure function of the records."""
    from stbench.catalogue import find_metric
    from stbench.cli.console import say
    from stbench.evaluation.record import find_records
    from stbench.pages.columns import DRAW_SD
    from stbench.pages.leaderboard import write_leaderboards

    for name in metric or []:
        find_metric(name.removesuffix(DRAW_SD))
    chosen = [word for name in metric or [] for word in ("--metric", name)]
    command = shlex.join(["stbench", "leaderboard", *map(str, runs), *chosen, "--out", str(out)])
    for path in write_leaderboards(find_records(runs), out, metrics=metric, command=command):
        say(str(path))
