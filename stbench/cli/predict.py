"""`stbench predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import METHOD, RESULT, TASK, Request, default_cache


@asks(Request, only=("draws", "weights", "data_root", "device"))
def predict(
    request: Request,
    model: Annotated[Path, typer.Option(help="Folder that stbench fit wrote.", rich_help_panel=METHOD)],
    out: Annotated[Path, typer.Option(help="New .h5ad file, or a folder for several slides.", rich_help_panel=RESULT)],
    slide: Annotated[
        list[str] | None,
        typer.Option(
            help="Picture, or a folder of pictures; with --dataset a slide of it by name. Repeatable.",
            rich_help_panel=TASK,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Registered name or folder whose slides are predicted, all unless named.", rich_help_panel=TASK
        ),
    ] = None,
    um_per_px: Annotated[
        float | None,
        typer.Option(help="Micrometres per pixel of the picture, if it does not say it.", rich_help_panel=TASK),
    ] = None,
    pitch: Annotated[
        float | None, typer.Option(help="Micrometres between spots; default: the model's.", rich_help_panel=TASK)
    ] = None,
    spots: Annotated[
        Path | None,
        typer.Option(
            help="CSV or TSV of spots, pixel_x and pixel_y, in place of a grid over the tissue.", rich_help_panel=TASK
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.", rich_help_panel=METHOD)] = 0,
    keep_draws: Annotated[
        bool,
        typer.Option("--keep-draws", help="Keep every draw as a layer beside mean and spread.", rich_help_panel=RESULT),
    ] = False,
) -> None:
    """Predict slides with a fitted model: no counts are needed, and none are looked at."""
    from stbench.cli.console import ConsoleReporter, say_table
    from stbench.errors import SettingError
    from stbench.evaluation.apply import open_model
    from stbench.evaluation.asked import choose_device
    from stbench.evaluation.predict import Laid, pictures, slides_of
    from stbench.evaluation.predict import predict as predict_slides

    if not slide and dataset is None:
        raise SettingError("--slide: expected a picture, found none; name one, or a cohort with --dataset")
    opened = open_model(model, weights=request.weights, device=choose_device(request.device), cache_dir=default_cache())
    laid = Laid(um_per_px, pitch, spots)
    wanted = (
        pictures(opened, [Path(place) for place in slide or []], laid, out)
        if dataset is None
        else slides_of(dataset, slide or [], request.data_root, out)
    )
    found = predict_slides(
        opened, wanted, draws=request.draws, seed=seed, keep_draws=keep_draws, reporter=ConsoleReporter()
    )
    rows = [[one.name, str(found[one.name]), str(len(opened.facts.genes)), str(one.out)] for one in wanted]
    say_table(["slide", "spots", "genes", "predictions"], rows)
