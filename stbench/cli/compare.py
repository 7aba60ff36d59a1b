"""`stbench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or boards, record.json or *.records.jsonl.xz.")],
    to: Annotated[str | None, typer.Option(help="Row to compare with; default: the best control.")] = None,
    metric: Annotated[str, typer.Option(help="What is compared.")] = "pcc",
    difference: Annotated[
        float | None, typer.Option(min=1e-6, help="A difference of interest: how many patients would show it?")
    ] = None,
) -> None:
    """Differences between rows, paired by patient, with their interval and what the data could have shown."""
    from stbench.catalogue import find_metric
    from stbench.cli.console import draw, say
    from stbench.pages.archive import read_records
    from stbench.pages.differences import differences_table
    from stbench.pages.protocol import boards_of
    from stbench.pages.sections import sections
    from stbench.pages.wording import why_not

    find_metric(metric)
    for board in boards_of(sections(list(read_records(runs)))):
        say(board.name)
        draw(differences_table(board, metric, to, difference))
        if not board.has_intervals:
            say(f"no intervals: {why_not(board)}")
        say("")
