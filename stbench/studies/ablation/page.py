"""The markdown page of an ablation, and the lines of its tables, reported beside measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stbench.pages.columns import decimals, title
from stbench.pages.facts import facts_of, limits, spoken
from stbench.pages.markdown import bullets, code, inline, quoted, strong, table
from stbench.pages.patients import no_interval
from stbench.pages.rows import DECLARED, SINGLE
from stbench.pages.tables import NONE, Strong, Table
from stbench.studies.ablation.manifest import Row
from stbench.studies.ablation.manifest import Table as Declared
from stbench.studies.ablation.results import Ablated, Found, Gap, Score
from stbench.studies.sweep.page import cohort_title, times_of, troubles_of
from stbench.text import count, listed

_LEAST_DECIMALS = 3  # differences are small


@dataclass(frozen=True)
class Conditions:
    """Whether reported and measured values are of one experiment.

    Args:
        text: under which conditions each was obtained.
        warning: what must be seen first; empty where they may be compared.
    """

    text: str
    warning: str = ""


def page(ablated: Ablated) -> str:
    """Markdown: what was compared, one section per table, failures, times, how to repeat it."""
    parts = [
        f"# Ablations of {inline(ablated.manifest.title)}: {inline(cohort_title(ablated.results))}",
        _what(ablated),
        *(part for found in ablated.found for part in _section(ablated, found)),
        "## How to read the tables",
        bullets(_reading(ablated)),
        *troubles_of(ablated.results.troubles),
        *times_of(ablated.results, "run"),
        "## To repeat",
        code([ablated.manifest.command()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(ablated: Ablated) -> str:
    manifest, task = ablated.manifest, ablated.results.task
    changed = " ".join(f"{key}={value}" for key, value in manifest.changed.items())
    lines = [
        f"preset: {manifest.preset}",
        f"before a row changes them, settings are: {changed or 'the defaults of the method'}",
        f"seeds: {listed(manifest.seeds)}; averaged inside a slide",
        f"{count(len(manifest.series), 'run')} per seed; rows with the same settings are one run",
    ]
    if task is None:
        return bullets(["nothing is finished yet", *lines])
    return bullets([*spoken(facts_of(task)), *lines])


def _section(ablated: Ablated, found: Found) -> list[str]:
    one, conditions = found.table, conditions_of(ablated, found)
    said = [*row_lines(found, quoted), *([one.note] if one.note else []), *signs(found, quoted)]
    return [
        f"## Table {inline(one.table)}: {inline(one.title)}",
        f"{strong(conditions.warning)} {inline(conditions.text)}" if conditions.warning else inline(conditions.text),
        table(table_of(found, found.ways)),
        bullets(said),
    ]


def conditions_of(ablated: Ablated, found: Found) -> Conditions:
    """What was reported under which conditions and what was measured under which, and whether they are the same."""
    one = found.table
    if not any(row.reported for row in one.rows):
        return Conditions("Nothing was reported for these rows.")
    there, here = _sides(ablated, one)
    by_hand = _by_hand(ablated, found)
    origin = _origin(ablated)
    source = f" ({one.source})" if one.source else ""
    if not there:
        return Conditions(f"Under which conditions the reported values{source} were obtained is not declared.")
    if there == here and not by_hand:
        return Conditions(
            f"Reported{source} and measured{origin}: {', '.join(there)}. Whether the reported split held these slides "
            "is not known."
        )
    return Conditions(
        f"Reported{source}: {', '.join(there)}. Measured{origin}: {', '.join([*here, *by_hand])}. Put signs and order "
        "of the differences beside each other, not values.",
        warning="Not the same experiment.",
    )


def _by_hand(ablated: Ablated, found: Found) -> list[str]:
    """What ``--set`` gave, but for vectors compared anyway and for what every row sets itself."""
    of_rows = [{said.partition("=")[0] for said in row.said} for row in found.table.rows if row.run is not None]
    known = {*found.table.conditions.vectors, *(set.intersection(*of_rows) if of_rows else ())}
    return [f"{key}={value} by hand" for key, value in ablated.manifest.overrides.items() if key not in known]


def _origin(ablated: Ablated) -> str:
    """`` (simulated data)`` behind what was measured on data that are not real."""
    task = ablated.results.task
    return "" if task is None or task.origin == "real" else f" ({task.origin} data)"


def _sides(ablated: Ablated, one: Declared) -> tuple[list[str], list[str]]:
    """What was declared of the reported values, and the same of the measured ones."""
    manifest, task, conditions = ablated.manifest, ablated.results.task, one.conditions
    encoder = (task.encoder if task else manifest.asked.encoder or "the cohort's").partition("/")[0]
    facts = {
        "": (conditions.dataset, manifest.cohort),
        "genes": (conditions.genes, manifest.genes[0]),
        "preset": (conditions.preset, manifest.preset),
        "encoder": (conditions.encoder, encoder),
        "split": (conditions.split, manifest.split_name),
        "scale": (conditions.scale, manifest.asked.normalization[0]),
    }
    paths = {f"file:{path}": name for name, path in manifest.vectors.items()}
    for key, name in conditions.vectors.items():
        value = str(manifest.base.get(key))
        facts[key] = (name, paths.get(value, value))
    kept = {name: pair for name, pair in facts.items() if pair[0] is not None}
    said = [[f"{name} {pair[side]}".strip() for name, pair in kept.items()] for side in (0, 1)]
    return said[0], said[1]


def row_lines(found: Found, mark: Callable[[str], str] = str) -> list[str]:
    """Every row in words: what it sets, which run it is read from, what went wrong.

    Args:
        found: the table.
        mark: put around names of runs.
    """
    first: dict[tuple[str | None, str], str] = {}
    lines = []
    for row in found.table.rows:
        same = first.setdefault((row.run, str(row.metrics)), row.label)
        again = [f"the same run as {same}"] if row.run and same != row.label else []
        lines.append("; ".join([*_in_words(row, mark), *again, *found.reasons.get(row.label, [])]))
    return lines


def _in_words(row: Row, mark: Callable[[str], str]) -> list[str]:
    """The run a row is read from, and what the run's name does not say of what the row sets."""
    if row.run is None:
        return [f"{row.label}: refused: {row.refused}"]
    more = listed(said for said in row.said if said not in row.run.split(","))
    return [f"{row.label}: run {mark(row.run)}", *([more] if more else [])]


