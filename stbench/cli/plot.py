"""`stbench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import Request, default_cache

_KINDS = "maps,network,moran,domains,draws,training,forest,genes"


@asks(Request, only=("secret", "data_root", "gene_sets"))
def plot(
    request: Request,
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; forest and genes: archives of boards as well.")],
    kind: Annotated[
        str | None, typer.Option(metavar="K,K,...", help=f"Of {_KINDS}; default: all that the runs allow.")
    ] = None,
    gene: Annotated[
        list[str] | None,
        typer.Option(
            help="Gene, repeatable. Default: the best, the median and the worst predicted by the best method."
        ),
    ] = None,
    gene_set: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the network of this set of --gene-sets alone.")
    ] = None,
    slide: Annotated[str | None, typer.Option(help="Slide. Default: the first test slide.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures (PNG, SVG) and tables (CSV).")] = Path("plots"),
) -> None:
    """Draw finished runs: maps, gene networks, smoothness, domains, draws, training, boards; which genes to believe."""
    from stbench.cli.console import ConsoleReporter, say
    from stbench.evaluation.gene_sets import GeneSetFile
    from stbench.evaluation.rescore import Truths
    from stbench.pages.plots.draw import Pictures
    from stbench.pages.plots.material import Material

    reporter = ConsoleReporter()
    truths = Truths(request.data_root, default_cache(), reporter, request.secret)
    sets = None if request.gene_sets is None else GeneSetFile.read(request.gene_sets)
    pictures = Pictures(Material.at(runs, truths), out, slide, gene or (), reporter, sets, gene_set)
    for path in pictures.draw(None if kind is None else [one.strip() for one in kind.split(",")]):
        say(str(path))
