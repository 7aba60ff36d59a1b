"""Audit of a cohort on disk: every check once, over all slides, before anything is run on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from stbench.data.cohort import Cohort, guarded
from stbench.data.findings import names_untold
from stbench.data.image import PatchSpec
from stbench.data.links import links_out
from stbench.data.readers.counts import check_inside
from stbench.data.readers.layout import Entry, entry_of, missing_slides
from stbench.data.same_tissue import SameTissue
from stbench.data.shared_genes import SharedGenes
from stbench.data.slide import Slide, SlideRef
from stbench.data.splits import leak_fraction, split_by_slide
from stbench.errors import DataError, UserError
from stbench.reporting import SILENT, Reporter

Verdict = Literal["ok", "note", "FAIL"]

OK: Verdict = "ok"
NOTE: Verdict = "note"
FAIL: Verdict = "FAIL"

_LISTED = 12


class Card(Protocol):
    """What an audit holds a cohort against."""

    @property
    def slides(self) -> Sequence[Entry]: ...
    @property
    def n_slides(self) -> int: ...
    @property
    def n_spots(self) -> int: ...


@dataclass(frozen=True)
class AuditRow:
    """One check and how it ended: ``ok``, ``note`` (worth knowing) or ``FAIL`` (something is wrong)."""

    check: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class AuditReport:
    """All checks of a cohort, in the order they were made."""

    rows: tuple[AuditRow, ...]

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(row.verdict == FAIL for row in self.rows)


@dataclass
class _Seen:
    """What is kept of the slides while one after the other is read."""

    n_spots: dict[str, int] = field(default_factory=dict)
    common: set[str] | None = None
    shared: SharedGenes = field(default_factory=SharedGenes)
    genes: dict[str, int] = field(default_factory=dict)
    tissues: SameTissue = field(default_factory=SameTissue)
    empty: dict[str, int] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)
    unscaled: list[str] = field(default_factory=list)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    narrow: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def audit(
    cohort: Cohort,
    card: Card | None = None,
    *,
    patch: PatchSpec | None = None,
    reporter: Reporter = SILENT,
    n_splits: int = 200,
) -> AuditReport:
    """Read every slide of a cohort, decode its picture and hold both against its card.

    A slide that cannot be read becomes a row of its own; the audit goes on.

    Args:
        cohort: opened with ``require_image=False``, so that slides without a picture are told apart from absent ones.
        card: what the cohort is known to hold; None, or a card without slides, checks the files alone.
        patch: what runs cut unless told otherwise: stored patches that reach less far are a failure in a cohort with a
            card, in others a note. None asks nothing.
        reporter: where progress goes.
        n_splits: seeds of the 7:2:1 splits by slide over which patient leakage is averaged.
    """
    entries = list(card.slides) if card is not None else []
    seen = _Seen()
    with reporter.track(f"checking {cohort.name}", len(cohort.refs)) as advance:
        for slide_id in cohort.ids:
            _look_at(cohort, slide_id, patch, seen)
            advance(note=slide_id)
    rows = (
        _listed(cohort, entries),
        _left_out(cohort, entries),
        _links(cohort),
        _readable(cohort, seen),
        _spots(seen, entries, card),
        _genes(seen),
        _duplicates(seen),
        _pictures(seen),
        _patches(seen, entries),
        _patients(cohort.refs),
        [AuditRow("cohort", NOTE, note) for note in cohort.notes],
        _leakage(cohort.refs, n_splits),
        _reader_notes(seen),
    )
    return AuditReport(tuple(row for part in rows for row in part))


def _look_at(cohort: Cohort, slide_id: str, patch: PatchSpec | None, seen: _Seen) -> None:
    try:
        with guarded(slide_id):
            slide = cohort.load(slide_id)
            _check(slide)
            _record(slide, seen)
            _decode(slide)
            if patch is not None:
                _reach(slide, patch, seen)
    except UserError as error:
        seen.broken[slide_id] = str(error)


def _check(slide: Slide) -> None:
    """What every reader promises; simulated and third-party cohorts go through no reader of ours."""
    counts = slide.counts
    if not np.issubdtype(counts.dtype, np.integer) or (counts.nnz and counts.data.min() < 0):
        raise DataError(f"slide {slide.id}: expected counts that are integers from 0, found {counts.dtype} or negative")
    for names, what in ((slide.spot_ids, "spot"), (slide.genes, "gene")):
        if len(set(names)) < len(names):
            raise DataError(
                f"slide {slide.id}: expected every {what} once, found {len(names) - len(set(names))} repeated"
            )
    size = None if slide.image is None else slide.image.size()
    check_inside(slide.xy.astype(np.float64), size, slide.spot_ids, f"slide {slide.id}")
    if (slide.total_counts < np.asarray(counts.sum(axis=1)).ravel()).any():
        raise DataError(f"slide {slide.id}: expected total_counts over all genes, found less than the counts add up to")


def _record(slide: Slide, seen: _Seen) -> None:
    genes = set(slide.genes)
    seen.n_spots[slide.id], seen.genes[slide.id] = slide.n_spots, len(genes)
    seen.shared.add(slide)
    seen.common = genes if seen.common is None else seen.common & genes
    seen.tissues.add(slide)
    empty = int((slide.total_counts == 0).sum())
    if empty:
        seen.empty[slide.id] = empty
    if slide.image is None:
        seen.bare.append(slide.id)
    if slide.um_per_px is None:
        seen.unscaled.append(slide.id)
    if notes := (*slide.notes, *names_untold(slide)):
        seen.notes[slide.id] = notes


def _decode(slide: Slide) -> None:
    """Read all of a picture: truncated files open without complaint."""
    if slide.image is not None:
        spec = PatchSpec(um=1.0) if slide.image.size() is None else PatchSpec(px=1)
        for _ in slide.image.patches(slide.spot_ids, slide.xy, spec):
            pass


def _reach(slide: Slide, patch: PatchSpec, seen: _Seen) -> None:
    """Whether the patches that were stored are as wide as those runs cut; a whole picture always is."""
    if slide.image is not None and slide.image.size() is None:
        try:
            next(slide.image.patches(slide.spot_ids[:1], slide.xy[:1], patch), None)
        except DataError as error:
            seen.narrow[slide.id] = str(error)


def _listed(cohort: Cohort, entries: list[Entry]) -> Iterator[AuditRow]:
    if not entries:
        yield AuditRow("slides", OK if cohort.refs else FAIL, f"{len(cohort.refs)} found ({cohort.layout} layout)")
        return
    there = [*cohort.ids, *cohort.left_out]
    missing = missing_slides(cohort, entries)
    extra = [slide_id for slide_id in there if entry_of(entries, slide_id) is None]
    found = f"{len(entries) - len(missing)} of {len(entries)} on the card found ({cohort.layout} layout)"
    yield AuditRow("slides", FAIL if missing else OK, found + (f"; missing: {', '.join(missing)}" if missing else ""))
    if extra:
        yield AuditRow("extra slides", NOTE, f"{len(extra)} that the card does not know: {_all(extra)}")


def _left_out(cohort: Cohort, entries: list[Entry]) -> Iterator[AuditRow]:
    for slide_id, reason in cohort.left_out.items():
        if not entries or entry_of(entries, slide_id) is not None:
            yield AuditRow(f"left out: {slide_id}", FAIL, reason)


def _links(cohort: Cohort) -> Iterator[AuditRow]:
    found = {} if cohort.folder is None else links_out(cohort.folder)
    if found:
        said = _all(f"{link} -> {target}" for link, target in found.items())
        yield AuditRow("links", NOTE, f"{len(found)} lead out of {cohort.folder}, and are followed: {said}")


def _readable(cohort: Cohort, seen: _Seen) -> Iterator[AuditRow]:
    for slide_id, reason in seen.broken.items():
        yield AuditRow(f"slide {slide_id}", FAIL, reason)
    if not seen.broken:
        detail = f"{len(cohort.refs)} slides read: raw integer counts, spots once each and inside the picture"
        yield AuditRow("files", OK, detail)


def _spots(seen: _Seen, entries: list[Entry], card: Card | None) -> Iterator[AuditRow]:
    wrong: list[str] = []
    fewer: list[str] = []
    for slide_id, n in seen.n_spots.items():
        entry = entry_of(entries, slide_id)
        if entry is not None and n != entry.n_spots:
            said = f"{slide_id} {n} of {entry.n_spots}"
            (fewer if n < entry.n_spots and slide_id in seen.notes else wrong).append(said)
    total = sum(seen.n_spots.values())
    known = f" of {card.n_spots} on the card" if card is not None and card.n_spots else ""
    verdict = FAIL if wrong else NOTE if fewer else OK
    differing = f"; differing: {_all(wrong + fewer)}" if wrong or fewer else ""
    yield AuditRow("spots", verdict, f"{total}{known}{differing}")
    if seen.empty:
        detail = ", ".join(f"{slide_id}: {n}" for slide_id, n in seen.empty.items())
        yield AuditRow("spots without counts", NOTE, f"kept ({detail})")


def _genes(seen: _Seen) -> Iterator[AuditRow]:
    if seen.common is not None:
        low, high = min(seen.genes.values()), max(seen.genes.values())
        detail = f"{len(seen.common)} common to all slides ({low} to {high} each)"
        yield AuditRow("genes", OK if seen.common else FAIL, detail)
    for note in seen.shared.notes():
        yield AuditRow("gene names", NOTE, note)


def _duplicates(seen: _Seen) -> Iterator[AuditRow]:
    twins = seen.tissues.twins()
    for found in twins:
        verdict = FAIL if found.by == "counts" else NOTE
        yield AuditRow("duplicate slides", verdict, f"{found.said()}; leave all but one out")
    if seen.n_spots and not twins:
        yield AuditRow("duplicate slides", OK, "none: no two slides hold the same counts, or places of one picture")


def _pictures(seen: _Seen) -> Iterator[AuditRow]:
    n = len(seen.n_spots)
    if n:
        without = f"; none for {_all(seen.bare)}" if seen.bare else ""
        yield AuditRow("pictures", NOTE if seen.bare else OK, f"{n - len(seen.bare)} of {n} slides{without}")
    if seen.unscaled:
        yield AuditRow("pixel size", NOTE, f"unknown for {_all(seen.unscaled)}: patches must be given in px")


def _patches(seen: _Seen, entries: list[Entry]) -> Iterator[AuditRow]:
    for slide_id, reason in seen.narrow.items():
        yield AuditRow(f"patches of {slide_id}", FAIL if entries else NOTE, reason)


def _patients(refs: Sequence[SlideRef]) -> Iterator[AuditRow]:
    unknown = [ref.id for ref in refs if ref.patient is None]
    known = len({ref.patient for ref in refs} - {None})
    without = f"; unknown for {_all(unknown)}: no split by patient" if unknown else ""
    yield AuditRow("patients", NOTE if unknown else OK, f"{known}{without}")


def _leakage(refs: Sequence[SlideRef], n_splits: int) -> Iterator[AuditRow]:
    if len(refs) < 3:
        yield AuditRow("split 7:2:1 by slide", NOTE, f"not possible: {len(refs)} slides, at least 3 are needed")
        return
    leaked = [leak_fraction(split_by_slide(refs, seed), refs) for seed in range(n_splits)]
    known = [share for share in leaked if share is not None]
    if not known:
        yield AuditRow("split 7:2:1 by slide", NOTE, "leakage unknown, as patients are")
        return
    mean = float(np.mean(known))
    detail = f"{mean:.1%} of test slides share a patient with training (mean of {len(known)} splits)"
    yield AuditRow("split 7:2:1 by slide", NOTE if mean > 0 else OK, detail)


def _reader_notes(seen: _Seen) -> Iterator[AuditRow]:
    for slide_id, notes in seen.notes.items():
        yield AuditRow(f"notes on {slide_id}", NOTE, "; ".join(notes))


def _all(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
