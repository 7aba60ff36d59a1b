"""The markdown page of a study, and its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from stbench.catalogue.search import Search
from stbench.grids.manifest import Series
from stbench.pages.columns import title
from stbench.pages.facts import limits
from stbench.pages.figures import COLORS, panels
from stbench.pages.markdown import bullets, code, inline, table
from stbench.pages.tables import NONE, Table
from stbench.studies.tuning.results import Results, Tuning
from stbench.studies.tuning.sampling import DRAWN_AT_RANDOM, LEAST_BEFORE_PRUNING, LEAST_FOR_IMPORTANCE
from stbench.text import count, duration, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def page(results: Results) -> str:
    """Markdown: what was tuned on what, what was chosen, what it cost, the spaces, how to repeat it."""
    manifest = results.manifest
    parts = [
        f"# {inline(f'Tuning: {manifest.cohort}, {manifest.genes[0]} genes, {manifest.asked.split}')}",
        bullets(_what(results)),
        f"![trials]({manifest.name}.png)" if any(one.best for one in results.tunings) else "",
        "## What was chosen",
        table(chosen(results)),
        bullets(_reading(results)),
        "## What it cost",
        table(_costs(results)),
        *(_method(results, series) for series in manifest.series),
        "## To repeat",
        code([manifest.command()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(results: Results) -> list[str]:
    manifest, asked = results.manifest, results.manifest.asked
    said = Counter(manifest.said.values())
    limit = "" if asked.minutes is None else f", at most {asked.minutes:g} minutes"
    lines = [
        f"outer folds: {listed(fold.name for fold in manifest.folds)}; the slides that test in one were not read: the "
        "process was given a cohort of its training and validation slides alone",
        *(f"inner folds: {text} (in {count(n, 'outer fold')})" for text, n in said.items()),
        f"every method in every outer fold: {count(asked.trials, 'trial')}{limit}, seeds {listed(asked.seeds)}, preset "
        f"{asked.preset}; the first trial is the preset's own settings",
        f"a trial is given up below the median of {LEAST_BEFORE_PRUNING} or more complete ones after as many inner "
        f"folds; settings are drawn at random until {DRAWN_AT_RANDOM} are known, then proposed by TPE",
        f"controls: {listed(one.name for one in manifest.bars)}, with the preset's settings",
    ]
    lines += [manifest.caveat] if manifest.caveat else []
    return lines + (limits(results.task) if results.task else [])


def chosen(results: Results) -> Table:
    """What was chosen for every method in every outer fold, and what that gained."""
    head = ["method", "outer fold", "objective", "best control", "default", "tuned", "bought", "trial", "settings"]
    return Table(head, [_choice(results, one) for one in results.tunings], words=(0, 1, 2, 8))


def _choice(results: Results, tuning: Tuning) -> list[str]:
    best, default = tuning.best, tuning.default
    objective = results.manifest.search[tuning.series.name].objective
    bar = results.bar(tuning)
    said = [tuning.series.name, tuning.fold.name, title(objective), NONE if bar is None else f"{bar:.4f}"]
    if best is None or best.value is None:
        return [*said, NONE, NONE, NONE, NONE, "all failed" if tuning.number("failed") else "none ended"]
    bought = NONE if default is None else f"{best.value - default:+.4f}"
    settings = listed(f"{name}={_short(text)}" for name, text in best.overrides.items()) or "the preset's own"
    return [*said, _signed(default), _signed(best.value), bought, str(best.number), settings]


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.4f}"


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _reading(results: Results) -> list[str]:
    lines = [
        "best control: its score, mean over inner folds; default, tuned: what the preset and the chosen trial gain on "
        "it, above 0 is better than every control, whether high or low values of the objective are",
        "bought is the largest of several on the slides that chose it, so it flatters: what tuning is worth on slides "
        "that nothing was chosen on stands in a board, where `(tuned)` rows stand beside the others",
    ]
    cut = [
        f"{one.series.name} in {one.fold.name} after {count(len(one.trials), 'trial')}"
        for one in results.tunings
        if one.cut
    ]
    lines += [f"ended by --minutes: {listed(cut)}"] if cut else []
    for one in results.tunings:
        reasons = Counter(trial.reason for trial in one.trials if trial.state == "failed")
        lines += [
            f"{one.series.name} in {one.fold.name}: {count(n, 'trial')} failed: {why}" for why, n in reasons.items()
        ]
    return lines


def _costs(results: Results) -> Table:
    head = ["method", "trials", "complete", "given up", "failed", "seconds", "seconds per trial"]
    return Table(head, [_cost(results.of(series), series) for series in results.manifest.series])


def _cost(tunings: Sequence[Tuning], series: Series) -> list[str]:
    n, seconds = sum(len(one.trials) for one in tunings), sum(one.seconds for one in tunings)
    states = [str(sum(one.number(state) for one in tunings)) for state in ("complete", "pruned", "failed")]
    return [series.name, str(n), *states, f"{seconds:.1f}", f"{seconds / n:.1f}" if n else NONE]


def _method(results: Results, series: Series) -> str:
    search, importance = results.manifest.search[series.name], results.importance(series)
    kept = [f"{name}={text}" for name, text in series.overrides.items()]
    lines = [f"set by hand: {listed(kept)}"] if kept else []
    lines += [] if importance else [f"importance: from {LEAST_FOR_IMPORTANCE} complete trials of a fold on"]
    return "\n\n".join(
        part for part in (f"## {series.name}", table(_space(search, importance)), bullets(lines)) if part
    )


def _space(search: Search, importance: dict[str, float]) -> Table:
    """Knobs with their ranges, and their share of what differs between trials where that is known."""
    names = sorted(search.knobs, key=lambda name: -importance.get(name, 0.0))
    rows = [
        [
            f"`{name}`",
            search.knobs[name].text,
            f"{importance[name]:.2f}" if name in importance else NONE,
            search.knobs[name].why,
        ]
        for name in names
    ]
    return Table(["knob", "range", "importance", "why"], rows, words=(0, 1, 3))


def draw(results: Results) -> Figure:
    """Trials by number, a panel per method, a colour per outer fold; lines are the best so far.

    Args:
        results: what was found.
    """
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):  # a name with two dollars is a name
        manifest = results.manifest
        names = [f"{one.name}: {title(manifest.search[one.name].objective)}" for one in manifest.series]
        figure, axes = panels(names, caption=_caption(results))
        for series, panel in zip(manifest.series, axes, strict=True):
            for place, tuning in enumerate(results.of(series)):
                _dots(panel, tuning, COLORS[place % len(COLORS)])
            panel.axhline(0, color="#7d7d7d", lw=0.8, ls=":")
            panel.locator_params(axis="x", integer=True)
            panel.set_xlabel("trial", fontsize=9)
            panel.set_ylabel("gain on the best control", fontsize=9)
            panel.tick_params(labelsize=8)
        axes[0].legend(frameon=False, fontsize=7)
        return figure


def _dots(panel: Axes, tuning: Tuning, color: str) -> None:
    done = [(trial.number, trial.value) for trial in tuning.trials if trial.value is not None]
    if not done:
        return
    numbers, values = zip(*done, strict=True)
    panel.scatter(numbers, values, s=14, color=color, zorder=3)
    panel.step(numbers, list(accumulate(values, max)), where="post", color=color, lw=1.2, label=tuning.fold.name)
    given_up = [trial.number for trial in tuning.trials if trial.state == "pruned"]
    panel.scatter(given_up, [min(values)] * len(given_up), s=14, marker="x", color=color, zorder=3)


def _caption(results: Results) -> str:
    task = results.task
    data = results.manifest.cohort if task is None else f"{task.origin.capitalize()} data: {task.dataset}"
    spent = duration(sum(one.seconds for one in results.tunings))
    return (
        f"{data}. Dots: trials on the inner folds of an outer fold; lines: best so far; crosses: given up; dotted: the "
        f"best control. {spent} in all."
    )
