"""What the settings behind a row were chosen on: by hand for a preset, as its card says, or in a study of its own."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.catalogue import dataset_cards, method_cards
from stbench.evaluation.record import Record
from stbench.pages.protocol import Line
from stbench.text import count, few, listed


def chosen_on(record: Record) -> list[str]:
    """Patients of test slides that the settings of a run were chosen on: its preset's, and a study's.

    Every slide of a patient is of one block, and so are the slides of cohorts that are made from one another.
    """
    test = {slide: record.task.patients.get(slide) for slide in record.task.test}
    looked_at = _of_preset(record) | _of_study(record)
    return sorted({patient for patient in test.values() if patient is not None and patient in looked_at})


def _of_preset(record: Record) -> set[str]:
    """Patients as the task calls them: those of another cohort that tests bear its name, unless a card knows both."""
    task, said = record.task, record.preset_saw
    if said is None:  # of before records said it
        card = method_cards().get(record.method)
        said = {} if card is None or card.entry != record.entry else card.tuned.get(record.preset, {})
    cohort = task.test_dataset or task.dataset
    patients = {one for name, some in said.items() if _meets(name, cohort, record) for one in some}
    return patients | ({f"{cohort}-{patient}" for patient in patients} if task.test_dataset else set())


def _meets(said: str, cohort: str, record: Record) -> bool:
    """Whether patients of a cohort on a card are those of a record's: another seed makes others."""
    name, *settings = said.split()
    made = [] if record.task.secret else record.request.get("simulate", [])
    return _root(name) == _root(cohort) and {*settings} <= {*made}


def _root(cohort: str) -> str:
    """What a cohort is made from in the end; itself where it is made from none."""
    card = dataset_cards().get(cohort)
    return cohort if card is None or card.made_from is None else _root(card.made_from)


def _of_study(record: Record) -> set[str]:
    slides = [] if record.tuned is None else record.tuned.slides
    return {patient for slide in slides if (patient := record.task.patients.get(slide)) is not None}


def tuning(lines: Sequence[Line], mark: str) -> list[str]:
    """Which rows were tuned on which patients; how the settings of tuned rows were found, and what that never saw.

    Args:
        lines: rows of a board.
        mark: of those that were tuned on a patient that tests.
    """
    found: dict[str, list[str]] = {}
    for line in lines:
        if patients := {patient for record in line.records for patient in chosen_on(record)}:
            found.setdefault(listed(sorted(patients)), []).append(line.method)
    tuned = [record for line in lines for record in line.records if record.tuned is not None]
    said = [f"`{mark}` {who}: {listed(dict.fromkeys(methods))}." for who, methods in found.items()]
    return [*said, *(_studies(tuned) if tuned else [])]


def _studies(tuned: Sequence[Record]) -> list[str]:
    return [f"`(tuned)`: settings chosen in every fold by `stbench tune`: {'; '.join(_found(tuned))}.", *_apart(tuned)]


def _found(records: Sequence[Record]) -> list[str]:
    """Method by method: trials, objective, study, and in how many folds the preset's own settings were the best."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.method, []).append(record)
    return [f"{method} {_study(some)}" for method, some in by_method.items()]


def _study(records: Sequence[Record]) -> str:
    found = [record.tuned for record in records if record.tuned is not None]
    trials = listed(sorted({one.trials for one in found}), " or ")
    said = f"{trials} trials by {listed(dict.fromkeys(one.objective for one in found))}"
    kept = len({record.task.hash for record in records if record.tuned is not None and record.tuned.trial == 0})
    own = f", the preset's own in {count(kept, 'fold')}" if kept else ""
    return f"({said}{own}; study {listed(dict.fromkeys(one.study[:8] for one in found))})"


def _apart(records: Sequence[Record]) -> list[str]:
    met = {record.method: _of_study(record) & _patients(record) for record in records}
    seen = {method: patients for method, patients in met.items() if patients}
    if seen:
        said = listed(f"{method} ({few(sorted(patients))})" for method, patients in seen.items())
        return [f"Inner folds held slides of patients that test: {said}."]
    if any(None in record.task.patients.values() for record in records):
        return ["No test slide is among those of the inner folds; whether its patient is, unknown ones do not say."]
    return [
        "That no test slide had a part in it: the study was given the training and validation slides of a fold alone, "
        "each record names the slides of its inner folds, and none is of a patient that tests there."
    ]


def _patients(record: Record) -> set[str]:
    return {patient for slide in record.task.test if (patient := record.task.patients.get(slide)) is not None}
