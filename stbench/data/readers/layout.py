"""What the readers of all layouts share: how a layout is recognised, and which slides of a folder can be used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stbench.data.cohort import Cohort
from stbench.data.slide import Slide, SlideRef
from stbench.text import misnamed

_NOTHING = {"nan", "none", "na", "n/a", "#n/a", "<na>", "nat", "null", "nil", "unknown", "undefined", "missing"}
_NOTHING |= {"not available", "not applicable", "not reported", "not known", "not provided", "unspecified"}


class Entry(Protocol):
    """One slide of a cohort's card."""

    @property
    def id(self) -> str: ...
    @property
    def section(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def n_spots(self) -> int: ...


class Opener(Protocol):
    """Lists the slides of a folder without reading their counts."""

    def __call__(self, name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort: ...


@dataclass(frozen=True)
class Layout:
    """A way slides lie on disk.

    Args:
        signature: the files it is recognised by, for messages.
        recognises: whether a folder is in this layout.
        open: makes a cohort of a folder; takes the slides of the cohort's card, none for somebody's own folder.
    """

    signature: str
    recognises: Callable[[Path], bool]
    open: Opener


@dataclass(frozen=True)
class Found:
    """A slide that lies in the folder.

    Args:
        id: its name on disk.
        patient: what the files say of the patient, None when they say nothing.
        reason: why the slide cannot be used; empty when it can.
    """

    id: str
    patient: str | None = None
    reason: str = ""


def entry_of(slides: Iterable[Entry], slide_id: str) -> Entry | None:
    """The card's entry of a slide that is called by its id or by its section."""
    return next((entry for entry in slides if slide_id in (entry.id, entry.section)), None)


def missing_slides(cohort: Cohort, slides: Sequence[Entry]) -> list[str]:
    """Slides of a card that are not on disk, as ``id (section)``."""
    there = {*cohort.ids, *cohort.left_out}
    return [
        f"{entry.id} ({entry.section})" if entry.section and entry.section != entry.id else entry.id
        for entry in slides
        if not {entry.id, entry.section} & there
    ]


def make_cohort(
    name: str,
    layout: str,
    found: Iterable[Found],
    slides: Sequence[Entry],
    read: Callable[[str, str | None], Slide],
) -> Cohort:
    """A cohort of what was found, in the card's order; slides the card does not know are left out.

    Args:
        name: of the cohort.
        layout: name of the layout.
        found: slides on disk.
        slides: slides of the card; empty accepts every slide, in the order of the names.
        read: reads a slide, given its id and patient.
    """
    place = {key: i for i, entry in enumerate(slides) for key in (entry.section, entry.id)}
    ordered = sorted(found, key=lambda slide: (place.get(slide.id, len(place)), slide.id))
    unknown = f"not among the {len(slides)} slides of the {name} card"
    reasons = {
        slide.id: misnamed(slide.id) or slide.reason or ("" if slide.id in place or not slides else unknown)
        for slide in ordered
    }
    refs = tuple(_ref(slide, entry_of(slides, slide.id)) for slide in ordered if not reasons[slide.id])
    patients = {ref.id: ref.patient for ref in refs}
    return Cohort(
        name=name,
        layout=layout,
        refs=refs,
        reader=lambda slide_id: read(slide_id, patients[slide_id]),
        left_out={slide_id: reason for slide_id, reason in reasons.items() if reason},
    )


def text_or_none(value: object) -> str | None:
    """A text that metadata give; None where they leave it blank or say in one of the usual ways that it is unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    return None if text.lower() in _NOTHING or not any(letter.isalnum() for letter in text) else text


def _ref(slide: Found, entry: Entry | None) -> SlideRef:
    return SlideRef(slide.id, slide.patient if entry is None else entry.patient)
