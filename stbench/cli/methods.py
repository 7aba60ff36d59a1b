"""`stbench methods`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.asks import Grouped, asks
from stbench.cli.console import ConsoleReporter, complain, draw, say, say_aligned, say_table
from stbench.evaluation.check_request import ASKED, CheckRequest
from stbench.evaluation.request import default_cache

if TYPE_CHECKING:
    from stbench.evaluation.plan import Plan
    from stbench.proofs.contract import CheckResult

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
    from stbench.pages.method import differences, facts, settings, space

    card = find_method(name)
    say_aligned(facts(card))
    if (table := settings(card)).rows:
        say("\nsettings (a preset's column shows what it changes)")
        draw(table)
    if card.search is not None:
        say(f"\nwhat stbench tune tries, by {card.search.objective}")
        draw(space(card.search))
    if card.differences:
        say("\nwhere paper and released code differ")
        draw(differences(card), names=(3,))


@app.command("check", cls=Grouped)
@asks(CheckRequest, only=ASKED)
def check(request: CheckRequest, name: Name) -> None:
    """Run the contract suite on a method; exit code 1 when a check fails.

    With --dataset also run it on that cohort, twice, the second time with the counts of the test slides moved over
    their spots: whoever predicts something else has seen them.
    """
    from stbench.methods.registry import find_method
    from stbench.proofs.contract import check_method

    request.check_options()
    card, planned = find_method(name), _planned(request, name) if request.dataset else None
    if planned is not None:
        complain(f"first the contract suite, then {planned.folds[0].name} of {planned.cohort.name}")
    with tempfile.TemporaryDirectory() as folder:
        results = check_method(card, Path(folder))
    if planned is not None:
        results += _checked_on_data(planned)
    say_table(["check", "verdict", "detail"], [[r.name, "ok" if r.passed else "FAIL", r.detail] for r in results])
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


def _planned(request: CheckRequest, name: str) -> Plan:
    from stbench.evaluation.plan import plan

    return plan(request.of(name), default_cache(), ConsoleReporter())


def _checked_on_data(planned: Plan) -> list[CheckResult]:
    from stbench.proofs.on_data import check_on_data

    with tempfile.TemporaryDirectory() as folder:
        return check_on_data(planned, Path(folder), ConsoleReporter())


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
