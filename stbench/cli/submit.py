"""`stbench submit`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def submit(
    run: Annotated[Path, typer.Argument(help="Folder of a run, of one cell or of many.")],
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the predictions, such as CC-BY-4.0 or CC0-1.0.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="New or empty folder; default: RUN-submission beside RUN.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method to hand in; repeatable. Default: those that the run was asked for."),
    ] = None,
    contact: Annotated[str, typer.Option(metavar="TEXT", help="Whom to ask about it; may be left out.")] = "",
) -> None:
    """Write a folder of records and predictions that whoever keeps a board can score again."""
    from stbench.cli.console import say
    from stbench.evaluation.submit import beside, submit
    from stbench.text import count

    target = out or beside(run)
    made = submit(run, target, licence=licence, contact=contact, methods=method or ())
    say(f"{target}: {count(len(made.cells), 'run')}, {made.size / 1e6:.1f} MB, licence {made.licence}")
    say(f"check it as others will: {shlex.join(['stbench', 'leaderboard', '--check', str(target)])}; then send it")
