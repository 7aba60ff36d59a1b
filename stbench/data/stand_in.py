"""A simulated cohort under the names of a real one's slides, on which commands for that cohort can be rehearsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from stbench.catalogue import DatasetCard
from stbench.data.cohort import SIMULATED, Cohort
from stbench.data.readers.layout import Entry
from stbench.data.slide import Slide, SlideRef
from stbench.errors import SettingError
from stbench.text import count


def stand_in_for(card: DatasetCard, cohort: Cohort) -> Cohort:
    """The slides of a simulated cohort under ids and patients of a card; they stay marked as simulated.

    The ids are those of the first slide of every patient, then of the second, and so on.

    Raises:
        SettingError: the cohort was measured, or has more slides than the card.
    """
    if cohort.layout != SIMULATED:
        raise SettingError(f"--as {card.name}: expected the cohort simulated, found {cohort.name}; leave --as out")
    if len(cohort.ids) > len(card.slides):
        raise SettingError(
            f"--as {card.name}: expected at most the card's {count(len(card.slides), 'slide')}, found "
            f"{len(cohort.ids)}; give --simulate n_patients={len(card.slides)} --simulate sections_per_patient=1"
        )
    entries: dict[str, tuple[str, Entry]] = {
        entry.id: (slide, entry) for slide, entry in zip(cohort.ids, _in_turn(card.slides), strict=False)
    }

    def read(slide_id: str) -> Slide:
        slide, entry = entries[slide_id]
        return replace(cohort.load(slide), id=slide_id, patient=entry.patient)

    refs = tuple(SlideRef(name, entry.patient) for name, (_, entry) in entries.items())
    return replace(cohort, refs=refs, reader=read)


def _in_turn(entries: Sequence[Entry]) -> list[Entry]:
    """One slide of every patient after the other."""
    seen: Counter[str] = Counter()
    turns = []
    for entry in entries:
        turns.append(seen[entry.patient])
        seen[entry.patient] += 1
    return [entry for _, entry in sorted(zip(turns, entries, strict=True), key=lambda pair: pair[0])]
