"""`stbench datasets`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Cohorts: list, show, fetch, check, export.", rich_markup_mode=None)

DataRoot = Annotated[Path | None, typer.Option(envvar="STBENCH_DATA", help="Folder that holds one folder per cohort.")]
Simulate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Setting of a generated cohort; with simulated also 'paper' for the paper's size; repeatable.",
    ),
]
Patients = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="CSV with the columns slide and patient; default: patients.csv in the cohort's folder."
    ),
]
GenesTable = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Table of genes: symbols take the place of ids and older symbols, e.g. HGNC's.",
    ),
]
Name = Annotated[str, typer.Argument(help="Registered name, or a folder or .h5ad file in a known layout.")]


@app.command("list")
def list_() -> None:
    """Every registered cohort."""
    from stbench.catalogue import dataset_cards
    from stbench.cli.console import say_table

    say_table(
        ["dataset", "slides", "spots", "patients", "organ", "layouts", "licence"],
        [
            [
                name,
                "settable" if card.simulated else str(card.n_slides or len(card.slides)),
                "settable" if card.simulated else str(card.n_spots),
                str(len({slide.patient for slide in card.slides})) if card.slides else "settable",
                card.organ,
                ", ".join(card.layouts) or (f"made from {card.made_from}" if card.made_from else "generated"),
                card.licence,
            ]
            for name, card in dataset_cards().items()
        ],
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="Registered name.")]) -> None:
    """What a cohort holds, its licence, and how to get it."""
    from stbench.catalogue import find_dataset, load_entry
    from stbench.cli.console import say, say_aligned, say_table
    from stbench.evaluation.exposure import exposures_of

    card = find_dataset(name)
    facts = ["title", "organ", "technology", "licence", "citation", "source"]
    say_aligned([("dataset", name), *((fact, getattr(card, fact)) for fact in facts if getattr(card, fact))])
    if card.slides:
        say("")
        rows = [[slide.id, slide.section, slide.patient, str(slide.n_spots)] for slide in card.slides]
        say_table(["slide", "section", "patient", "spots"], rows, numbers=3, names=(0, 1, 2))
    if seen := exposures_of(card):
        say("\nwho has seen it: pretrained weights as their authors released them")
        say_table(["weights", "seen", "why"], seen)
    if card.settings is not None:
        say("")
        fields = load_entry(card.settings).model_fields.items()
        say_table(["--simulate", "default", "what"], [[key, str(f.default), f.description or ""] for key, f in fields])


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Registered name.")],
    slide: Annotated[list[str] | None, typer.Option(help="Id or section; repeatable; default: all.")] = None,
    source: Annotated[str | None, typer.Option(help="hest or study; default: the card's first.")] = None,
    images: Annotated[bool, typer.Option("--images", help="Whole pictures in place of patches (hest).")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to size and terms without being asked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, stop.")] = False,
    data_root: DataRoot = None,
) -> None:
    """Download exactly the files a cohort needs; the same command goes on after an interruption."""
    from stbench.catalogue import find_dataset
    from stbench.cli.console import ConsoleReporter, say_aligned
    from stbench.data.fetch import choose_source, plan_download, size_text
    from stbench.data.fetch import fetch as fetch_files
    from stbench.errors import SettingError

    card = find_dataset(name)
    if data_root is None:
        raise SettingError("expected a folder for the data, found none; give --data-root or set STBENCH_DATA")
    folder = data_root / name
    origin, slides, kind = choose_source(card, source, slide or [], folder)
    plan = plan_download(origin, slides, folder, images=images)
    facts = [
        ("source", f"{origin.name} ({kind})"),
        ("licence", card.licence),
        ("terms", origin.terms),
        ("files", f"{len(plan.wanted)} of {len(slides)} slides, {len(plan.missing)} missing here"),
        ("size", size_text(plan.size)),
        ("folder", str(folder)),
    ]
    say_aligned(facts)
    if dry_run or not plan.missing:
        return
    if not yes and not sys.stdin.isatty():
        raise SettingError("expected an answer to the terms above, found no terminal; add --yes to agree")
    if not yes:
        typer.confirm("Fetch them under these terms?", abort=True)
    fetch_files(plan, ConsoleReporter())
    say_aligned([("next", f"stbench datasets check {name}")])


@app.command()
def check(
    name: Name,
    data_root: DataRoot = None,
    simulate: Simulate = None,
    patients: Patients = None,
    genes_table: GenesTable = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also move every picture about: it must say most where it is.")
    ] = False,
) -> None:
    """Audit the files of a cohort; exit code 1 when something is wrong."""
    from stbench.cli.console import ConsoleReporter, say_table
    from stbench.data.audit import audit
    from stbench.data.opening import open_dataset
    from stbench.data.picture_fit import picture_rows
    from stbench.evaluation.identity import default_patch
    from stbench.evaluation.request import default_cache

    reporter = ConsoleReporter()
    asked = (name, data_root, tuple(simulate or ()), default_cache(), reporter)
    cohort, card = open_dataset(*asked, require_image=False, patients=patients, genes_table=genes_table)
    report = audit(cohort, card, patch=default_patch(card), reporter=reporter)
    if pictures:
        report = replace(report, rows=report.rows + picture_rows(cohort, reporter))
    say_table(["check", "verdict", "detail"], [[row.check, row.verdict, row.detail] for row in report.rows])
    if report.failed:
        raise typer.Exit(1)


@app.command()
def export(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="New or empty folder.")],
    data_root: DataRoot = None,
    simulate: Simulate = None,
    patients: Patients = None,
    genes_table: GenesTable = None,
    patch_px: Annotated[int, typer.Option(help="Side of the patches in pixels.")] = 224,
    um_per_px: Annotated[float, typer.Option(help="Pixel size of the patches in micrometres.")] = 0.5,
    with_wsi: Annotated[bool, typer.Option("--with-wsi", help="Whole pictures in place of patches.")] = False,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as", help="Simulated slides under the ids of a registered cohort, to rehearse commands for it."
        ),
    ] = None,
) -> None:
    """Write a cohort in the layout of HEST-1k."""
    from stbench.catalogue import find_dataset
    from stbench.cli.console import ConsoleReporter, say
    from stbench.data.export import export_hest
    from stbench.data.opening import open_dataset
    from stbench.data.stand_in import stand_in_for
    from stbench.evaluation.request import default_cache

    reporter = ConsoleReporter()
    asked = (name, data_root, tuple(simulate or ()), default_cache(), reporter)
    cohort, _ = open_dataset(*asked, require_image=False, patients=patients, genes_table=genes_table)
    cohort = cohort if as_ is None else stand_in_for(find_dataset(as_), cohort)
    export_hest(cohort, folder, patch_px=patch_px, um_per_px=um_per_px, with_wsi=with_wsi, reporter=reporter)
    say(f"{len(cohort.refs)} slides in {folder}")
