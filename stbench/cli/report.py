"""`stbench report`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import BOARDS, Request, default_cache


@asks(Request, only=("secret", "data_root"))
def report(
    request: Request,
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or boards, record.json or *.records.jsonl.xz.")],
    gene: Annotated[
        list[str] | None,
        typer.Option(help="Gene that must be among the maps, repeatable. Default: from best to worst."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The page; of several boards an index, with a page for each beside it.")
    ] = Path("report.html"),
) -> None:
    """Write one page to look at: who is best, maps, genes, networks, trainings, cost, data, commands."""
    from stbench.cli.console import ConsoleReporter, say
    from stbench.evaluation.public import read_published
    from stbench.evaluation.rescore import Truths
    from stbench.pages.report.write import write_report

    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret)
    chosen = [word for name in gene or [] for word in ("--gene", name)]
    command = shlex.join(["stbench", "report", *map(str, runs), *chosen, "--out", str(out)])
    published = {**read_published(BOARDS), **read_published(out.parent)}
    for place in runs:
        published |= read_published(place)
    written = write_report(runs, out, truths, published=published, genes=gene or (), command=command, reporter=reporter)
    for path in written:
        say(str(path))
