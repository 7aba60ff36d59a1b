"""What was found on slides while they were read, in one line per kind: what an audit knows, for a run to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from stbench.data.slide import Slide
from stbench.text import one_line

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ASIDE = re.compile(r"\s*\([^()]*\)")
_NAMED = 3
_SLIDE = "<slide>"


@dataclass
class Findings:
    """Notes on slides, those of one kind together: notes that differ in names and numbers alone."""

    _slides: set[str] = field(default_factory=set)
    _kinds: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # kind to slides and their notes

    def add(self, slide: Slide) -> None:
        """Keep what the reader left out or repaired, and what the slide itself shows."""
        self._slides.add(slide.id)
        for note in (*slide.notes, *_shown_by(slide)):
            general = one_line(note).replace(slide.id, _SLIDE)
            self._kinds.setdefault(_kind(general), []).append((slide.id, general))

    def lines(self) -> list[str]:
        """One line per kind: slides, then the note; numbers that differ are given as a range."""
        return [f"{self._named({slide for slide, _ in notes})}: {_merged(notes)}" for notes in self._kinds.values()]

    def _named(self, slides: set[str]) -> str:
        if len(slides) == len(self._slides) > _NAMED:
            return f"all {len(slides)} slides"
        return named(sorted(slides))


def named(slides: Sequence[str]) -> str:
    """The first few slides, and how many more."""
    more = f" and {len(slides) - _NAMED} more" if len(slides) > _NAMED else ""
    return ", ".join(slides[:_NAMED]) + more


def _shown_by(slide: Slide) -> list[str]:
    empty = int((slide.total_counts == 0).sum())
    return [f"{empty} spots without counts kept"] if empty else []


def _kind(note: str) -> str:
    return _NUMBER.sub("#", _ASIDE.sub("", note))


def _merged(notes: Sequence[tuple[str, str]]) -> str:
    """One note in place of those of several slides."""
    texts = [note for _, note in notes]
    if len(texts) == 1:
        return texts[0].replace(_SLIDE, notes[0][0])
    if len(set(texts)) == 1:
        return texts[0]
    bare = [_ASIDE.sub("", text) for text in texts]
    ranges = iter([_range(numbers) for numbers in zip(*map(_NUMBER.findall, bare), strict=True)])
    return _NUMBER.sub(lambda _: next(ranges), bare[0])


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"
