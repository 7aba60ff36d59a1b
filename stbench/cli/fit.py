"""`stbench fit`."""

from __future__ import annotations

from functools import partial
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
    worth: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel=RESULT,
            help="Folds of a run of the method with controls, for what its predictions are worth gene by gene.",
        ),
    ] = None,
) -> None:
    """Fit one method to all slides of a cohort, none of them kept for a test, and keep it as a model file."""
    from stbench.cli.console import ConsoleReporter, say, say_aligned
    from stbench.evaluation.fit import fit_model, plan_fit
    from stbench.pages.archive import read_records
    from stbench.pages.worth import worth_of

    reporter = ConsoleReporter()
    planned = plan_fit(request, default_cache(), reporter)
    say_aligned([*planned.lines(), ("out", str(out))])
    measure = None
    if worth:
        run, scale = planned.runs[0], request.normalization[0]
        said = run.settings.model_dump(mode="json")
        measure = partial(worth_of, list(read_records(worth)), run.card.name, said, scale, planned.encoder.key)
    facts = fit_model(planned, out, reporter, measure)
    if facts.worth:
        say(f"\n{sum(one.trusted for one in facts.worth)} of {len(facts.worth)} genes are trusted")
    say(f"\n{facts.method} in {facts.seconds:.1f} s: {out}")
