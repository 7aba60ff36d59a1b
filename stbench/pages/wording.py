"""What a leaderboard says around its table: what was compared, what the marks mean, what a number is not."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.evaluation.record import PRIMARY, Record, TaskFacts
from stbench.metrics.score import RULES
from stbench.pages.comparison import MIN_SLIDES, Unit
from stbench.pages.facts import limits
from stbench.pages.rows import METHODS, Group, Row, mean_text
from stbench.pages.tables import NONE, Table
from stbench.text import count


def notes(task: TaskFacts, rows: Sequence[Row], columns: Sequence[str], unit: Unit) -> list[str]:
    """What the figures and marks mean, and what the numbers are not."""
    lines = [
        _spread(task, rows),
        _draws(rows),
        _bold(task, unit),
        *_left_out(rows, columns),
        _constant(rows),
        _older(rows),
    ]
    if any(not row.ranked for row in rows):
        lines.append("`[ ]` and ceilings see the truth and are never ranked; a ceiling bounds MSE and PCC alone.")
    if any(cell.mean is None for row in rows for name, cell in row.cells.items() if name in columns):
        lines.append(_undefined(rows))
    if "crps" in columns:
        lines += _crps(rows)
    return [line for line in [*lines, *limits(task)] if line]


def _spread(task: TaskFacts, rows: Sequence[Row]) -> str:
    said = (
        "One test slide: no spread over slides."
        if len(task.test) == 1
        else f"Mean ± sample standard deviation over {len(task.test)} test slides, not a standard error."
    )
    if any(cell.std_draws is not None for row in rows for cell in row.cells.values()):
        said += " In brackets, ± sample standard deviation over draws of a draw's mean over slides (paper, Table 9)."
    return said


def _draws(rows: Sequence[Row]) -> str:
    """How many draws there are and how they were combined; empty where nothing was drawn."""
    drawn: dict[int, list[str]] = {}
    for row in rows:
        if row.n_draws:
            drawn.setdefault(row.n_draws, []).append(row.name)
    if not drawn:
        return ""
    counts = [f"{n} ({', '.join(dict.fromkeys(names))})" for n, names in sorted(drawn.items())]
    said = f"Draws of every slide, from one fit: {'; '.join(counts)}. `1 draw`: the mean of the scores of single draws."
    return said + (" `mean of M`: the score of the mean of the M draws." if max(drawn) > 1 else "")


def _bold(task: TaskFacts, unit: Unit) -> str:
    if not unit.enough:
        return f"Nothing is bold: {count(len(task.test), 'test slide')}, at least {MIN_SLIDES} are needed to compare."
    n_units = len(set(unit.of_slide.values()))
    said = (
        f"Bold: better than every other ranked row by more than the 95 % t interval of the paired difference over "
        f"{n_units} {unit.name}s."
    )
    caveat = " Slides of one patient are alike: bold speaks of these slides, not of other patients."
    return said + (caveat if unit.name == "slide" else "")


def _left_out(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    counts: dict[str, list[str]] = {}
    for row in rows:
        said = [
            f"{name} {row.cells[name].n_undefined}"
            for name in columns
            if name in row.cells and row.cells[name].n_undefined
        ]
        if said:
            counts.setdefault(", ".join(said), []).append(row.label)
    why = "Genes left out as constant (or, in partial PCC, a line in depth), summed over test slides"
    return [f"{why}: {said} ({'; '.join(labels)})." for said, labels in counts.items()]


def _constant(rows: Sequence[Row]) -> str:
    """How many genes which rows leave constant; empty where none."""
    labels: dict[int, list[str]] = {}
    for row in rows:
        if PRIMARY in row.cells and row.cells[PRIMARY].n_constant:
            labels.setdefault(row.cells[PRIMARY].n_constant, []).append(row.label)
    said = "; ".join(f"{n} ({'; '.join(names)})" for n, names in labels.items())
    why = (
        "Genes predicted constant though the truth varies (0 in PCC, left out of GSC and SSC), summed over test slides"
    )
    return f"{why}: {said}." if said else ""


def _undefined(rows: Sequence[Row]) -> str:
    if any(row.rules < RULES for row in rows):
        return "`-` undefined on every test slide, as a correlation with a constant prediction is."
    return "`-` undefined on every test slide, as GSC and SSC of a constant prediction and CRPS of one draw are."


def _crps(rows: Sequence[Row]) -> list[str]:
    lines = []
    if any(row.rules < RULES for row in rows):
        lines.append("CRPS of a row without several draws is its mean absolute error.")
    if any("crps" in row.cells and row.cells["crps"].dressed for row in rows):
        lines.append(
            "CRPS of a point prediction is that of a normal law around it, per gene with the standard deviation of its "
            "residuals on the validation slides."
        )
    return lines


def _older(rows: Sequence[Row]) -> str:
    """Which rows do not follow the rules of the others; empty where all are of one age."""
    newest = max((row.rules for row in rows), default=RULES)
    older = [row.label for row in rows if row.rules < newest]
    why = "Scored under older rules, not to be put beside the other rows until `stbench rescore` has scored them again"
    return f"{why}: {'; '.join(older)}." if older else ""


def troubles(groups: Sequence[Group]) -> list[str]:
    """Reasons of the runs that were refused or failed."""
    return [
        f"`{'x' if record.status == 'failed' else '-'}` {group.name}, seed {record.seed}: {record.status}: "
        f"{record.reason}"
        for group in groups
        for record in group.records
        if record.status != "done"
    ]


def costs(groups: Sequence[Group]) -> Table:
    """What every method cost, averaged over seeds."""
    head = ["run", "preset", "draws", "seeds", "encoder", "fit s", "predict s", "peak MB", "GPU MB"]
    return Table(head, [_cost(group) for group in groups], words=(0, 1, 4))


def _cost(group: Group) -> list[str]:
    first, runs = group.first, group.records
    return [
        group.name,
        first.preset if group.block == METHODS else NONE,
        str(first.draws),
        str(len(runs)),
        first.encoder,
        mean_text([run.seconds.get("fit") for run in runs], 1),
        mean_text([run.seconds.get("predict") for run in runs], 1),
        mean_text([run.peak_memory_mb for run in runs], 0),
        mean_text([run.peak_gpu_memory_mb for run in runs], 0),
    ]


def commands(records: Sequence[Record], command: str) -> list[str]:
    """The commands that repeat the table; each is said once although one run makes several records."""
    said = sorted({record.command for record in records if record.command})
    return [*said, command] if command else said
