"""What a leaderboard says around its table: what was compared, what the marks mean, what a number is not."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.evaluation.record import Record, TaskFacts
from stbench.evaluation.summaries import mean_of
from stbench.pages.comparison import MIN_SLIDES, Unit
from stbench.pages.rows import Group, Row

_ORIGINS = {
    "simulated": "Simulated data: the numbers say nothing about tissue.",
    "semi-synthetic": (
        "Semi-synthetic data: the counts are real, the features are made from the counts of their own spot and noise. "
        "The numbers say how well a method reads what is there, nothing about what an H&E picture shows; they are not "
        "to be put beside numbers from pictures. `best-from-own-spot` bounds predictors that are linear in what the "
        "features say; one that combines genes or spots otherwise, or knows other sections of the patient, may pass it."
    ),
}
_LOCAL_ENCODERS = ("handcrafted", "mean-rgb")


def heading(task: TaskFacts) -> str:
    """Title of a section, with ``L`` where test slides share a patient with training."""
    kind = "" if task.origin in ("real", task.dataset) else f" ({task.origin})"
    return f"## {task.dataset}{kind}, {task.protocol}, {task.n_genes} genes{' `L`' if task.leak_fraction else ''}"


def head(task: TaskFacts, records: Sequence[Record]) -> str:
    """What was predicted from what."""
    seeds = sorted({record.seed for record in records})
    lines = [
        f"task: `{task.hash[:16]}`; only rows of one task may be compared",
        f"scale: {task.normalization}",
        f"panel: {task.n_genes} genes, chosen on the training slides",
        *([f"{task.origin} data: {task.about}"] if task.about else []),
        f"encoder: {task.encoder}; patch: {task.patch}",
        *(f"{part}: {_slides(task, ids)}" for part, ids in _parts(task).items()),
        f"patients: {_leak(task)}",
        f"seeds: {', '.join(str(seed) for seed in seeds)}" + ("; averaged inside a slide" if len(seeds) > 1 else ""),
    ]
    if task.left_out:
        reasons = sorted(set(task.left_out.values()))
        lines.append(
            f"left out: {_count(len(task.left_out), 'slide')} ({'; '.join(reasons[:3])}{' ...' if reasons[3:] else ''})"
        )
    return "\n".join(f"- {line}" for line in lines)


def _parts(task: TaskFacts) -> dict[str, list[str]]:
    return {"train": task.train, "validation": task.validation, "test": task.test}


def _slides(task: TaskFacts, ids: list[str]) -> str:
    patients = {task.patients.get(slide) for slide in ids}
    said = "patients unknown" if None in patients else _count(len(patients), "patient")
    spots = sum(task.n_spots.get(slide, 0) for slide in ids)
    return f"{_count(len(ids), 'slide')}, {said}, {spots} spots: {', '.join(ids)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _leak(task: TaskFacts) -> str:
    if task.leak_fraction is None:
        return "patients unknown: whether test patients are in training cannot be said"
    if task.leak_fraction == 0:
        return "no test slide shares a patient with training"
    return (
        f"`L` {task.leak_fraction:.0%} of test slides share a patient with training: the numbers say how well known "
        "patients are filled in, not how well new ones are predicted"
    )


def notes(task: TaskFacts, rows: Sequence[Row], columns: Sequence[str], unit: Unit) -> str:
    """What the figures and marks mean."""
    lines = [_spread(task, rows), _draws(rows), _bold(task, unit), *_left_out(rows, columns)]
    if any(not row.ranked for row in rows):
        lines.append("`[ ]` and ceilings see the truth and are never ranked; a ceiling bounds MSE and PCC alone.")
    if any(cell.mean is None for row in rows for name, cell in row.cells.items() if name in columns):
        lines.append("`-` undefined on every test slide, as a correlation with a constant prediction is.")
    if "crps" in columns:
        lines.append("CRPS of a row without several draws is its mean absolute error.")
    return "\n".join(f"- {line}" for line in [*lines, *limits(task)] if line)


def limits(task: TaskFacts) -> list[str]:
    """What numbers on a task are not, whichever method they are of."""
    lines = [_ORIGINS[task.origin]] if task.origin in _ORIGINS else []
    if task.encoder.startswith(_LOCAL_ENCODERS):
        lines.append("Not comparable with numbers printed in papers: other encoder, panel and split.")
    return lines


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
    labels: dict[int, list[str]] = {}
    for row in rows:
        if row.n_draws:
            name = row.label.strip("[]").rpartition(", ")[0]
            labels.setdefault(row.n_draws, []).append(name)
    if not labels:
        return ""
    counts = [f"{n} ({', '.join(dict.fromkeys(names))})" for n, names in sorted(labels.items())]
    said = f"Draws of every slide, from one fit: {'; '.join(counts)}. `1 draw`: the mean of the scores of single draws."
    return said + (" `mean of M`: the score of the mean of the M draws." if max(labels) > 1 else "")


def _bold(task: TaskFacts, unit: Unit) -> str:
    if not unit.enough:
        return f"Nothing is bold: {_count(len(task.test), 'test slide')}, at least {MIN_SLIDES} are needed to compare."
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


def troubles(groups: Sequence[Group]) -> str:
    """Reasons of the runs that were refused or failed; empty when there are none."""
    lines = []
    for group in groups:
        for record in group.records:
            if record.status != "done":
                mark = "x" if record.status == "failed" else "-"
                lines.append(f"- `{mark}` {group.name}, seed {record.seed}: {record.status}: {record.reason}")
    return "\n".join(lines)


_COLUMNS = ("run", "preset", "draws", "seeds", "encoder", "fit s", "predict s", "peak MB", "GPU MB")


def runs(groups: Sequence[Group]) -> str:
    """Cost of every method, averaged over seeds, and on what it was measured."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "| --- | --- |" + " ---: |" * 2 + " --- |" + " ---: |" * 4]
    for group in groups:
        record = group.first
        cost = [
            _figure([run.seconds.get("fit") for run in group.records], 1),
            _figure([run.seconds.get("predict") for run in group.records], 1),
            _figure([run.peak_memory_mb for run in group.records], 0),
            _figure([run.peak_gpu_memory_mb for run in group.records], 0),
        ]
        preset = "-" if record.kind in ("control", "oracle", "ceiling") else record.preset
        cells = [group.name, preset, str(record.draws), str(len(group.records)), record.encoder, *cost]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    records = [record for group in groups for record in group.records]
    machines = sorted({_said(record.hardware) for record in records if record.hardware})
    versions = sorted({_said(record.versions) for record in records if record.versions})
    lines += ["", *(f"- measured on: {said}" for said in machines), *(f"- versions: {said}" for said in versions)]
    return "\n".join(lines).rstrip()


def _figure(values: Sequence[float | None], decimals: int) -> str:
    mean = mean_of(values)
    return "-" if mean is None else f"{mean:.{decimals}f}"


def _said(facts: dict[str, object] | dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def commands(records: Sequence[Record], command: str) -> str:
    """The commands that repeat the table; each is said once although one run makes several records."""
    said = sorted({record.command for record in records if record.command})
    said += [command] if command else []
    return "\n".join(["To repeat:", "", "```", *said, "```"]) if said else ""
