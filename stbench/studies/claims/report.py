"""Writes page and numbers of a claim table: a pure function of the cards and of what the folders hold."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

from stbench.catalogue.papers import Paper
from stbench.evaluation.rescore import Truths
from stbench.grids.manifest import Manifest
from stbench.studies.claims.blocks import Block
from stbench.studies.claims.page import ClaimPage, page
from stbench.studies.claims.request import ClaimsRequest
from stbench.studies.claims.results import Compared, compared
from stbench.studies.claims.tables import AnyTable
from stbench.studies.sweep.report import write_texts
from stbench.text import csv_cell

COLUMNS = (
    "paper", "table", "dataset", "method", "variant", "genes", "encoder", "metric", "reported", "reported_sd",
    "sd_over", "value", "sd_slides", "sd_seeds", "sd_draws", "single_draw", "difference", "same_protocol", "reasons",
    "seeds",
)  # fmt: skip


def command_of(paper: Paper, request: ClaimsRequest) -> str:
    """The command that repeats it. Where data and results lie and the device are left to who repeats it."""
    moving = [name for name, one in request.options().items() if one.role != "place"]
    return shlex.join(["stbench", request.COMMAND, paper.name, *request.words(moving)])


def claim_page(
    paper: Paper, table: AnyTable, blocks: Sequence[Block], request: ClaimsRequest, out: Path, truths: Truths
) -> ClaimPage:
    """What stands on the page of a table.

    Raises:
        UserError: two cells of a grid have different tasks.
    """
    found = compared(table, blocks, out, truths, request.overrides)
    grids = [block.grid.manifest for block in blocks if block.grid is not None]
    ran = dict.fromkeys(grid.name for grid in grids if grid.KIND == Manifest.KIND)
    boards = [shlex.join(["stbench", "leaderboard", name]) for name in ran if (out / name).is_dir()]
    return ClaimPage(paper, table, found, blocks, command_of(paper, request), boards)


def write_claims(out: Path, shown: ClaimPage) -> list[Path]:
    """Write ``<paper>-table-<table>.md`` and ``.csv``; the same records give the same bytes.

    Raises:
        UserError: the folder cannot be written.
    """
    return write_texts(out, {f"{shown.name}.md": page(shown), f"{shown.name}.csv": numbers(shown)})


def numbers(shown: ClaimPage) -> str:
    """One line per claim, in the order of the page; ``reasons`` in words."""
    text = io.StringIO()
    write = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    write.writeheader()
    for one in shown.found:
        said = _line(shown, one)
        write.writerow({name: csv_cell(value) if isinstance(value, str) else value for name, value in said.items()})
    return text.getvalue()


def _line(shown: ClaimPage, one: Compared) -> dict[str, object]:
    claim, number = one.claim, one.number
    values = {
        "reported_sd": claim.std,
        "value": None if number is None else number.mean,
        "sd_slides": None if number is None else number.over_slides,
        "sd_seeds": None if number is None else number.over_seeds,
        "sd_draws": None if number is None else number.over_draws,
        "single_draw": None if one.single is None else one.single.mean,
        "difference": one.difference,
    }
    return {
        "paper": shown.paper.name,
        "table": claim.table,
        "dataset": claim.dataset,
        "method": claim.method,
        "variant": claim.label,
        "genes": claim.genes or "",
        "encoder": claim.encoder,
        "metric": claim.metric,
        "reported": repr(claim.value),
        "sd_over": shown.spread if claim.std is not None else "",
        **{name: "" if value is None else repr(value) for name, value in values.items()},
        "same_protocol": one.same,
        "reasons": "; ".join(one.reasons),
        "seeds": len({record.seed for record in one.records}) or "",
    }
