"""`stbench leaderboard`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or boards, record.json or *.records.jsonl.xz.")],
    out: Annotated[Path, typer.Option(help="Folder for a page and its archive of records per task.")] = Path(
        "leaderboards"
    ),
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Column, in order; repeatable. Default: the usual. METRIC-draw-sd: its deviation over draws."
        ),
    ] = None,
    with_csv: Annotated[bool, typer.Option("--csv", help="Write every number behind the page as CSV too.")] = False,
) -> None:
    """Write and print leaderboards: a pure function of the records."""
    from stbench.catalogue import find_metric
    from stbench.cli.console import draw, say
    from stbench.pages.archive import read_records
    from stbench.pages.columns import DRAW_SD
    from stbench.pages.leaderboard import columns_of, sections, table_of, write_leaderboards

    for name in metric or []:
        find_metric(name.removesuffix(DRAW_SD))
    chosen = [word for name in metric or [] for word in ("--metric", name)]
    command = shlex.join(["stbench", "leaderboard", *map(str, runs), *chosen, "--out", str(out)])
    found = sections(list(read_records(runs)))
    shown = [(section.name, table_of(section, columns_of(section, metric))) for section in found]
    written = write_leaderboards(found, out, metrics=metric, command=command, with_csv=with_csv)
    for name, table in shown:
        say(name)
        draw(table.without("#"))
        say("")
    for path in written:
        say(str(path))
