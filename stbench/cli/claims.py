"""`stbench claims`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stbench.cli.asks import asks
from stbench.cli.console import ConsoleReporter, draw, say, say_aligned, say_table
from stbench.cli.grids import DryRun, Jobs, Out, Yes, check_jobs, foresee, say_troubles, start
from stbench.evaluation.request import default_cache
from stbench.studies.claims.request import ClaimsRequest

if TYPE_CHECKING:
    from stbench.catalogue.papers import Paper
    from stbench.studies.claims.blocks import Block
    from stbench.studies.claims.page import ClaimPage


@asks(ClaimsRequest)
def claims(
    request: ClaimsRequest,
    paper: Annotated[str | None, typer.Argument(help="Name of a paper; none: list them.")] = None,
    out: Out = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Run the tables of a paper, and write its numbers beside ours, and in what the experiments differ.

    Without --table: the paper's tables, what they need, and the command of each. What is missing is listed with how to
    get it, the rest is run; the same command continues. Where a weight file or vectors of the paper are not given, the
    cohort's encoder and the method's own prior take their place, and every row says so.
    """
    from stbench.catalogue import find_paper, paper_cards
    from stbench.studies.claims.tables import lines_of

    if paper is None:
        rows = [[name, one.title, one.source, str(len([*one.claims()]))] for name, one in paper_cards().items()]
        say_table(["paper", "title", "source", "numbers"], rows, numbers=3)
    elif not request.tables:
        lines = [line.cells for line in lines_of(find_paper(paper), request.data_root)]
        say_table(["table", "title", "numbers", "cohorts", "here", "command"], lines, numbers=6)
    else:
        raise typer.Exit(_carry_out(find_paper(paper), request, out, jobs, dry_run=dry_run, yes=yes))


def _carry_out(paper: Paper, request: ClaimsRequest, out: Path | None, jobs: int, *, dry_run: bool, yes: bool) -> int:
    """Run what can be run of some tables, and write a page for each; the exit code."""
    from stbench.studies.claims.blocks import blocks_of, check_place, nothing_to_run
    from stbench.studies.claims.page import missing
    from stbench.studies.claims.tables import check_chosen, chosen

    check_jobs(jobs)
    tables = chosen(paper, request.tables)
    check_chosen(tables, request)
    place = out or Path("runs") / f"claims-{paper.name}"
    reporter = ConsoleReporter()
    found = {one.table: blocks_of(one, request, default_cache(), reporter) for one in tables}
    everything = [block for blocks in found.values() for block in blocks]
    check_place(place, everything)
    if not any(block.grid for block in everything):
        raise nothing_to_run(everything)
    say_aligned([("missing", line) for line in missing(everything)] or [("missing", "nothing")])
    code = 0
    for one in tables:
        ended = [_run(block, place, jobs, dry_run=dry_run, yes=yes) for block in found[one.table]]
        code = max([code, *(part for _, part in ended)])
        if not dry_run:
            _write(paper, [block for block, _ in ended], request, place)
    return code


def _run(block: Block, place: Path, jobs: int, *, dry_run: bool, yes: bool) -> tuple[Block, int]:
    """Carry out one grid, or say what it would take: the block with what went wrong, and the exit code."""
    from stbench.errors import UserError
    from stbench.grids.plan import open_work

    if block.grid is None:
        return block, 0
    say(f"\n{block.title}")
    if dry_run:
        work = open_work(block.grid, block.folder(place))
        return block, foresee(block.grid, work, jobs)
    try:
        carried = start(block.grid, block.folder(place), jobs=jobs, yes=yes, place=place)
    except UserError as error:
        say(f"not run: {error}")
        return replace(block, problem=str(error), grid=None), 1
    say_troubles(carried.outcomes)
    return block, carried.code


def _write(paper: Paper, blocks: Sequence[Block], request: ClaimsRequest, place: Path) -> None:
    from stbench.evaluation.rescore import Truths
    from stbench.studies.claims.report import claim_page, write_claims

    if not blocks:
        return
    truths = Truths(request.data_root, default_cache(), ConsoleReporter())
    shown = claim_page(paper, blocks[0].table, blocks, request, place, truths)
    _show(shown)
    for path in write_claims(place, shown):
        say(str(path))


def _show(shown: ClaimPage) -> None:
    from stbench.studies.claims.page import Reasons, summary, table_of, warnings

    reasons = Reasons()
    say(f"\nTable {shown.table.table}: {shown.table.title}")
    for line in [*warnings(shown), *summary(shown)]:
        say(line)
    draw(table_of(shown, reasons.marks), names=(0, 1))
    for line in reasons.lines():
        say(line)
