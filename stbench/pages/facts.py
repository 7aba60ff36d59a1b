"""What is said of a task and its runs, as named facts from which each page picks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stbench.evaluation.record import Record, TaskFacts
from stbench.text import count, listed

_MOST_REASONS = 3
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


def title_of(task: TaskFacts, *more: str, leaky: bool | None = None) -> str:
    """``her2st (origin), more`` with ``L`` where a test patient trains or validates; in that task unless it is said."""
    origin = "" if task.origin in ("real", task.dataset) else f" ({task.origin})"
    marked = bool(leaking(task)) if leaky is None else leaky
    return f"{listed([task.dataset + origin, *more])}{' `L`' if marked else ''}"


def leaking(task: TaskFacts) -> list[str]:
    """Test slides whose patient trains or validates."""
    known = {task.patients.get(slide) for slide in [*task.train, *task.validation]}
    return [slide for slide in task.test if (patient := task.patients.get(slide)) is not None and patient in known]


def facts_of(task: TaskFacts, seeds: Sequence[int] = ()) -> dict[str, str]:
    """What was predicted from what, name to text.

    Args:
        task: the task.
        seeds: seeds of the runs, ascending; nothing is said of them when empty.

    Returns:
        Facts in the order of a page: ``task``, ``scale``, ``panel``, ``<origin> data``, ``encoder``, ``train``,
        ``validation``, ``test``, ``patients``, ``seeds``, ``left out``; only those that there are.
    """
    parts = {"train": task.train, "validation": task.validation, "test": task.test}
    said = {
        "task": f"`{task.hash[:16]}`; only rows of one task may be compared",
        "scale": task.normalization,
        "panel": f"{task.n_genes} genes, chosen on the training slides{_lacking(task)}",
        f"{task.origin} data": task.about,
        "encoder": f"{task.encoder}; patch: {task.patch}",
        **{part: _slides(task, ids) for part, ids in parts.items()},
        "patients": _leak(task),
        "seeds": listed(seeds) + ("; averaged inside a slide" if len(seeds) > 1 else ""),
        "left out": _left_out(task),
    }
    return {name: text for name, text in said.items() if text}


def measured_on(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Machines and versions of runs as (name, text), each said once."""
    runs = list(records)
    machines = sorted({_listed(record.hardware) for record in runs if record.hardware})
    versions = sorted({_listed(record.versions) for record in runs if record.versions})
    return [*(("measured on", text) for text in machines), *(("versions", text) for text in versions)]


def spoken(facts: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[str]:
    """``name: text`` of every fact."""
    pairs = facts.items() if isinstance(facts, Mapping) else facts
    return [f"{name}: {text}" for name, text in pairs]


def limits(task: TaskFacts) -> list[str]:
    """What numbers on a task are not, whichever method they are of."""
    lines = [_ORIGINS[task.origin]] if task.origin in _ORIGINS else []
    if task.encoder.startswith(_LOCAL_ENCODERS):
        lines.append("Not comparable with numbers printed in papers: other encoder, panel and split.")
    return lines


def _lacking(task: TaskFacts) -> str:
    if not task.test_dataset:
        return ""
    n, all_ = len(task.lacking), task.n_genes + len(task.lacking)
    return f"; {n} of {all_} left out, which {task.test_dataset} does not name"


def _slides(task: TaskFacts, ids: list[str]) -> str:
    if not ids:
        return "none, its slides train"
    patients = {task.patients.get(slide) for slide in ids}
    said = "patients unknown" if None in patients else count(len(patients), "patient")
    spots = sum(task.n_spots.get(slide, 0) for slide in ids)
    return f"{count(len(ids), 'slide')}, {said}, {spots} spots: {listed(ids)}"


def _leak(task: TaskFacts) -> str:
    if any(task.patients.get(slide) is None for slide in task.test):
        return "unknown: whether test patients train or validate cannot be said"
    if not (shared := leaking(task)):
        return "no test slide shares a patient with training or validation"
    return (
        f"`L` {len(shared) / len(task.test):.0%} of test slides share a patient with training or validation: the "
        "numbers say how well known patients are filled in, not how well new ones are predicted"
    )


def _left_out(task: TaskFacts) -> str:
    if not task.left_out:
        return ""
    reasons = sorted(set(task.left_out.values()))
    more = " ..." if len(reasons) > _MOST_REASONS else ""
    return f"{count(len(task.left_out), 'slide')} ({'; '.join(reasons[:_MOST_REASONS])}{more})"


def _listed(facts: Mapping[str, object]) -> str:
    return listed(f"{name} {value}" for name, value in facts.items() if value is not None)
