"""`stbench methods`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stbench.cli.console import say, say_aligned, say_table

if TYPE_CHECKING:
    from stbench.catalogue import MethodCard

app = typer.Typer(help="Methods: list, show, check, parity.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Registered name, or path/to/file.py:Class.")]


@app.command("list")
def list_() -> None:
    """Every registered method."""
    from stbench.catalogue import method_cards

    say_table(
        ["method", "kind", "draws", "presets", "what"],
        [
            [name, card.kind, str(card.draws), ", ".join(card.presets) or "-", card.summary or card.title]
            for name, card in method_cards().items()
        ],
    )


@app.command()
def show(name: Name) -> None:
    """Card, settings with the value of every preset, and where paper and released code differ."""
    from stbench.methods.registry import find_method

    card = find_method(name)
    facts = ("name", "title", "kind", "summary", "paper", "original", "licence", "entry", "encoder", "pretrained")
    lines = [(fact, str(getattr(card, fact))) for fact in facts if getattr(card, fact)]
    lines += [(fact, ", ".join(getattr(card, fact))) for fact in ("needs", "optional") if getattr(card, fact)]
    lines += [("draws", str(card.draws))] + [("note", note) for note in card.notes]
    lines += [("ablations", f"{one.table}: {one.title}") for one in card.ablations]
    say_aligned(lines)
    _show_settings(card)
    if card.differences:
        say("\nwhere paper and released code differ")
        columns = ("topic", "paper", "original", "switch", "default", "why")
        say_table(columns, [[getattr(row, column) for column in columns] for row in card.differences], names=(3,))


def _show_settings(card: MethodCard) -> None:
    from stbench.methods.registry import method_class, resolve_settings

    method = method_class(card)
    resolved = {preset: resolve_settings(card, method, preset, {}) for preset in card.presets}
    default = method.Settings()
    rows = []
    for key, field in method.Settings.model_fields.items():
        values = [_differing(getattr(settings, key), getattr(default, key)) for settings in resolved.values()]
        rows.append([key, str(getattr(default, key)), field.description or "", *values])
    if rows:
        say("\nsettings (a preset's column shows what it changes)")
        say_table(["--set", "default", "what", *resolved], rows)


def _differing(value: Any, default: Any) -> str:
    return "" if value == default else str(value)


@app.command()
def check(name: Name) -> None:
    """Run the contract suite on a method; exit code 1 when a check fails."""
    import tempfile

    from stbench.methods.registry import find_method
    from stbench.proofs.contract import check_method

    with tempfile.TemporaryDirectory() as folder:
        results = check_method(find_method(name), Path(folder))
    say_table(["check", "verdict", "detail"], [[r.name, "ok" if r.passed else "FAIL", r.detail] for r in results])
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


@app.command()
def parity(files: Annotated[list[Path], typer.Argument(help="Reference vectors, *.safetensors.")]) -> None:
    """Compare a port with numbers of the original code; exit code 1 when an output differs."""
    from stbench.proofs.parity import compare_file

    passed = True
    for file in files:
        report = compare_file(file)
        passed &= report.passed
        say(f"{file}")
        say_table(
            ["output", "max difference", "largest value", "tolerance", "verdict", "note"],
            [
                [
                    row.name,
                    f"{row.difference:.3g}",
                    f"{row.largest:.3g}",
                    f"{row.tolerance:.3g}",
                    "ok" if row.passed else "FAIL",
                    row.note,
                ]
                for row in report.rows
            ],
        )
    raise typer.Exit(0 if passed else 1)