def signs(found: Found, mark: Callable[[str], str] = str) -> list[str]:
    """How many reported differences have the same sign here; nothing where none can be compared.

    Args:
        found: the table.
        mark: put around the star of the table.
    """
    pairs = [
        (reported, gap)
        for metric in found.metrics
        for row in found.table.rows
        if (reported := found.reported_gap(row, metric)) and (gap := found.gap(row, metric)) is not None
    ]
    same, other = ([gap for reported, gap in pairs if (reported * gap.mean > 0) is alike] for alike in (True, False))
    if not pairs:
        return []
    told = [f"{sum(gap.excludes_zero for gap in gaps)} marked {mark('*')}" for gaps in (same, other)]
    return [
        f"signs of {count(len(pairs), 'reported difference')}: {len(same)} the same here ({told[0]}), "
        f"{len(other)} not ({told[1]})"
    ]


def table_of(found: Found, ways: Sequence[str]) -> Table:
    """For every metric its title, then the rows, reported beside measured.

    Args:
        found: what was measured.
        ways: ways of predicting, each with its own columns.
    """
    measured, less = {DECLARED: "measured", SINGLE: "1 draw"}, f"less {found.table.reference}"
    columns = [name for way in ways for name in (measured[way], less, "± seeds", "± patients")]
    lines: list[list[str]] = []
    for metric in found.metrics:
        lines.append([Strong(title(metric))])
        lines += [_line(found, row, metric, ways, max(decimals(metric), _LEAST_DECIMALS)) for row in found.table.rows]
    return Table(["row", "reported", less, *columns], lines)


def _line(found: Found, row: Row, metric: str, ways: Sequence[str], decimals: int) -> list[str]:
    reported, less = row.reported.get(metric), found.reported_gap(row, metric)
    line = [
        row.label,
        NONE if reported is None else f"{reported:.4f}",
        "" if row.label == found.table.reference else _signed(less, 4),
    ]
    for way in ways:
        line.append(_score(found.score(row, metric, way), decimals))
        line += _gap(found.gap(row, metric, way), decimals, blank=row.label == found.table.reference)
    return line


def _score(score: Score | None, decimals: int) -> str:
    if score is None:
        return NONE
    marks = {"±": score.over_slides, "±s": score.over_seeds}
    said = [f"{mark} {spread:.{decimals}f}" for mark, spread in marks.items() if spread is not None]
    return " ".join([f"{score.mean:.{decimals}f}", *said])


def _gap(gap: Gap | None, decimals: int, *, blank: bool) -> list[str]:
    if gap is None:
        return ["" if blank else NONE] * 3
    halves = [NONE if half is None else f"{half:.{decimals}f}" for half in (gap.over_seeds, gap.over_patients)]
    return [_signed(gap.mean, decimals) + ("*" if gap.excludes_zero else ""), *halves]


def _signed(value: float | None, decimals: int) -> str:
    return NONE if value is None else f"{value:+.{decimals}f}"


def _reading(ablated: Ablated) -> list[str]:
    manifest, task = ablated.manifest, ablated.results.task
    spread = [f"± sample SD over {count(len(manifest.test), 'test slide')}"] if len(manifest.test) > 1 else []
    spread += [f"±s over {len(manifest.seeds)} seeds (of the mean over slides)"] if len(manifest.seeds) > 1 else []
    lines = [
        f"measured: {', '.join(['mean', *spread])}; `-` not reported, undefined or not there",
        "less ...: a row less the row of reference, paired by seed and slide; a reported one is the difference of "
        "two printed values and has no uncertainty",
        *_intervals(ablated),
    ]
    if any(SINGLE in found.ways for found in ablated.found):
        draws = max(series.draws for series in manifest.series)
        lines.append(
            f"measured: the mean of {draws} draws where a variant draws; 1 draw: the mean of the scores of single "
            "draws, or of the one prediction of a variant that draws none. Averaging draws raises PCC and lowers "
            "variance; how many the reported values average is not declared."
        )
    return lines + (limits(task) if task else [])


def _intervals(ablated: Ablated) -> list[str]:
    n_seeds, task = len(ablated.manifest.seeds), ablated.results.task
    lines = []
    if n_seeds > 1:
        lines.append(
            "± seeds: half the 95 % t interval of the difference over seeds, the chance of training and sampling on "
            "these slides; `*` where it leaves out 0, not corrected for the number of rows"
        )
    else:
        lines.append("One seed: how much a difference moves by chance of training and sampling cannot be seen.")
    if task is not None and (reason := no_interval(task)):
        lines.append(f"± patients: none ({reason}); nothing is said of other patients.")
    else:
        lines.append(
            "± patients: the same over test patients, of the difference averaged over seeds and slides of each."
        )
    return lines
