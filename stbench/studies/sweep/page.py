"""The markdown page of a sweep, and the words below its figure."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.evaluation.record import Record
from stbench.grids.cells import named
from stbench.grids.manifest import Series
from stbench.pages.columns import decimals, title
from stbench.pages.facts import facts_of, leaking, limits, measured_on, spoken, title_of
from stbench.pages.markdown import bullets, code, inline, table
from stbench.pages.patients import no_interval
from stbench.pages.rows import Row, mean_text, standing
from stbench.pages.tables import NONE, Emphasis, Table
from stbench.studies.sweep import folds
from stbench.studies.sweep.relative_page import relative_parts, verdict
from stbench.studies.sweep.results import Results, Trouble, cell_of, over_seeds
from stbench.text import count, listed

LESS = "-less"
"""Ends the name of the figure of scores less a control."""
_PER_CELL = ("task", "panel", "protocol", "seeds")  # facts that differ between panel sizes


def page(results: Results) -> str:
    """Markdown: what was compared, figure, tables, failures, times, how to repeat it."""
    parts = [
        f"# Panel size: {inline(cohort_title(results))}",
        inline(verdict(results)) if results.folded else "",
        _what(results),
        f"![scores against the number of genes]({results.manifest.name}.png)" if results.metrics else "",
        inline(caption(results)) if results.metrics else "",
        *(_metric(results, metric) for metric in results.metrics),
        *(relative_parts(results, f"{results.manifest.name}{LESS}") if results.folded and results.metrics else []),
        "## What these numbers are not",
        bullets(_limits(results)),
        *troubles_of(results.troubles),
        *times_of(results),
        "## To repeat",
        code([results.manifest.command()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def cohort_title(results: Results) -> str:
    """``her2st, patient `L` ``, with the origin of generated data."""
    task, manifest = results.task, results.manifest
    if task is not None and results.folded:
        return folds.title(results)
    return f"{manifest.cohort}, {manifest.asked.split}" if task is None else title_of(task, task.protocol)


def caption(results: Results) -> str:
    """What the reader of the figure must know, and its legend does not say."""
    manifest, task = results.manifest, results.task
    data = manifest.cohort
    if task is not None:
        data = f"{task.origin.capitalize()} data" + (f": {task.dataset}" if task.dataset != task.origin else "")
    leak = ", of patients that train or validate" if any(leaking(one) for one in results.tasks) else ""
    slides, seeds = len(manifest.test), len(manifest.seeds)
    tested = folds.tested(results) if results.folded and task is not None else count(slides, "test slide")
    said = [f"{data}; {tested}{leak}; {count(seeds, 'seed')}; preset {manifest.preset}."]
    said += [_bands(results)] if results.folded else _of_slides(slides, seeds)
    draws = sorted({series.draws for series in results.asked if series.draws > 1})
    if draws:
        said.append(f"Solid: the declared prediction, mean of {' or '.join(map(str, draws))} draws; dashed: one draw.")
    return " ".join(said)


def relative_caption(results: Results) -> str:
    """The same for the figure of scores less a control."""
    first = caption(results).partition(". ")[0]
    zero = "Zero: the control on the same panel and fold; a falling line is a fall beyond the control's."
    return f"{first}. {zero} Band: {results.band.replace('patients', 'patients and seeds')}."


def _of_slides(slides: int, seeds: int) -> list[str]:
    said = ["Dark band: SD over seeds of the mean over slides."] if seeds > 1 else ["One seed, so no band over seeds."]
    light = f"Light band: SD over slides{' of the mean over seeds' if seeds > 1 else ''}."
    return [*said, light if slides > 1 else "One test slide, so no band over slides."]


def _bands(results: Results) -> str:
    dark = "Dark band: SD over seeds of the mean over slides. " if len(results.manifest.seeds) > 1 else ""
    return f"{dark}Light band: {results.band}."


def _what(results: Results) -> str:
    manifest, task = results.manifest, results.task
    lines = [
        f"panels: {listed(manifest.genes)} genes, chosen on the training slides; each holds the smaller ones",
        f"seeds: {listed(manifest.seeds)}; averaged inside a slide; controls with seed {manifest.control_seed} alone",
        f"preset: {manifest.preset}",
        *(_series(series) for series in results.asked),
    ]
    if task is None:
        return bullets(["nothing is finished yet", *lines])
    known = folds.facts(results) if results.folded else facts_of(task)
    facts = {name: text for name, text in known.items() if name not in _PER_CELL}
    return bullets([*spoken(facts), *lines])


def _series(series: Series) -> str:
    said = [f"{key}={value}" for key, value in series.overrides.items()]
    draws = [f"mean of {series.draws} draws"] if series.draws > 1 else []
    name = f"{series.name}: {series.method}" if series.variant else series.name
    return f"curve {', '.join([name, *said, *draws])}"


def _metric(results: Results, metric: str) -> str:
    content = Table(["row", *map(str, results.manifest.genes)], _rows(results, metric))
    return f"## {title(metric)}\n\n{table(content)}\n\n{bullets([_reading(results)])}"


def _reading(results: Results) -> str:
    if results.folded:
        return folds.reading(results)
    said = ["mean"]
    said += [f"± sample SD over {len(results.manifest.test)} test slides"] if len(results.manifest.test) > 1 else []
    said += ["±s over seeds (of the mean over slides)"] if len(results.manifest.seeds) > 1 else []
    said += ["±d over draws"] if any(series.draws > 1 for series in results.manifest.series) else []
    return f"{', '.join(said)}; `n=` seeds where fewer than asked for finished; `-` undefined or not there"


def _rows(results: Results, metric: str) -> list[list[str]]:
    """Methods, controls, ceilings; a row per way of predicting."""
    blocks = {
        "methods": [series.name for series in results.asked],
        "controls": [series.name for series in results.controls],
        "ceilings": results.ceilings,
    }
    lines: list[list[str]] = []
    for block, names in blocks.items():
        lines += [[Emphasis(block)]] if names else []
        for name in names:
            lines += _rows_of(results, name, metric)
    return lines


def _rows_of(results: Results, name: str, metric: str) -> list[list[str]]:
    cells: dict[str, dict[int, str]] = {}
    for genes in results.manifest.genes:
        for label, text in _cells(results, name, genes, metric).items():
            cells.setdefault(label, {})[genes] = text
    found = cells or {name: {}}
    return [[label, *(here.get(genes, NONE) for genes in results.manifest.genes)] for label, here in found.items()]


def _cells(results: Results, name: str, genes: int, metric: str) -> dict[str, str]:
    if results.folded:
        return folds.cells(results, name, genes, metric)
    return {row.label: _cell(results, name, genes, row, metric) for row in results.rows(name, genes)}


def _cell(results: Results, name: str, genes: int, row: Row, metric: str) -> str:
    cell, group = cell_of(row, metric), results.group(name, genes)
    if cell is None or group is None:
        return NONE
    marks = {"±": cell.std_slides, "±s": over_seeds(group, metric, row.way), "±d": cell.std_draws}
    said = [f"{cell.mean:.{decimals(metric)}f}"]
    said += [f"{mark} {spread:.{decimals(metric)}f}" for mark, spread in marks.items() if spread is not None]
    asked = any(series.name == name for series in results.asked)
    fewer = asked and len(group.done) < len(results.manifest.seeds)
    return " ".join([*said, f"n={len(group.done)}"] if fewer else said)


def _limits(results: Results) -> list[str]:
    manifest, task = results.manifest, results.task
    lines = [
        "Each panel size is a task of its own. A panel holds the most expressed and most variable genes, so a larger "
        "one has weaker genes on average: every score moves with G even for a method that treats each gene alone. "
        "Compare a curve with the controls at the same G, not with itself at another G.",
        f"All cells share the preset `{manifest.preset}`, whatever the panel: a curve that falls can show too short a "
        "training as well as a limit of the method.",
    ]
    if len(manifest.seeds) == 1:
        lines.append("One seed: how much a curve moves by chance of training and sampling cannot be seen.")
    if task is None:
        return lines
    if reason := no_interval(*results.tasks):
        lines.append(f"{reason[0].upper()}{reason[1:]}: no difference between methods can be called reliable.")
    elif results.folded:
        lines.append("Bands are of one curve each: two curves are told apart by their paired difference alone.")
    else:
        lines.append("Bands are standard deviations, no intervals: curves whose bands part need not differ reliably.")
    if any(leaking(one) for one in results.tasks):
        lines.append(
            "Test slides share patients with training or validation: nothing here says how new patients are predicted."
        )
    if results.ceilings or not all(standing(series.kind).ranked for series in manifest.series):
        lines.append("`[ ]` and ceilings see the truth; a ceiling bounds MSE and PCC alone.")
    return lines + limits(task)


def troubles_of(troubles: Sequence[Trouble]) -> list[str]:
    """Cells without numbers, those with one reason together."""
    if not troubles:
        return []
    together: dict[tuple[str, str], list[str]] = {}
    for trouble in troubles:
        together.setdefault((trouble.status, trouble.reason), []).append(trouble.folder)
    lines = [f"{status}: {reason} ({named(folders)})" for (status, reason), folders in together.items()]
    return ["## Cells without numbers", bullets(lines)]


def times_of(results: Results, what: str = "curve") -> list[str]:
    """Wall time and memory of a cell, averaged over seeds, and on what it was measured; ``what`` its rows are."""
    names = [series.name for series in results.asked]
    records = [
        record
        for name in names
        for genes in results.manifest.genes
        for record in results.records.get((name, genes), [])
    ]
    if not records:
        return []
    head = [what, *(str(genes) for genes in results.manifest.genes)]
    lines = [
        [name, *(_time(results.records.get((name, genes), [])) for genes in results.manifest.genes)] for name in names
    ]
    return [
        "## Seconds of fitting + predicting, peak MB of the process",
        table(Table(head, lines)),
        bullets(spoken(measured_on(records))),
    ]


def _time(records: Sequence[Record]) -> str:
    if not records:
        return NONE
    fit, predict = (mean_text([record.seconds.get(step) for record in records], 1) for step in ("fit", "predict"))
    memory = mean_text([record.peak_memory_mb for record in records], 0)
    gpu = mean_text([record.peak_gpu_memory_mb for record in records], 0)
    return f"{fit} + {predict} s, {memory} MB{'' if gpu == NONE else f', GPU {gpu} MB'}"
