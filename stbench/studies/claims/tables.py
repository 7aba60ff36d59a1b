"""The tables of a paper: which there are, what each needs, and the claims that are asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.catalogue.papers import Claim, Measure, Paper, PaperAblation, ReportedTable
from stbench.errors import SettingError
from stbench.studies.claims.data import lacking
from stbench.studies.claims.request import ClaimsRequest
from stbench.text import listed

AnyTable = ReportedTable | PaperAblation
TRUTH = "ground truth"
"""What a claim says as its method where it is computed from the truth itself."""


@dataclass(frozen=True)
class Line:
    """A table in the list of a paper's tables.

    Args:
        table: its name.
        title: what it is about.
        numbers: how many it reports of methods.
        cohorts: those it needs.
        state: whether it can be run here, or where its facts stand.
        command: what runs it, empty for facts.
    """

    table: str
    title: str
    numbers: int
    cohorts: str
    state: str
    command: str

    @property
    def cells(self) -> list[str]:
        """As a row of text."""
        return [self.table, self.title, str(self.numbers), self.cohorts, self.state, self.command]


def tables_of(paper: Paper) -> list[AnyTable]:
    """Every table of a paper, in the order of their numbers."""
    return sorted([*paper.tables, *paper.ablations], key=lambda one: _place(one.table))


def _place(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 0, name)


def lines_of(paper: Paper, data_root: Path | None) -> list[Line]:
    """What can be run of a paper with the cohorts that are there."""
    return [_line(paper, one, data_root) for one in tables_of(paper)]


def _line(paper: Paper, one: AnyTable, data_root: Path | None) -> Line:
    claims = list(one.claims())
    if not claims:
        return Line(one.table, one.title, 0, "", f"facts, shown by {shown_by(one)}", "")
    cohorts = list(dict.fromkeys(claim.dataset for claim in claims))
    gone = [name for name in cohorts if lacking(name, data_root)]
    state = "slides are there" if not gone else f"no slides of {listed(gone)}"
    root = [] if data_root is None else ["--data-root", str(data_root)]
    command = shlex.join(["stbench", "claims", paper.name, "--table", one.table, *root])
    return Line(one.table, one.title, len(claims), listed(cohorts), state, command)


def shown_by(one: AnyTable) -> str:
    """The command that shows what a table of facts says."""
    return getattr(one, "shown", "") or "papers/"


def chosen(paper: Paper, names: Sequence[str]) -> list[AnyTable]:
    """The tables that are asked for.

    Raises:
        SettingError: no such table, or one of facts alone.
    """
    known = {one.table: one for one in tables_of(paper)}
    for name in names:
        if name not in known:
            raise SettingError(f"--table: expected tables of {paper.name} ({listed(known)}), found {name!r}")
        if not any(known[name].claims()):
            raise SettingError(
                f"--table {name}: expected a table of results, found one of facts ({known[name].title}); "
                f"see: {shown_by(known[name])}"
            )
    return [known[name] for name in names]


def asked_of(one: AnyTable, request: ClaimsRequest) -> list[Claim]:
    """The claims of a table for the cohorts and methods that are asked for; references of the truth come along."""
    return [
        claim
        for claim in one.claims()
        if (not request.cohorts or claim.dataset in request.cohorts)
        and (not request.methods or claim.method in (*request.methods, TRUTH))
    ]


def check_chosen(tables: Iterable[AnyTable], request: ClaimsRequest) -> None:
    """Refuse cohorts and methods that no table names.

    Raises:
        SettingError: one of them.
    """
    claims = [claim for one in tables for claim in one.claims()]
    for option, names, known in (
        ("--dataset", request.cohorts, {claim.dataset for claim in claims}),
        ("--method", request.methods, {claim.method for claim in claims} - {TRUTH}),
    ):
        for name in names:
            if name not in known:
                raise SettingError(f"{option}: expected one of the tables' ({listed(sorted(known))}), found {name!r}")


def measure_of(one: AnyTable, claim: Claim) -> Measure:
    """Where our number of a claim comes from."""
    return Measure(metric=claim.metric) if isinstance(one, PaperAblation) else one.measure_of(claim.metric)


def by_encoder(one: AnyTable) -> bool:
    """Whether rows of a table are of different encoders, so that no other may take the place of one."""
    return isinstance(one, ReportedTable) and "encoder" in one.columns
