"""What the page of a sweep over several folds says of scores less a control: tables, bounds, first lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from stbench.pages.columns import decimals, title
from stbench.pages.crossed import Crossed
from stbench.pages.markdown import bullets, table
from stbench.pages.patients import LEAST, holm
from stbench.pages.rows import DECLARED, SINGLE
from stbench.pages.tables import NONE, Emphasis, Table
from stbench.pages.wording import why_not
from stbench.studies.sweep.folds import largest
from stbench.studies.sweep.relative import (
    BAR,
    METRICS,
    RANDOM,
    Relative,
    Row,
    absent,
    beside,
    headline,
    steps,
    to_largest,
)
from stbench.studies.sweep.reported import Reported, reported
from stbench.studies.sweep.results import Results
from stbench.text import count, listed

_ASKED = (("pcc", BAR, DECLARED), ("gsc", RANDOM, SINGLE), ("ssc", RANDOM, SINGLE))
"""What the first lines are about: the mean against the bar, one draw against one random spot."""
_HOW = (
    "differences are taken slide by slide and seed by seed, then averaged inside a patient; the control runs with one "
    "seed",
    f"one draw is held against one draw of `{RANDOM}`, every other row against the mean of its draws",
    "± half the 95 % t interval over patients and seeds, both samples, never narrower than that over patients; "
    "[lowest, highest] patient where no interval may be given; folds share training data, for which none accounts",
    "a fall is counted positive; < in brackets: what it is below with one-sided confidence of 95 %",
)

Measure = Callable[[Relative, Row, tuple[int, int]], Crossed | None]


def verdict(results: Results) -> str:
    """In words: whether scores fall more than those of a control, and which fall is excluded."""
    pair = headline(results.manifest.genes)
    if pair is None or not results.boards:
        return "Nothing is known of a fall: it takes two panel sizes with numbers."
    asked = [(name, Relative(results, control), way) for name, control, way in _ASKED if name in results.metrics]
    return " ".join(said for metric, one, way in asked if (said := _verdict(one, metric, way, pair)))


def _verdict(one: Relative, metric: str, way: str, pair: tuple[int, int]) -> str:
    rows = [row for row in one.rows if row.way == way]
    name, when = title(metric).split()[0], f"From {pair[0]} to {pair[1]} genes"
    if not rows:
        return ""
    if not one.ran:
        return f"{when}, whether {name} falls beyond `{one.control}` cannot be said: that did not run."
    found = {row.label: fall for row in rows if (fall := one.fall(row, metric, *pair)) is not None}
    known = {label: fall for label, fall in found.items() if fall.error is not None}
    if not known:
        most = max((len(fall.per_patient) for fall in found.values()), default=0)
        few = f"{count(most, 'patient')}, at least {LEAST} are needed"
        why = few if one.legal else why_not(largest(one.results))
        return f"{when}, whether {name} falls beyond `{one.control}` cannot be said from {why}."
    return f"{when} {_told(known, name, one.control)} (95 % intervals)."


def _told(falls: dict[str, Crossed], name: str, control: str) -> str:
    """Falls that Holm's procedure tells from zero, and what is excluded of the others."""
    rejected = holm([fall.p for fall in falls.values()])
    resolved = {
        label: fall for (label, fall), is_told in zip(falls.items(), rejected, strict=True) if is_told and fall.mean > 0
    }
    said = listed(f"`{label}` by {_interval(fall)}" for label, fall in resolved.items())
    rest = listed(f"{_end(fall):.3f} (`{label}`)" for label, fall in falls.items() if label not in resolved)
    if not said:
        return f"no fall of {name} beyond that of `{control}` is resolved; one above {rest} is excluded"
    more = f"; no other such fall is resolved, and one above {rest} is excluded" if rest else ""
    return f"{name} falls beyond `{control}` in {said}{more}"


def _end(fall: Crossed) -> float:
    """The smallest fall that the interval excludes; none is left where it holds rises alone."""
    return max(0.0, fall.mean + (fall.half() or 0.0))


def _interval(fall: Crossed) -> str:
    return f"{fall.mean:.3f} ({fall.mean - (fall.half() or 0.0):.3f} to {_end(fall):.3f})"


