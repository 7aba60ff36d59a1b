"""The markdown page of a claim table: the paper, what we get, the difference, and whether both are one experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stbench.catalogue.papers import Paper, PaperAblation
from stbench.pages.columns import title
from stbench.pages.facts import facts_of, limits, measured_on, spoken
from stbench.pages.markdown import bullets, code, inline, strong, table
from stbench.pages.tables import NONE, Table
from stbench.studies.claims.blocks import Block
from stbench.studies.claims.measured import Number
from stbench.studies.claims.results import Compared
from stbench.studies.claims.tables import AnyTable
from stbench.text import count, listed

_OVER = {"slides": "test slides", "draws": "draws of one fit"}
_OF_TASK = ("scale", "panel", "encoder", "train", "validation", "test", "patients", "left out")


@dataclass(frozen=True)
class ClaimPage:
    """Everything a page is made of.

    Args:
        paper: the paper.
        table: its table.
        found: the claims asked for, in order.
        blocks: the grids behind them.
        command: what repeats it.
        boards: command of the leaderboard of every grid that was run.
    """

    paper: Paper
    table: AnyTable
    found: Sequence[Compared]
    blocks: Sequence[Block]
    command: str
    boards: Sequence[str] = ()

    @property
    def name(self) -> str:
        """File name without ending."""
        return f"{self.paper.name}-table-{self.table.table}"

    @property
    def spread(self) -> str:
        """What the paper's ± is over."""
        return "slides" if isinstance(self.table, PaperAblation) else self.table.spread


