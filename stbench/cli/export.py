"""`stbench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import Request, default_cache


@asks(Request, only=("secret", "data_root"))
def export(
    request: Request,
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder.")],
    with_truth: Annotated[
        bool, typer.Option("--with-truth", help="Truth and total counts of test slides, and pictures, from the cohort.")
    ] = False,
) -> None:
    """Write the predictions of a run as one .h5ad per slide, for scanpy and squidpy."""
    from stbench.cli.console import ConsoleReporter, say
    from stbench.evaluation.export import export_run
    from stbench.evaluation.rescore import Truths
    from stbench.text import count

    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret) if with_truth else None
    slides = export_run(run, out, truths, reporter)
    say(f"{count(len(slides), 'slide')} in {out}")