def relative_parts(results: Results, figure: str) -> list[str]:
    """Sections of scores less a control; a control that did not run is named in place of its tables."""
    ran, metrics = beside(results), [name for name in METRICS if name in results.metrics]
    parts = [f"`{name}` has no numbers here: nothing is held against it." for name in absent(results)]
    if not ran or not metrics:
        return ["## Beyond the panel", *parts]
    drawn = f"![scores less a control against the number of genes]({figure}.png)"
    sections = [section for metric in metrics for section in _sections(ran, metric, results.manifest.genes)]
    return ["## Beyond the panel", *parts, drawn, bullets(_HOW), *sections, *_beside_papers(ran[0], metrics)]


def _sections(ran: Sequence[Relative], metric: str, genes: Sequence[int]) -> list[str]:
    name = title(metric).split()[0]
    sizes = [(size, size) for size in genes]
    parts = {f"{name} less a control": _table(ran, metric, sizes, lambda one, row, at: one.at(row, at[0], metric))}
    if len(genes) > 1:
        parts[f"{name} less a control: change per doubling of the panel"] = _table(
            ran, metric, steps(genes), lambda one, row, at: one.slope(row, metric, *at)
        )
        parts[f"{name} less a control: fall to the largest panel"] = _table(
            ran, metric, to_largest(genes), lambda one, row, at: one.fall(row, metric, *at), bounded=True
        )
    return [f"### {heading}\n\n{table(content)}" for heading, content in parts.items()]


def _table(
    ran: Sequence[Relative], metric: str, places: Sequence[tuple[int, int]], measure: Measure, *, bounded: bool = False
) -> Table:
    lines: list[list[str]] = []
    for one in ran:
        lines.append([Emphasis(f"less {one.control}")])
        for row in one.rows:
            lines.append([row.label, *(_text(measure(one, row, at), metric, bounded=bounded) for at in places)])
    return Table(["row", *(f"{a} to {b}" if a != b else str(a) for a, b in places)], lines)


def _text(found: Crossed | None, metric: str, *, bounded: bool = False) -> str:
    """``+mean ± half (< bound)``; without interval ``+mean [lowest, highest]`` patient."""
    if found is None:
        return NONE
    digits, values, half = decimals(metric), list(found.per_patient.values()), found.half()
    text = f"{found.mean:+.{digits}f}"
    if half is None:
        return f"{text} [{min(values):+.{digits}f}, {max(values):+.{digits}f}]" if len(values) > 1 else text
    return f"{text} ± {half:.{digits}f}" + (f" (< {found.bound:.{digits}f})" if bounded else "")


def _beside_papers(one: Relative, metrics: Sequence[str]) -> list[str]:
    """Falls between the two sizes of the first lines, beside what papers report of the method between them."""
    pair = headline(one.results.manifest.genes)
    if pair is None:
        return []
    found = {(row, metric): reported(row.method, metric, *pair) for row in one.rows for metric in metrics}
    if not any(found.values()):
        return []
    itself, lines = Relative(one.results), []
    for (row, metric), said in found.items():
        falls = [_text(which.fall(row, metric, *pair), metric, bounded=which is one) for which in (itself, one)]
        lines.append([row.label, title(metric).split()[0], *falls, _reported(said, metric)])
    head = ["row", "metric", "fall of the score", f"fall of the score less {one.control}", "reported"]
    content = table(Table(head, lines, words=(0, 1)))
    return [
        f"### From {pair[0]} to {pair[1]} genes, beside what is reported",
        content,
        bullets(_sources(found.values())),
    ]


def _reported(said: Reported | None, metric: str) -> str:
    digits = decimals(metric)
    return NONE if said is None else f"{said.fall:+.{digits}f} ({said.small:.{digits}f} to {said.large:.{digits}f})"


def _sources(found: Iterable[Reported | None]) -> list[str]:
    said = dict.fromkeys((one.paper, one.table, one.dataset) for one in found if one is not None)
    return [
        f"reported: {paper}, Table {number}, {dataset}: another cohort and training, the score itself, no control at "
        "these sizes; methods go by their names, under whatever settings"
        for paper, number, dataset in said
    ]
