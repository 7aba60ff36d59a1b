"""Patients under several spellings: compared after trimming, case and number form, called by the first spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from stbench.data.cohort import Cohort
from stbench.data.slide import Slide
from stbench.text import listed

Key = tuple[str | int, ...]

_TOKEN = re.compile(r"(\d+)(?:\.0+(?![\d.]))?|[^\W\d_]+|\+")
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_WORDS = {"patient", "pat", "p", "pt", "subject", "no", "nr", "number", "id"}


def patient_key(patient: str) -> Key:
    """What two spellings of a patient have in common: words in lower case and whole numbers.

    ``Patient 2``, ``patient_02`` and ``PATIENT-2.0`` are one patient; ``Patient 12`` and ``Patient 1-2`` are two.
    """
    text = unicodedata.normalize("NFKC", patient).casefold()
    return tuple(int(found[1]) if found[1] else found[0] for found in _TOKEN.finditer(text))


def one_spelling(cohort: Cohort) -> Cohort:
    """A cohort whose slides of one patient call that patient alike, and that says which spellings it took as one."""
    known = [ref.patient for ref in cohort.refs if ref.patient is not None]
    first: dict[Key, str] = {}
    for patient in known:
        first.setdefault(patient_key(patient) or (patient,), patient)
    called = {patient: first[patient_key(patient) or (patient,)] for patient in known}
    notes = tuple(dict.fromkeys((*cohort.notes, *_taken_as_one(called), *_look_alike(first.values()))))
    if all(patient == name for patient, name in called.items()):
        return replace(cohort, notes=notes)
    refs = tuple(replace(ref, patient=called.get(ref.patient or "")) for ref in cohort.refs)
    patients = {ref.id: ref.patient for ref in refs}

    def read(slide_id: str) -> Slide:
        return replace(cohort.reader(slide_id), patient=patients[slide_id])

    return replace(cohort, refs=refs, reader=read, notes=notes)


def _taken_as_one(called: dict[str, str]) -> list[str]:
    spellings: dict[str, list[str]] = {}
    for patient, name in called.items():
        spellings.setdefault(name, []).append(repr(patient))
    return [f"patients taken as one: {listed(each)}" for each in spellings.values() if len(each) > 1]


def _look_alike(patients: Iterable[str]) -> list[str]:
    """Patients that differ in an aside or in a word for patient alone."""
    alike: dict[Key, list[str]] = {}
    for patient in patients:
        key = tuple(part for part in patient_key(_ASIDE.sub(" ", patient)) if part not in _WORDS)
        alike.setdefault(key, []).append(repr(patient))
    return [
        f"patients look alike and are taken as {len(each)}: {listed(each)}; where they are one, give them one name"
        for key, each in alike.items()
        if len(each) > 1 and key
    ]
