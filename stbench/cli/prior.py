"""`stbench prior`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stbench.cli.asks import asks
from stbench.evaluation.request import Request

_LISTED = 10


@asks(
    Request,
    only=(
        "dataset",
        "genes",
        "split",
        "split_seed",
        "test_dataset",
        "validation_rule",
        "simulate",
        "secret",
        "data_root",
        "device",
    ),
)
def prior(
    request: Request,
    model: Annotated[str, typer.Option(help="geneformer, scgpt or cellplm.")],
    weights: Annotated[Path, typer.Option(help="Folder of the checkpoint; nothing is downloaded.")],
    context: Annotated[
        Literal["panel", "all"], typer.Option(help="Genes the model sees: the panel, or all measured ones (not scgpt).")
    ] = "panel",
    layer: Annotated[Literal["last", "penultimate"], typer.Option(help="Layer of Geneformer.")] = "last",
    zeros: Annotated[bool, typer.Option(help="Show scGPT genes without counts too.")] = True,
    dictionaries: Annotated[Path | None, typer.Option(help="Folder of Geneformer's dictionaries.")] = None,
    symbols: Annotated[Path | None, typer.Option(help="CSV or TSV: symbol, Ensembl id; asked last.")] = None,
    least_known: Annotated[float, typer.Option(min=0, max=1, help="Share of the panel the model must know.")] = 0.5,
    budget_gb: Annotated[float, typer.Option(help="Largest file of one slide.")] = 50.0,
    out: Annotated[Path | None, typer.Option(help="Folder; default: priors/<dataset>-g<genes>-<model>.")] = None,
) -> None:
    """Vectors of a gene foundation model for the panel and the training slides, for FLAG's alignment."""
    from stbench.cli.console import ConsoleReporter, say, say_aligned
    from stbench.evaluation.gene_vectors import PriorRequest, make_prior
    from stbench.priors.models import ModelOptions

    options = ModelOptions(weights, dictionaries, symbols, layer, zeros, least_known)
    asked = PriorRequest(model, options, request, context=context, budget_gb=budget_gb)
    folder = out or Path("priors") / f"{Path(request.dataset).name}-g{request.genes[0]}-{model}"
    made = make_prior(asked, folder, ConsoleReporter())
    unknown = [gene for gene, known in zip(made.panel, made.model.known, strict=True) if not known]
    some = ", ".join(unknown[:_LISTED]) + (" ..." if len(unknown) > _LISTED else "")
    lines = [
        ("model", f"{made.model.name}, vectors of {made.model.dim} per {made.model.kind}"),
        ("panel", f"{len(made.panel)} genes, {len(made.panel) - len(unknown)} known"),
        *([("unknown", some)] if unknown else []),
        *(("ambiguous", f"{gene}: {', '.join(ids)}") for gene, ids in made.model.ambiguous.items()),
        ("slides", ", ".join(made.slides)),
        ("saw", made.exposure.said or "nothing of this cohort, which is simulated"),
        ("out", str(folder)),
    ]
    say_aligned(lines)
    level = "" if made.model.kind == "gene" else " --set align=spot"
    say(f"\nuse it: stbench run --method flag --set prior=file:{folder}{level} with the same dataset, genes and split")
