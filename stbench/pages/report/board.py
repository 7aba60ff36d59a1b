"""The page of a board: everything the markdown page says, and what only a screen can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stbench.catalogue import metric_cards
from stbench.evaluation.record import PRIMARY
from stbench.pages import wording
from stbench.pages.columns import decimals, title
from stbench.pages.facts import facts_of, leaking, limits, measured_on, title_of
from stbench.pages.leaderboard import columns_of, facts, lines_shown, table_of
from stbench.pages.marks import best_control, ceiling, ranked
from stbench.pages.plots.genes import VERDICTS
from stbench.pages.plots.material import Material
from stbench.pages.plots.style import SIGNED, VALUES
from stbench.pages.protocol import Line, Protocol, on_scale
from stbench.pages.report.compact import palette
from stbench.pages.report.curves import charts_of
from stbench.pages.report.forest import forests_of
from stbench.pages.report.genes import genes_of
from stbench.pages.report.maps import maps_of
from stbench.pages.report.markup import bare, environment
from stbench.pages.report.values import values_of
from stbench.pages.rows import METHODS
from stbench.pages.tables import NONE, Table
from stbench.reporting import SILENT, Reporter
from stbench.text import count, listed

_TEMPLATE = "board.html"


@dataclass(frozen=True)
class Figure:
    """A number at the head of a page.

    Args:
        name: what it is.
        value: as it is printed.
        about: whose it is.
    """

    name: str
    value: str
    about: str


@dataclass(frozen=True)
class Domains:
    """Metrics of tissue domains on one scale.

    Args:
        scale: of expression.
        table: their values.
        lines: rows in the order of the table.
        places: label to rank on this scale.
    """

    scale: str
    table: Table
    lines: Sequence[Line]
    places: Mapping[str, int]


def board_page(
    board: Protocol, material: Material, *, genes: Sequence[str] = (), command: str = "", index: str = "",
    reporter: Reporter = SILENT,
) -> str:  # fmt: skip
    """HTML of a board.

    Args:
        board: folds and scales of one rule.
        material: its runs, among others.
        genes: that must be among the maps.
        command: what the user typed, repeated at the end.
        index: address of the page of all boards beside it, empty without one.
        reporter: where progress goes, and what is left out.

    Raises:
        UserError: a prediction or history is damaged, or genes are asked for that cannot be shown.
    """
    maps = maps_of(board, material, genes, reporter)
    charts, no_charts = charts_of(board, material.runs)
    shown, above = columns_of(board), [*seen_of(board), *limits(board.task)]
    for line in [*maps.said, *([no_charts] if no_charts and maps.slides else [])]:
        reporter.info(f"{board.name}: {bare(line)}" if index else bare(line))
    return environment().get_template(_TEMPLATE).render(
        title=title_of(board.task, board.rule, f"{board.task.n_genes} genes", leaky=not board.is_clean),
        origin=board.task.origin,
        index=index,
        verdict=wording.verdict(board),
        limits=above,
        figures=figures_of(board),
        forests=forests_of(board),
        ranking=table_of(board, shown).without("#"),
        lines=lines_shown(board, shown),
        places=places_of(board),
        marks=wording.found_marks(board),
        notes=[line for line in wording.notes(board, shown) if line not in [*above, *wording.said_marks(board)]],
        troubles=wording.troubles(board),
        values=values_of(board, shown),
        maps=maps,
        palettes={"values": palette(VALUES), "signed": palette(SIGNED)},
        genes=genes_of(board),
        verdicts=VERDICTS.items(),
        domains=domains_of(board),
        charts=charts,
        no_charts=no_charts,
        costs=wording.costs(board),
        beside_costs=wording.beside_costs(board),
        facts=facts(board),
        folds=folds_of(board),
        left_out=left_out_of(board),
        measured=measured_on(board.records),
        commands=wording.commands(board.records, command),
    )  # fmt: skip


def seen_of(board: Protocol) -> list[str]:
    """What is said of test patients that train or validate, or may; nothing where none does."""
    tasks = [section.task for section in board.sections]
    doubtful = [task for task in tasks if leaking(task) or None in {task.patients.get(slide) for slide in task.test}]
    return list(dict.fromkeys(f"Patients: {facts_of(task)['patients']}." for task in doubtful))


def figures_of(board: Protocol) -> list[Figure]:
    """Best method, best control and ceiling in the primary metric, and how many patients were tested."""
    scale, name = board.scales[0], title(PRIMARY).split()[0]
    best = next((line for line in ranked(board) if line.standing.block == METHODS), None)
    rows: dict[str, Line | None] = {
        "best method": best, "best control": best_control(board), "ceiling": ceiling(board)
    }  # fmt: skip
    found = [Figure(f"{name}, {role}", _mean(line, scale), line.label) for role, line in rows.items() if line]
    patients = set(board.patients.values())
    tested = "unknown" if None in patients else str(len(patients))
    return [*found, Figure("test patients", tested, count(len(board.patients), "slide"))]


def _mean(line: Line, scale: str) -> str:
    mean = line.mean(scale)
    return NONE if mean is None else f"{mean:.{decimals(PRIMARY)}f}"


def domains_of(board: Protocol) -> list[Domains]:
    """Rows by what is made of tissue domains, one part per scale; none where no slide carries any."""
    wanted = [name for name, card in sorted(metric_cards().items()) if "domains" in card.needs]
    found = []
    for scale in board.scales:
        own = on_scale(board, scale)
        numbers = [line.numbers.get(scale, {}) for line in own.lines]
        shown = [name for name in wanted if any(name in held and held[name].mean is not None for held in numbers)]
        if shown:
            table, lines = table_of(own, shown).without("#"), lines_shown(own, shown)
            found.append(Domains(scale, table, lines, places_of(own)))
    return found


def places_of(board: Protocol) -> dict[str, int]:
    """Label to rank, of rows that have one."""
    return {line.label: place for place, line in enumerate(ranked(board), start=1)}


def folds_of(board: Protocol) -> list[tuple[str, dict[str, str]]]:
    """Fold to what trained, validated and tested in it."""
    tasks = {section.task.protocol: section.task for section in reversed(board.sections)}
    return [(fold, facts_of(tasks[fold])) for fold in board.folds]


def left_out_of(board: Protocol) -> list[tuple[str, str]]:
    """Reason to the slides that were left out for it."""
    found: dict[str, set[str]] = {}
    for section in board.sections:
        for slide, reason in section.task.left_out.items():
            found.setdefault(reason, set()).add(slide)
    return [(reason, listed(sorted(slides))) for reason, slides in found.items()]
