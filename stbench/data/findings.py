"""What was found on slides while they were read, in one line per kind: what an audit knows, for a run to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stbench.data.gene_names import SYMBOLS, without_symbol
from stbench.data.readers.layout import Entry, entry_of
from stbench.data.shared_genes import SharedGenes
from stbench.data.slide import Slide
from stbench.text import few, one_line

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ASIDE = re.compile(r"\s*\([^()]*\)")
_SLIDE = "<slide>"
_NAMED = 3


@dataclass
class Findings:
    """Notes on slides, those of one kind together: notes that differ in names and numbers alone."""

    _slides: set[str] = field(default_factory=set)
    _kinds: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # kind to slides and their notes
    genes: SharedGenes = field(default_factory=SharedGenes)

    def add(self, slide: Slide) -> None:
        """Keep what the reader left out or repaired, and what the slide itself shows."""
        self._slides.add(slide.id)
        self.genes.add(slide)
        for note in (*slide.notes, *_shown_by(slide), *names_untold(slide)):
            general = one_line(note).replace(slide.id, _SLIDE)
            self._kinds.setdefault(_kind(general), []).append((slide.id, general))

    def lines(self) -> list[str]:
        """One line per kind: slides, then the note; numbers that differ are given as a range."""
        kinds = [f"{self._named({slide for slide, _ in notes})}: {_merged(notes)}" for notes in self._kinds.values()]
        return kinds + self.genes.notes()

    def _named(self, slides: set[str]) -> str:
        if len(slides) == len(self._slides) > _NAMED:
            return f"all {len(slides)} slides"
        return few(sorted(slides))


def names_untold(slide: Slide) -> list[str]:
    """A note where most names are ids without a symbol, which the rule of the panel cannot tell apart."""
    untold = without_symbol(slide)
    if untold <= len(slide.genes) / 2:
        return []
    return [
        f"{untold} of {len(slide.genes)} gene names are ids without a symbol: mitochondrial and ribosomal genes cannot "
        f"be told and may enter the panel; put symbols into var['{SYMBOLS}']"
    ]


def spots_unlike_card(slides: Iterable[Slide], entries: Sequence[Entry]) -> list[str]:
    """A line where slides have another number of spots than their card says; none where it agrees or is silent."""
    known = ((slide, entry_of(entries, slide.id)) for slide in slides)
    unlike = [
        f"{slide.id} {slide.n_spots} of {entry.n_spots}"
        for slide, entry in known
        if entry is not None and entry.n_spots not in (0, slide.n_spots)
    ]
    return [f"spots differ from the card: {few(unlike)}"] if unlike else []


def _shown_by(slide: Slide) -> list[str]:
    n = int((slide.total_counts == 0).sum())
    notes = [f"{n} spots without counts kept"] if n else []
    unscaled = slide.image is not None and slide.um_per_px is None
    return [*notes, "pixel size unknown: patches must be given in px"] if unscaled else notes


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
