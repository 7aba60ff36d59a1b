"""The page of a board: who is best in words, one ranking of methods and controls, what the figures are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import PRIMARY, Record
from stbench.files import write_text
from stbench.metrics.summary import of_domains
from stbench.pages import markdown, wording
from stbench.pages.archive import ENDING, write_archive
from stbench.pages.columns import Place, columns, decimals, title
from stbench.pages.facts import facts_of, measured_on, spoken, title_of
from stbench.pages.marks import (
    CRPS,
    DRESSED,
    NOT_ABOVE,
    ceiling,
    marks,
    ranked,
    samplers_not_better,
    share,
)
from stbench.pages.protocol import Line, Number, Protocol, boards_of
from stbench.pages.rows import CONTROLS
from stbench.pages.sections import leaderboard_csv, sections
from stbench.pages.tables import NONE, Emphasis, Table
from stbench.text import count, listed

_ELSEWHERE = "choose another --out"
_DEPTH = "cp10k-log1p"


def columns_of(board: Protocol, asked: Sequence[str] | None = None, place: Place = "board") -> list[str]:
    """Metrics shown of a board: those asked for, else what the place shows unasked and some row holds.

    Raises:
        UnknownNameError: a metric no record holds.
    """
    held = list(dict.fromkeys(name for line in board.lines for name in line.numbers.get(board.scales[0], {})))
    if asked is None:
        return columns(place, [name for name in held if _is_shown(board, name)])
    for name in asked:
        if held and name not in held:
            raise UnknownNameError("metric", name, held, hint=f"held by the records of {board.name}")
    return list(asked)


def _is_shown(board: Protocol, metric: str) -> bool:
    """Whether a metric has numbers on this board: those over all spots of a task have none over several folds."""
    numbers = [line.numbers.get(board.scales[0], {}).get(metric) for line in board.lines]
    return len(board.folds) == 1 or any(number is not None and number.mean is not None for number in numbers)


def table_of(board: Protocol, metrics: Sequence[str]) -> Table:
    """Ceilings, then methods and controls in one ranking, controls set apart; columns as :func:`scales_shown` says.

    Args:
        board: what is compared.
        metrics: columns in order.
    """
    places = {line.label: str(place) for place, line in enumerate(ranked(board), start=1)}
    said, beaten = marks(board), samplers_not_better(board)
    shares = ceiling(board) is not None and PRIMARY in metrics
    scales = {name: scales_shown(board, name) for name in metrics}
    head, lines = ["#", "row"], []
    for name in metrics:
        head += [_headed(name, scale, board.scales[0]) for scale in scales[name]]
        head += ["share"] if name == PRIMARY and shares else []
    for line in lines_shown(board, metrics):
        cells = [places.get(line.label, ""), _named(line, said[line.label], board)]
        for name in metrics:
            cells += [_cell(board, line, scale, name) for scale in scales[name]]
            cells[-1] += f" {NOT_ABOVE}" if name == CRPS and line.label in beaten else ""
            cells += [_share(board, line)] if name == PRIMARY and shares else []
        lines.append(cells)
    lines += [[mark, name, *[mark] * (len(head) - 2)] for name, mark in wording.troubled(board)]
    return Table(head, lines, words=(1,))


def lines_shown(board: Protocol, metrics: Sequence[str]) -> list[Line]:
    """Rows of a table of some metrics: all but references that have none of them."""
    return [
        line
        for line in board.lines
        if not line.is_reference or any(name in numbers for numbers in line.numbers.values() for name in metrics)
    ]


def scales_shown(board: Protocol, metric: str) -> list[str]:
    """Scales that a metric has a column of: all for PCC, for domains those it is defined on, the first for the rest."""
    first = board.scales[:1]
    if metric not in of_domains():
        return board.scales if metric == PRIMARY else first
    numbers = {scale: [line.numbers.get(scale, {}).get(metric) for line in board.lines] for scale in board.scales}
    defined = [scale for scale, some in numbers.items() if any(n is not None and n.mean is not None for n in some)]
    return defined or first


def _headed(metric: str, scale: str, first: str) -> str:
    """``PCC ↑`` on the first scale, ``PCC dep ↑`` on the depth-normalised one."""
    name, arrow = re.fullmatch(r"(.*?)( [↑↓])?", title(metric)).groups("")  # type: ignore[union-attr]
    return title(metric) if scale == first else f"{name} {'dep' if scale == _DEPTH else scale}{arrow}"


def _named(line: Line, mark: str, board: Protocol) -> str:
    text = f"{line.label}{_partly(board, line, board.scales[0])} {mark}".rstrip()
    return Emphasis(text) if line.standing.block == CONTROLS and line.standing.ranked else text


def _cell(board: Protocol, line: Line, scale: str, metric: str) -> str:
    """A number; of another scale than the first with how many folds it is of, where that is not said of the row."""
    partly, said = _partly(board, line, scale), _partly(board, line, board.scales[0])
    text = number_text(line.numbers.get(scale, {}).get(metric), metric)
    return text if partly == said or text == NONE else text + (partly or f" ({len(board.folds)} folds)")


def _partly(board: Protocol, line: Line, scale: str) -> str:
    folds, done = len(board.folds), line.folds.get(scale, 0)
    return f" ({done} of {folds} folds)" if 0 < done < folds else ""


def number_text(number: Number | None, metric: str) -> str:
    """``mean ± half the interval s over seeds (± over draws) n``; without interval ``[lowest, highest]`` patient."""
    if number is None or number.mean is None:
        return NONE
    digits = decimals(metric)
    text = f"{number.mean:.{digits}f}"
    values = [] if number.over is None else list(number.over.per_patient.values())
    if number.over is not None and number.over.half is not None:
        text += f" ± {number.over.half:.{digits}f}"
    elif len(values) > 1:
        text += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    text += f" s{number.seeds:.{digits}f}" if round(number.seeds or 0.0, digits) else ""
    text += f" (± {number.draws:.{digits}f})" if number.draws is not None else ""
    return f"{text} {DRESSED}" if number.dressed else text


def _share(board: Protocol, line: Line) -> str:
    """Nothing for rows below the best control, which have gone none of the way."""
    found = share(board, line)
    return NONE if found is None or found < 0 else f"{found:.0%}"


def protocol_page(board: Protocol, *, metrics: Sequence[str] | None = None, command: str = "") -> str:
    """Markdown: who is best in words, what was compared, the table, what its figures mean, how to repeat it."""
    shown, repeat = columns_of(board, metrics), wording.commands(board.records, command)
    title = title_of(board.task, board.rule, f"{board.task.n_genes} genes", leaky=not board.is_clean)
    parts = [
        f"## {markdown.inline(title)}",
        markdown.inline(wording.verdict(board)),
        markdown.bullets(spoken(facts(board))),
        markdown.table(table_of(board, shown)),
        markdown.bullets(wording.notes(board, shown)),
        markdown.bullets(wording.troubles(board)),
        markdown.table(wording.costs(board)),
        wording.beside_costs(board),
        markdown.bullets(spoken(measured_on(board.records))),
        *(["To repeat:", markdown.code(repeat)] if repeat else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(board: Protocol) -> dict[str, str]:
    """What was predicted from what, name to text: of its task, or of all folds and scales together."""
    task, patients = board.task, board.patients
    seeds = sorted({record.seed for record in board.records})
    if len(board.folds) == 1:
        said = facts_of(task, seeds)
        several = {"task": f"protocol `{task.protocol_hash[:16]}`; only rows of one protocol may be compared"}
        return said if len(board.scales) == 1 else {**said, **several, "scale": listed(board.scales)}
    known = {patient for patient in patients.values() if patient is not None}
    said = {
        "protocol": f"`{task.protocol_hash[:16]}`; only rows of one protocol may be compared",
        "folds": f"{len(board.folds)}: {listed(board.folds)}",
        "tested": f"{count(len(patients), 'slide')} of {count(len(known), 'patient')}, each once",
        "validation": "" if task.validates else "none, its slides train",
        "scales": listed(board.scales),
        "panel": f"{task.n_genes} genes in every fold, chosen on its training slides",
        f"{task.origin} data": task.about,
        "encoder": f"{task.encoder}; patch: {task.patch}",
        "seeds": listed(seeds),
    }
    return {name: text for name, text in said.items() if text}


def leaderboard(records: Sequence[Record], *, metrics: Sequence[str] | None = None, command: str = "") -> str:
    """Markdown with one part per board.

    Args:
        records: any records, in any order; the order changes nothing.
        metrics: columns in order; all usual ones that some record holds when None.
        command: what the user typed, repeated at the end.

    Raises:
        UnknownNameError: a metric no record holds.
    """
    boards = boards_of(sections(records))
    return "\n".join(protocol_page(board, metrics=metrics, command=command) for board in boards)


def write_leaderboards(
    boards: Sequence[Protocol],
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    command: str = "",
    with_csv: bool = False,
) -> list[Path]:
    """Write ``<dataset>-g<genes>-<rule>-<hash8>.md`` for every board, and the archive of its records beside it.

    The records lie in one archive of the same name, from which the same page can be made again.

    Args:
        boards: what :func:`stbench.pages.protocol.boards_of` made of the records.
        out: folder, made when absent.
        metrics: columns in order.
        command: what the user typed.
        with_csv: whether to write every number as ``.csv`` too.

    Returns:
        The markdown files, in the order of the boards.

    Raises:
        UserError: there is no record, or the folder cannot be written.
    """
    if not boards:
        raise UserError("expected at least one record, found none; give the folders that stbench run wrote")
    written = []
    for board in boards:
        path = out / f"{board.name}.md"
        write_text(path, protocol_page(board, metrics=metrics, command=command), hint=_ELSEWHERE)
        write_archive(out / f"{board.name}{ENDING}", board.records, hint=_ELSEWHERE)
        if with_csv:
            write_text(out / f"{board.name}.csv", leaderboard_csv(board.records), hint=_ELSEWHERE)
        written.append(path)
    return written
