"""The page of a protocol: who is best in words, one ranking of methods and controls, what the figures are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stbench.evaluation.record import PRIMARY
from stbench.files import write_text
from stbench.pages import markdown, wording
from stbench.pages.archive import ENDING, write_archive
from stbench.pages.columns import columns, decimals, title
from stbench.pages.facts import limits, measured_on, spoken
from stbench.pages.leaderboard import leaderboard_csv
from stbench.pages.patients import LEAST, difference
from stbench.pages.protocol import BEST, NOT_ABOVE, Line, Number, Protocol, best_control, intervals_of, marks
from stbench.pages.rows import CONTROLS, METHODS
from stbench.pages.tables import NONE, Emphasis, Table
from stbench.text import count, listed

_ELSEWHERE = "choose another --out"
_DEPTH = "cp10k-log1p"


def verdict(board: Protocol) -> str:
    """In words: who is best, by how much over the best control, whether that is more than noise."""
    scale, name = board.scales[0], title(PRIMARY).split()[0]
    methods = [line for line in board.lines if line.standing.block == METHODS and line.mean(scale) is not None]
    control = best_control(board)
    if not methods or control is None:
        return "No method and control to compare."
    best = methods[0]
    gap = difference(best.patients(scale), control.patients(scale))
    if gap is None:
        return f"`{best.label}` and `{control.label}` have no patient in common."
    where = "above" if gap.mean > 0 else "below"
    said = (
        f"The best method in {name} is `{best.label}`, {abs(gap.mean):.3f} {where} the best control, `{control.label}`"
    )
    if not board.has_intervals or gap.half is None or gap.p is None:
        return f"{said}; whether that is more than noise cannot be said from {why_not(board)}."
    told = "more than noise" if gap.p < 0.05 and gap.mean > 0 else "not above it by more than noise"
    low, high = gap.mean - gap.half, gap.mean + gap.half
    flips = f", sign-flip p {gap.sign_flip:.3f}" if gap.sign_flip is not None else ""
    return (
        f"{said}: {told} (95 % interval of the paired difference over {len(best.patients(scale))} patients "
        f"{low:+.3f} to {high:+.3f}, p {gap.p:.3f}{flips}; {gap.detectable:.3f} could have been shown)."
    )


def why_not(board: Protocol) -> str:
    """What keeps a board from intervals, in words."""
    if None in board.patients.values():
        return "unknown patients"
    if not intervals_of(board.sections):
        return "test patients that train or validate (`L`)"
    return f"{count(len(set(board.patients.values())), 'patient')}, at least {LEAST} are needed"


def table_of_protocol(board: Protocol, metrics: Sequence[str] | None = None) -> Table:
    """Ceilings, then methods and controls in one ranking, controls set apart; the other scale's PCC beside the first.

    Args:
        board: the folds.
        metrics: columns of the first scale in order; the usual ones that some row holds when None.
    """
    first, *others = board.scales
    held = {name for line in board.lines for name in line.numbers.get(first, {})}
    shown = columns("board", held) if metrics is None else list(metrics)
    head = ["#", "row", *(title(name) for name in shown), *(_beside(scale) for scale in others)]
    said, lines, rank = marks(board), [], 0
    for line in board.lines:
        place = ""
        if line.standing.ranked and line.mean(first) is not None:
            rank += 1
            place = str(rank)
        cells = [_cell(line.numbers.get(first, {}).get(name), name) for name in shown]
        cells += [_cell(line.numbers.get(scale, {}).get(PRIMARY), PRIMARY) for scale in others]
        lines.append([place, _named(line, said.get(line.label, ""), len(board.folds)), *cells])
    return Table(head, lines, words=(1,))


def _beside(scale: str) -> str:
    short = "dep" if scale == _DEPTH else scale
    return f"{title(PRIMARY).split()[0]} {short} ↑"


def _named(line: Line, mark: str, folds: int) -> str:
    label = line.label + (f" ({line.folds} of {folds} folds)" if line.folds < folds else "")
    text = f"{label} {mark}".rstrip()
    return Emphasis(text) if line.standing.block == CONTROLS and line.standing.ranked else text


def _cell(number: Number | None, metric: str) -> str:
    """``mean ± half the interval s over seeds``; with few patients, or none told apart, ``mean [lowest, highest]``."""
    if number is None or number.over is None:
        return NONE
    digits, values = decimals(metric), list(number.over.per_patient.values())
    text = f"{number.over.mean:.{digits}f}"
    if number.over.half is not None:
        text += f" ± {number.over.half:.{digits}f}"
    elif len(values) > 1:
        text += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    return text if number.seeds is None else f"{text} s{number.seeds:.{digits}f}"


def protocol_page(board: Protocol, *, metrics: Sequence[str] | None = None, command: str = "") -> str:
    """Markdown: who is best in words, what was compared, the table, what its figures mean, how to repeat it."""
    task = board.task
    repeat = wording.commands(board.records, command)
    leak = "" if intervals_of(board.sections) else " `L`"
    origin = "" if task.origin in ("real", task.dataset) else f" ({task.origin})"
    troubles = [line for section in board.sections for line in wording.troubles(section.groups)]
    parts = [
        f"## {task.dataset}{origin}, {task.rule}, {task.n_genes} genes{leak}",
        verdict(board),
        markdown.bullets(spoken(_facts(board))),
        markdown.table(table_of_protocol(board, metrics)),
        markdown.bullets([*_notes(board), *limits(task)]),
        markdown.bullets(dict.fromkeys(troubles)),
        markdown.bullets(spoken(measured_on(board.records))),
        *(["To repeat:", markdown.code(repeat)] if repeat else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(board: Protocol) -> dict[str, str]:
    task, patients = board.task, board.patients
    known = {patient for patient in patients.values() if patient is not None}
    seeds = sorted({record.seed for record in board.records})
    said = {
        "protocol": f"`{task.protocol_hash[:16]}`; only rows of one protocol may be compared",
        "folds": f"{len(board.folds)}: {listed(board.folds)}",
        "tested": f"{count(len(patients), 'slide')} of {count(len(known), 'patient')}, each once",
        "scales": listed(board.scales),
        "panel": f"{task.n_genes} genes in every fold, chosen on its training slides",
        f"{task.origin} data": task.about,
        "encoder": f"{task.encoder}; patch: {task.patch}",
        "seeds": listed(seeds),
    }
    return {name: text for name, text in said.items() if text}


def _notes(board: Protocol) -> list[str]:
    lines = ["Mean over patients with equal weight; slides of a patient are averaged first, spots are never pooled."]
    if board.has_intervals:
        lines.append(
            "± half the 95 % t interval over patients; folds share training data, for which it does not account. "
            f"`{BEST}`: not told from the best ranked row (paired t tests, Holm). `{NOT_ABOVE}`: a method not above "
            "the best control by more than noise (the same)."
        )
    else:
        lines.append(f"[lowest, highest] patient, no interval and no marks: {why_not(board)}.")
    return [
        *lines,
        "`s`: sample standard deviation over seeds of the mean over slides.",
        "*Controls* stand in the ranking; `[ ]` and ceilings see the truth and are never ranked.",
    ]


def write_protocols(
    boards: Sequence[Protocol],
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    command: str = "",
    with_csv: bool = False,
) -> list[Path]:
    """Write ``<dataset>-g<genes>-<rule>-<hash8>.md`` for every protocol, and the archive of its records beside it.

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    for board in boards:
        path = out / f"{board.name}.md"
        write_text(path, protocol_page(board, metrics=metrics, command=command), hint=_ELSEWHERE)
        write_archive(out / f"{board.name}{ENDING}", board.records, hint=_ELSEWHERE)
        if with_csv:
            write_text(out / f"{board.name}.csv", leaderboard_csv(board.records), hint=_ELSEWHERE)
        written.append(path)
    return written