def page(shown: ClaimPage) -> str:
    """Markdown: whose slides they are, what is there, the table, what is missing, what was run, how to repeat it."""
    said = Reasons()
    content = table(table_of(shown, said.marks))
    parts = [
        f"# Table {inline(shown.table.table)} of {inline(shown.paper.source)}: {inline(shown.table.title)}",
        *(strong(inline(line)) for line in warnings(shown)),
        bullets([*summary(shown), *([f"in the paper: {shown.table.note}"] if shown.table.note else [])]),
        content,
        bullets([*said.lines(), *_reading(shown)]),
        *_part("Missing", missing(shown.blocks)),
        *_tasks(shown),
        *(
            ["## Boards of these runs, from this folder, with controls and ceilings", code(shown.boards)]
            if shown.boards
            else []
        ),
        "## To repeat",
        code([shown.command]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


class Reasons:
    """Numbers the reasons of all rows, so that a row says which are its own."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def marks(self, reasons: Sequence[str]) -> str:
        """Numbers of some reasons."""
        return listed(self._numbers.setdefault(reason, len(self._numbers) + 1) for reason in reasons)

    def lines(self) -> list[str]:
        """Every reason behind its number."""
        return [f"({number}) {reason}" for reason, number in self._numbers.items()]


def warnings(shown: ClaimPage) -> list[str]:
    """What must be seen first: cohorts whose slides are others."""
    others = {one.claim.dataset: one.stand_in for one in shown.found if one.stand_in}
    return [
        f"Stand-in for {dataset}: {said}. These are not the slides of {dataset}: no number here is a result about that "
        "cohort, and none is held against the paper's."
        for dataset, said in others.items()
    ]


def summary(shown: ClaimPage) -> list[str]:
    """How many claims have a number of ours, and how many of those of the same experiment."""
    there = [one for one in shown.found if one.number is not None]
    said = [one.verdict.said for one in there if one.verdict is not None]
    lines = [f"{len(there)} of {count(len(shown.found), 'reported number')} with one of ours beside"]
    if there:
        each = [f"{word}: {said.count(word)}" for word in ("yes", "not known", "no") if word in said]
        lines.append(f"the same protocol? {listed(each)}")
    return lines


def table_of(shown: ClaimPage, marks: Callable[[Sequence[str]], str] = listed) -> Table:
    """A row per claim.

    Args:
        shown: the claims.
        marks: what stands for the reasons of a row; the reasons themselves unless given.
    """
    places = _places(shown.found)
    single = any(one.single is not None for one in shown.found)
    head = [*places, "metric", "paper", "we get", "difference", *(["1 draw"] if single else []), "same protocol?"]
    decimals = _decimals(shown.found)
    rows = []
    for one in shown.found:
        digits = decimals[one.claim.metric]
        row = [str(getattr(one.claim, _FIELD.get(place, place)) or "") for place in places]
        row += [title(one.claim.metric), _with(one.claim.value, {"±": one.claim.std}, digits)]
        row += [_ours(one.number, shown.spread, digits), _signed(one.difference, digits)]
        row += [_ours(one.single, shown.spread, digits)] if single else []
        rows.append([*row, protocol_of(one, marks)])
    return Table(head, rows, words=[*range(len(places) + 1), len(head) - 1])


_FIELD = {"variant": "label"}


def _places(found: Sequence[Compared]) -> list[str]:
    """Columns that tell claims apart: cohort and method always, what else differs."""
    claims = [one.claim for one in found]
    varied = {
        "encoder": len({claim.encoder for claim in claims}) > 1,
        "variant": any(claim.label for claim in claims),
        "genes": len({claim.genes for claim in claims}) > 1,
    }
    return ["dataset", "method", *(name for name, here in varied.items() if here)]


def _decimals(found: Sequence[Compared]) -> dict[str, int]:
    """Metric to as many decimals as its longest reported value has."""
    digits: dict[str, int] = {}
    for one in found:
        for value in (one.claim.value, one.claim.std or 0.0):
            here = len(f"{value:g}".partition(".")[2])
            digits[one.claim.metric] = max(here, digits.get(one.claim.metric, 0))
    return digits


def protocol_of(one: Compared, marks: Callable[[Sequence[str]], str] = listed) -> str:
    """``no (1, 2)``, with what stands for the reasons in brackets."""
    return f"{one.same} ({marks(one.reasons)})" if one.reasons else one.same


def _ours(number: Number | None, spread: str, digits: int) -> str:
    if number is None:
        return NONE
    over = number.over_draws if spread == "draws" else number.over_slides
    return _with(number.mean, {"±": over, "±s": number.over_seeds}, digits)


def _with(value: float, spreads: dict[str, float | None], digits: int) -> str:
    said = [f"{mark} {spread:.{digits}f}" for mark, spread in spreads.items() if spread is not None]
    return " ".join([f"{value:.{digits}f}", *said])


def _signed(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:+.{digits}f}"


def _reading(shown: ClaimPage) -> list[str]:
    lines = [f"we get: mean ± sample SD over {_OVER[shown.spread]}, ±s over seeds (of the mean over slides)"]
    lines.append("difference: ours less the paper's; `-` where there is none, or of another quantity or tissue")
    if any(one.single is not None for one in shown.found):
        lines.append(
            "we get is the mean of several draws where a method samples; 1 draw: the mean score of single ones"
        )
    return lines


def missing(blocks: Sequence[Block]) -> list[str]:
    """What could not be run and why, and files that would make a run the reported experiment."""
    gone = [f"{block.title}: {block.problem}" for block in blocks if block.problem]
    return list(dict.fromkeys([*gone, *(text for block in blocks for text in block.missing if not block.problem)]))


def _part(heading: str, lines: Sequence[str]) -> list[str]:
    return [f"## {heading}", bullets(lines)] if lines else []


def _tasks(shown: ClaimPage) -> list[str]:
    """What was predicted from what, a section per cohort: the facts that all its tasks share."""
    parts = []
    for dataset in dict.fromkeys(one.claim.dataset for one in shown.found if one.records):
        records = [record for one in shown.found if one.claim.dataset == dataset for record in one.records]
        first, *others = [facts_of(record.task) for record in records]
        facts = {
            name: first[name] for name in _OF_TASK if name in first and all(x.get(name) == first[name] for x in others)
        }
        said = [*spoken(facts), *spoken(measured_on(records)), *limits(records[0].task)]
        parts += _part(f"What was run on {inline(dataset)}", said)
    return parts
