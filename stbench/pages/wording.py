"""What a page says around its table: who is best, what was compared, what marks mean, what a number is not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from stbench.evaluation.exposure import contamination
from stbench.evaluation.record import PRIMARY, Record
from stbench.metrics.score import RULES
from stbench.metrics.summary import is_of_sets
from stbench.pages import community, downstream
from stbench.pages.columns import title
from stbench.pages.facts import limits
from stbench.pages.marks import (
    COUNT_SPLIT,
    CRPS,
    DRESSED,
    MEANINGS,
    TUNED,
    against,
    best_control,
    ceiling,
    eligible,
    knows_seed,
    marks,
    ranked,
    samplers_not_better,
)
from stbench.pages.patients import LEAST, Difference, difference
from stbench.pages.protocol import Line, Protocol, intervals_of
from stbench.pages.rows import CEILINGS, METHODS, Group, Row, mean_text
from stbench.pages.tables import NONE, Table
from stbench.pages.tuned import tuning
from stbench.text import count, listed

_BESIDE = {"read": "of reading slides", "features": "of features", "score": "of scoring", "write": "of writing"}


def verdict(board: Protocol) -> str:
    """In words: who is best, by how much over the best control, whether that is more than noise."""
    scale, name = board.scales[0], title(PRIMARY).split()[0]
    best = next((line for line in ranked(board) if line.standing.block == METHODS), None)
    control = best_control(board)
    if best is None or control is None:
        return _nobody(board)
    gap = difference(best.patients(scale), control.patients(scale))
    if gap is None:
        return f"`{best.label}` and `{control.label}` have no patient in common."
    where = "above" if gap.mean > 0 else "below"
    said = (
        f"The best method in {name} is `{best.label}`, {abs(gap.mean):.3f} {where} the best control, `{control.label}`"
    )
    if not board.has_intervals or gap.half is None or gap.p is None:
        return f"{said}; whether that is more than noise cannot be said from {why_not(board)}."
    return f"{said}: {_told(gap, len(best.patients(scale)))}"


def _nobody(board: Protocol) -> str:
    """Why no method is ranked beside a control: one of them is not there, or something is against the methods."""
    scale = board.scales[0]
    methods = [line for line in board.lines if line.standing.block == METHODS and line.mean(scale) is not None]
    barred = dict.fromkeys(mark for line in methods for mark in against(board, line))
    known = any(knows_seed(board, line) for line in eligible(board))
    if any(line in methods for line in ranked(board)) or not (barred or known):
        return _alone(board)
    if known:
        said = "Nothing is ranked here: the seed of the cohort is public, so that its truth can be generated"
    else:
        said = "No method may be ranked here: " + "; ".join(f"`{mark}` {MEANINGS[mark]}" for mark in barred)
    return f"{said}.{_highest(board, methods[0]) if methods else ''}"


def _alone(board: Protocol) -> str:
    """The best row, where there are no methods or no controls to hold it against."""
    best = next(iter(ranked(board)), None)
    mean = None if best is None else best.mean(board.scales[0])
    if best is None or mean is None:
        return "No method and control to compare."
    said = f"with a PCC of {mean:.3f}"
    if best.standing.block == METHODS:
        return f"No control is ranked here; the best method is `{best.label}`, {said}."
    return f"No method is ranked here; the best control is `{best.label}`, {said}."


def _highest(board: Protocol, best: Line) -> str:
    control, scale = best_control(board), board.scales[0]
    mine, least = best.mean(scale), None if control is None else control.mean(scale)
    if control is None or mine is None or least is None:
        return ""
    where = "above" if mine > least else "below"
    return f" The highest, `{best.label}`, is {abs(mine - least):.3f} {where} `{control.label}`."


def _told(gap: Difference, n_patients: int) -> str:
    assert gap.half is not None
    assert gap.p is not None
    told = "more than noise" if gap.p < 0.05 and gap.mean > 0 else "not above it by more than noise"
    low, high = gap.mean - gap.half, gap.mean + gap.half
    flips = f", sign-flip p {gap.sign_flip:.3f}" if gap.sign_flip is not None else ""
    return (
        f"{told} (95 % interval of the paired difference over {n_patients} patients {low:+.3f} to {high:+.3f}, "
        f"p {gap.p:.3f}{flips}; {gap.detectable:.3f} could have been shown)."
    )


def why_not(board: Protocol) -> str:
    """What keeps a board from intervals, in words."""
    if None in board.patients.values():
        return "unknown patients"
    if not intervals_of(board.sections):
        return "test patients that train or validate (`L`)"
    return f"{count(len(set(board.patients.values())), 'patient')}, at least {LEAST} are needed"


def notes(board: Protocol, columns: Sequence[str]) -> list[str]:
    """What the figures and marks mean, and what the numbers are not."""
    scale = board.scales[0]
    lines = [
        means_of(board),
        *said_marks(board),
        *tuning(board.lines, TUNED),
        *community.notes(board.lines),
        *_exposed(board),
        *_late(board),
        *_widened(board),
        _draws(board),
        *_counted(
            board,
            [name for name in columns if not is_of_sets(name)],
            "n_undefined",
            "Genes left out as constant (or, in partial PCC, a line in depth)",
        ),
        *_counted(
            board, [PRIMARY], "n_constant",
            "Genes predicted constant though the truth varies (0 in PCC, left out of GSC and SSC)",
        ),
        _older(board),
        "*Controls* stand in the ranking; `[ ]` and ceilings see the truth and are never ranked; a ceiling bounds MSE "
        "and PCC alone.",
        *_share(board, columns),
        *downstream.notes(board, columns),
    ]  # fmt: skip
    if any(number.mean is None for line in board.lines for number in line.numbers.get(scale, {}).values()):
        lines.append(f"`{NONE}` undefined, as GSC and SSC of a constant prediction and CRPS of one draw are.")
    if CRPS in columns and any(row.rules < 2 for row in _rows(board)):
        lines.append("CRPS of a row without several draws is its mean absolute error.")
    return [line for line in [*lines, *limits(board.task)] if line]


def means_of(board: Protocol) -> str:
    """What is averaged over what, and what ``±``, ``[ ]`` and ``s`` are."""
    if None in board.patients.values():
        said = "Patients are unknown: mean over slides, [lowest, highest] slide."
    else:
        said = "Mean over patients with equal weight; slides of a patient are averaged first, spots are never pooled"
        said += " over folds." if len(board.folds) > 1 else "."
    if board.has_intervals:
        said += " ± half the 95 % t interval over patients"
        said += "; folds share training data, for which it does not account." if len(board.folds) > 1 else "."
    elif None not in board.patients.values():
        said += f" [lowest, highest] patient; no interval and no comparison: {why_not(board)}."
    numbers = [number for line in board.lines for number in line.numbers.get(board.scales[0], {}).values()]
    if any(number.seeds for number in numbers):
        said += " `s`: sample standard deviation over seeds of the mean over slides."
    if any(number.draws is not None for number in numbers):
        said += " In brackets, ± sample standard deviation over draws of a draw's mean over slides (paper, Table 9)."
    return said


def found_marks(board: Protocol) -> list[tuple[str, str]]:
    """Every mark on the page and its meaning."""
    scale = board.scales[0]
    numbers = [number for line in board.lines for number in line.numbers.get(scale, {}).values()]
    found = "".join(marks(board).values())
    found += "!" if samplers_not_better(board) else ""
    found += DRESSED if any(number.dressed for number in numbers) else ""
    return [(mark, meaning) for mark, meaning in MEANINGS.items() if mark in found]


def said_marks(board: Protocol) -> list[str]:
    """The meaning of every mark on the page, in one line; nothing where there are none."""
    said = [f"`{mark}` {meaning}" for mark, meaning in found_marks(board)]
    return ["; ".join(said) + "."] if said else []


def _exposed(board: Protocol) -> list[str]:
    """What the weights behind which rows saw of the cohort."""
    found: dict[str, list[str]] = {}
    for line in board.lines:
        for said in dict.fromkeys(_seen(record) for record in line.records):
            found.setdefault(said, []).append(line.method)
    return [f"{said}: {listed(dict.fromkeys(methods))}." for said, methods in found.items() if said]


def _seen(record: Record) -> str:
    exposure = contamination(record)
    return f"`{exposure.mark}` {exposure.said}" if exposure.mark else ""


def _late(board: Protocol) -> list[str]:
    """Rows run when everybody could know the seed, beside others that were not."""
    late = [line.label for line in eligible(board) if knows_seed(board, line)]
    return [f"Run with a public seed, not ranked: {listed(late)}."] if late and ranked(board) else []


def _widened(board: Protocol) -> list[str]:
    """Rows whose CRPS the spread of their draws was fitted for."""
    found = [line.method for line in board.lines if any(record.settings.get("calibrate") for record in line.records)]
    said = (
        "Spread of the draws fitted on validation slides around a kept mean; CRPS is that of any number of such draws"
    )
    return [f"{said}: {listed(dict.fromkeys(found))}."] if found else []


def _draws(board: Protocol) -> str:
    """How many draws there are and how they were combined; empty where nothing was drawn."""
    drawn: dict[int, list[str]] = {}
    for row in _rows(board):
        if row.n_draws:
            drawn.setdefault(row.n_draws, []).append(row.name)
    if not drawn:
        return ""
    counts = [f"{n} ({', '.join(dict.fromkeys(names))})" for n, names in sorted(drawn.items())]
    said = f"Draws of every slide, from one fit: {'; '.join(counts)}. `1 draw`: the mean of the scores of single draws."
    return said + (" `mean of M`: the score of the mean of the M draws." if max(drawn) > 1 else "")


def _counted(board: Protocol, columns: Sequence[str], what: str, why: str) -> list[str]:
    """How many genes were counted in which columns of which rows, summed over test slides."""
    found: dict[str, list[str]] = {}
    for line in board.lines:
        rows = line.rows.get(board.scales[0], [])
        counts = {name: sum(getattr(row.cells[name], what) for row in rows if name in row.cells) for name in columns}
        said = ", ".join(f"{name} {n}" if len(columns) > 1 else str(n) for name, n in counts.items() if n)
        if said:
            found.setdefault(said, []).append(line.label)
    said = "; ".join(f"{counts} ({'; '.join(labels)})" for counts, labels in found.items())
    return [f"{why}, summed over test slides: {said}."] if said else []


def _older(board: Protocol) -> str:
    """Which rows do not follow the rules of the others; empty where all are of one age."""
    ages = {line.label: min(row.rules for rows in line.rows.values() for row in rows) for line in board.lines}
    newest = max(ages.values(), default=RULES)
    older = [label for label, age in ages.items() if age < newest]
    why = "Scored under older rules, not to be put beside the other rows until `stbench rescore` has scored them again"
    return f"{why}: {'; '.join(older)}." if older else ""


def _share(board: Protocol, columns: Sequence[str]) -> list[str]:
    limit = ceiling(board)
    if limit is None or PRIMARY not in columns:
        return []
    said = f"`share`: the way from the best legal control to `{limit.label}` in PCC, `-` below that control"
    return [
        f"{said}; GSC and SSC of ceilings are a replicate's, which a mean may exceed."
        if limit.method == COUNT_SPLIT
        else f"{said}."
    ]


def _rows(board: Protocol) -> list[Row]:
    return [row for line in board.lines for rows in line.rows.values() for row in rows]


def troubled(board: Protocol) -> list[tuple[str, str]]:
    """Name and mark, ``x`` failed or ``-`` refused, of runs that gave no row in any fold; not of ceilings refused."""
    have = {group.name for section in board.sections for group in section.groups if group.done}
    found: dict[str, str] = {}
    for section in board.sections:
        for group in section.groups:
            if group.name not in have:
                failed = any(record.status == "failed" for record in group.records)
                if failed or group.block != CEILINGS:
                    found[group.name] = "x" if failed or found.get(group.name) == "x" else NONE
    return sorted(found.items())


def troubles(board: Protocol) -> list[str]:
    """Reasons of the runs that were refused or failed, each once; references are refused where there are no domains."""
    said = (
        f"`{'x' if record.status == 'failed' else NONE}` {group.name}, seed {record.seed}: {record.status}: "
        f"{record.reason}"
        for section in board.sections
        for group in section.groups
        for record in group.records
        if record.status == "failed" or (record.status == "refused" and record.kind != "reference")
    )
    return list(dict.fromkeys(said))


def costs(board: Protocol) -> Table:
    """What every method cost, averaged over the seeds of a task, or over all runs of a board of several tasks."""
    number = "seeds" if len(board.sections) == 1 else "runs"
    head = ["run", "preset", "draws", number, "encoder", "fit s", "predict s", "peak MB", "GPU MB"]
    groups: dict[str, list[Group]] = {}
    for section in board.sections:
        for group in section.groups:
            groups.setdefault(group.name, []).append(group)
    return Table(head, [_cost(some) for some in groups.values()], words=(0, 1, 4))


def beside_costs(board: Protocol) -> str:
    """What runs took besides fitting and predicting; empty for records of before it was kept."""
    runs = [run for section in board.sections for group in section.groups for run in group.records]
    means = [(words, mean_text([run.seconds.get(step) for run in runs], 1)) for step, words in _BESIDE.items()]
    if not any("read" in run.seconds for run in runs):
        return ""
    said = listed(f"{mean} s {words}" for words, mean in means if mean != NONE)
    return f"Besides, on average over runs: {said}. Reading and features are of a task, whose runs share them."


def _cost(groups: Sequence[Group]) -> list[str]:
    group, runs = groups[0], [run for group in groups for run in group.records]
    return [
        group.name,
        group.first.preset if group.block == METHODS else NONE,
        str(group.first.draws),
        str(len(runs)),
        group.first.encoder,
        mean_text([run.seconds.get("fit") for run in runs], 1),
        mean_text([run.seconds.get("predict") for run in runs], 1),
        mean_text([run.peak_memory_mb for run in runs], 0),
        mean_text([run.peak_gpu_memory_mb for run in runs], 0),
    ]


def commands(records: Sequence[Record], command: str) -> list[str]:
    """The commands that repeat the table; each is said once although one run makes several records.

    A text of a record that a shell would take for more than one command of stbench is left out: people type these.
    """
    said = sorted({record.command for record in records if _is_ours(record.command)})
    return [*said, command] if command else said


def _is_ours(command: str) -> bool:
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return words[:1] == ["stbench"] and shlex.join(words) == command
