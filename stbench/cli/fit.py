"""`stbench fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.fit_request import ASKED, FitRequest
from stbench.evaluation.request import RESULT, default_cache


@asks(FitRequest, only=ASKED)
def fit(
    request: FitRequest,
    out: Annotated[Path, typer.Option(rich_help_panel=RESULT, help="New or empty folder for the model.")],
) -> None:
    """Fit one method to all slides of a cohort, none of them kept for a test, and keep it as a model file."""
    from stbench.cli.console import ConsoleReporter, say, say_aligned
    from stbench.evaluation.fit import fit_model, plan_fit

    reporter = ConsoleReporter()
    planned = plan_fit(request, default_cache(), reporter)
    say_aligned([*planned.lines(), ("out", str(out))])
    facts = fit_model(planned, out, reporter)
    say(f"\n{facts.method} in {facts.seconds:.1f} s: {out}")
