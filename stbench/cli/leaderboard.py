"""`stbench leaderboard`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
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
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs or boards, record.json or *.records.jsonl.xz.")
    ] = None,
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
    check: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="What stbench submit wrote: scored again, truth from --data-root, and refused if a score differs; "
            "its rows join the others, marked re-scored. Repeatable.",
        ),
    ] = None,
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
    from stbench.errors import UserError
    from stbench.evaluation.public import marked, publish, read_published
    from stbench.pages.columns import DRAW_SD
    from stbench.pages.leaderboard import columns_of, table_of, write_leaderboards
    from stbench.pages.protocol import boards_of
    from stbench.pages.sections import sections

    if not runs and not check:
        raise UserError("expected RUNS or --check FOLDER, found neither; give the folders that stbench run wrote")
    for name in metric or []:
        find_metric(name.removesuffix(DRAW_SD))
    chosen = [word for name in metric or [] for word in ("--metric", name)]
    again = [*(["--rescore"] if rescore else []), *(word for one in check or [] for word in ("--check", str(one)))]
    command = shlex.join(["stbench", "leaderboard", *map(str, runs or []), *chosen, *again, "--out", str(out)])
    records = [*_checked(check or [], request), *_records(runs or [], request, rescore=rescore)]
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


def _checked(folders: Sequence[Path], request: Request) -> Iterator[Record]:
    """Every run of what was handed in; one that is not as it claims ends the command."""
    from stbench.cli.console import ConsoleReporter, say
    from stbench.evaluation.checked import checked

    for folder in folders:
        sent, runs = checked(folder, request.data_root, default_cache(), ConsoleReporter(), request.secret)
        for run in runs:
            say(str(run))
        say(f"{folder}: re-scored; licence {sent.licence}{f', contact {sent.contact}' if sent.contact else ''}\n")
        yield from (run.record for run in runs)


def _records(runs: Sequence[Path], request: Request, *, rescore: bool) -> list[Record]:
    from stbench.cli.console import ConsoleReporter
    from stbench.evaluation.rescore import Truths, rescored
    from stbench.pages.archive import read_records

    if not rescore:
        return list(read_records(runs))
    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret)
    return [run.after for run in rescored(runs, truths, reporter)]
