"""`stbench encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import Request, default_cache


@asks(Request, only=("dataset", "encoder", "weights", "patch", "simulate", "data_root", "device"))
def encode(
    request: Request,
    list_: Annotated[bool, typer.Option("--list", help="Every named encoder, its weights and what they saw.")] = False,
    tile: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Write the calibration tile, for encoders that are run elsewhere."),
    ] = None,
) -> None:
    """Fill the feature cache of a cohort, slide by slide; runs with the same encoder then find their features."""
    if list_:
        _list()
        return
    if tile is not None:
        from stbench.features.calibration import write_tile

        write_tile(tile)
        return
    from stbench.cli.console import ConsoleReporter, say_table
    from stbench.evaluation.encode import encode_cohort

    made = encode_cohort(request, default_cache(), ConsoleReporter())
    rows = [[slide.id, str(slide.n_spots), str(slide.dim), f"{slide.seconds:.1f}"] for slide in made]
    say_table(["slide", "spots", "width", "seconds"], rows, numbers=1)


def _list() -> None:
    from stbench.catalogue import pretrained_sheet
    from stbench.catalogue.plugins import installed, package_of
    from stbench.cli.console import say_table
    from stbench.features.encoder import PRECOMPUTED
    from stbench.features.pathology import RECIPES

    ours = [[name, str(dim), "-", "-", "computed, no weights"] for name, dim in _OURS.items()]
    named = [[name, str(r.dim), str(r.side), r.hub, r.licence] for name, r in RECIPES.items()]
    files = [PRECOMPUTED, "any", "-", "-", "one file of features per slide in the folder --weights"]
    foreign = [[point.name, "-", "-", "-", f"from {package_of(point)}"] for point in installed("encoder")]
    fitted = {name: one.data for one in pretrained_sheet().weights for name in one.names}
    rows = [[*row, fitted.get(row[0], "not said")] for row in [*ours, *named, files, *foreign]]
    say_table(["encoder", "width", "input px", "weights", "licence", "fitted on"], rows)


_OURS = {"handcrafted-v1": 153, "handcrafted-v1-ctx": 306, "mean-rgb": 3}
