"""`stbench leaderboard`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import BOARDS, Request, default_cache

if TYPE_CHECKING:
    from stbench.evaluation.record import Record


@asks(Request, only=("secret", "data_root"))
def leaderboard(
    request: Request,
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or boards, record.json or *.records.jsonl.xz.")],
    out: Annotated[Path, typer.Option(help="Folder for a page and its archive of records per task.")] = BOARDS,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Column, in order; repeatable. Default: the usual. METRIC-draw-sd: its deviation over draws."
        ),
    ] = None,
    with_csv: Annotated[bool, typer.Option("--csv", help="Write every number behind the page as CSV too.")] = False,
    rescore: Annotated[
        bool,
        typer.Option(
            "--rescore", help="Score stored predictions again first, truth from --data-root; records stay as they are."
        ),
    ] = False,
    publish_secret: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Close the board: print its secret seed, and keep it in published-seeds.txt in --out."
        ),
    ] = None,
) -> None:
    """Write and print leaderboards: a pure function of the records."""
    from stbench.catalogue import find_metric
    from stbench.cli.console import draw, say
    from stbench.evaluation.public import marked, publish, read_published
    from stbench.pages.columns import DRAW_SD
    from stbench.pages.leaderboard import columns_of, table_of, write_leaderboards
    from stbench.pages.protocol import boards_of
    from stbench.pages.sections import sections

    for name in metric or []:
        find_metric(name.removesuffix(DRAW_SD))
    chosen = [word for name in metric or [] for word in ("--metric", name)]
    again = ["--rescore"] if rescore else []
    command = shlex.join(["stbench", "leaderboard", *map(str, runs), *chosen, *again, "--out", str(out)])
    records = _records(runs, request, rescore=rescore)
    published = publish(publish_secret, out, records) if publish_secret else read_published(out)
    boards = boards_of(sections(marked(records, published)))
    shown = [(board.name, table_of(board, columns_of(board, metric))) for board in boards]
    written = write_leaderboards(boards, out, metrics=metric, command=command, with_csv=with_csv)
    for name, table in shown:
        say(name)
        draw(table.without("#"))
        say("")
    for path in written:
        say(str(path))


def _records(runs: Sequence[Path], request: Request, *, rescore: bool) -> list[Record]:
    from stbench.cli.console import ConsoleReporter
    from stbench.evaluation.rescore import Truths, rescored
    from stbench.pages.archive import read_records

    if not rescore:
        return list(read_records(runs))
    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret)
    return [run.after for run in rescored(runs, truths, reporter)]
