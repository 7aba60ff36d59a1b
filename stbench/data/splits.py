"""Which slides train, validate and test, by rules and from files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np

from stbench.data.parts import PARTS, Split, WithoutTest, WithoutValidation
from stbench.data.slide import SlideRef
from stbench.errors import DataError, UnknownNameError, UserError
from stbench.reading import read_json
from stbench.text import first_line

PROTOCOLS = (
    *("slide", "patient", "kfold-K", "kfold-K-I"),
    *("patient-kfold-K", "patient-kfold-K-I", "lopo", "lopo-PATIENT"),
)
_FOLD = re.compile(r"((?:patient-)?kfold-(\d+))-(\d+)")
_ALL_FOLDS = re.compile(r"(?:patient-)?kfold-(\d+)")
_LOPO = "lopo-"
_OF_PATIENTS = "patient-"
_LEAST_SLIDES = len(PARTS)
_MOST_NAMED = 3
_MOST_KEYS, _MOST_SHOWN = 5, 80
_EXAMPLE = '{"train": ["S1"], "validation": ["S2"], "test": ["S3"]}'


def split_sizes(n: int) -> tuple[int, int, int]:
    """Sizes of a 7:2:1 split: floor(0.7 n), floor(0.2 n) and the rest, at least one each.

    Raises:
        UserError: fewer than three.
    """
    if n < _LEAST_SLIDES:
        raise UserError(f"{_too_few(n)}; add slides")
    validation = max(1, math.floor(n * 2 / 10))
    train = min(max(1, math.floor(n * 7 / 10)), n - validation - 1)
    return train, validation, n - train - validation


def _too_few(n: int) -> str:
    return f"expected at least {_LEAST_SLIDES} slides for train, validation and test, found {n}"


def split_without_test(
    refs: Sequence[SlideRef], seed: int, left_out: Mapping[str, str] | None = None, *, by_slide: bool = False
) -> WithoutTest:
    """Train and validate, about 8:2: patients are kept apart where two or more are known, else slides are dealt.

    Args:
        refs: usable slides of the cohort; one of an unknown patient counts as a patient of its own.
        seed: seed of what is dealt at random.
        left_out: slides of the cohort that cannot be used, with the reason.
        by_slide: deal slides, whoever they belong to.

    Raises:
        UserError: fewer than two slides.
    """
    if len(refs) < 2:
        reasons = f"; left out: {_reasons(left_out)}" if left_out else ""
        raise UserError(f"expected at least 2 slides for train and validation, found {len(refs)}{reasons}; add slides")
    apart = not by_slide and len({ref.patient for ref in refs} - {None}) > 1
    groups: dict[tuple[str | None, str], list[str]] = {}
    for ref in refs:
        together = apart and ref.patient is not None
        groups.setdefault((ref.patient, "" if together else ref.id), []).append(ref.id)
    shuffled = [list(groups.values())[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    held_out = max(1, round(len(groups) / 5))
    parts = shuffled[held_out:], shuffled[:held_out]
    return WithoutTest(*(tuple(sorted(slide for group in part for slide in group)) for part in parts))


def _reasons(left_out: Mapping[str, str]) -> str:
    """Slides by reason, in one line; reasons that differ in the name of their slide alone are one."""
    slides: dict[str, list[str]] = {}
    for slide, reason in left_out.items():
        slides.setdefault(reason.replace(slide, "<slide>"), []).append(slide)
    return "; ".join(f"{_some(ids)}: {reason if len(ids) > 1 else left_out[ids[0]]}" for reason, ids in slides.items())


def _some(ids: Sequence[str]) -> str:
    more = f" ... ({len(ids)} slides)" if len(ids) > _MOST_NAMED else ""
    return ", ".join(ids[:_MOST_NAMED]) + more


def is_protocol(source: str) -> bool:
    """Whether a split is named after a rule, in contrast to a file."""
    return source in ("slide", "patient") or bool(_FOLD.fullmatch(source)) or source.startswith(_LOPO)


def is_rule_of_folds(source: str) -> bool:
    """Whether a rule names all its folds, ``kfold-K`` or ``lopo``, in contrast to one of them."""
    return source == _LOPO.rstrip("-") or bool(_ALL_FOLDS.fullmatch(source))


def rule_of(source: str) -> str:
    """The rule whose fold a split is, ``kfold-5`` of ``kfold-5-2`` or ``lopo`` of ``lopo-P01``; else its own name."""
    match = _FOLD.fullmatch(source)
    if match is not None:
        return match[1]
    return _LOPO.rstrip("-") if source.startswith(_LOPO) else source


def folds_of(source: str, refs: Sequence[SlideRef], left_out: Mapping[str, str] | None = None) -> list[str]:
    """Names of the single folds behind a rule; a rule of one split, or a file, is its own.

    Raises:
        UserError: patients are left out one by one, and one is unknown or there are fewer than two.
    """
    if not is_rule_of_folds(source):
        return [source]
    match = _ALL_FOLDS.fullmatch(source)
    if match is not None:
        return [f"{source}-{fold}" for fold in range(1, int(match[1]) + 1)]
    return [f"{_LOPO}{patient}" for patient in _two_patients(refs, left_out)]


def split_by_protocol(
    source: str,
    refs: Sequence[SlideRef],
    seed: int,
    left_out: Mapping[str, str] | None = None,
    *,
    validates: bool = True,
) -> Split:
    """The split a rule gives.

    Args:
        source: ``slide``, ``patient``, ``kfold-K-I`` or ``patient-kfold-K-I`` (fold I of K, from 1), or
            ``lopo-PATIENT`` (who is tested).
        refs: usable slides of the cohort.
        seed: seed of what is dealt at random.
        left_out: slides of the cohort that cannot be used, with the reason.
        validates: whether the slides that the rule gives to validation validate; else they train.

    Raises:
        UnknownNameError: no such rule or patient.
        UserError: the rule is not possible on the cohort, or there is no such fold.
    """
    if not validates and not source.startswith(_LOPO):
        return WithoutValidation.of(split_by_protocol(source, refs, seed, left_out))
    if validates and left_out and len(refs) < _LEAST_SLIDES:
        raise UserError(f"{_too_few(len(refs))}; left out: {_reasons(left_out)}; mend these or add slides")
    if source == "slide":
        return split_by_slide(refs, seed)
    if source == "patient":
        return split_by_patient(refs, seed)
    if source.startswith(_LOPO):
        patients, name = list(_patients(refs)), source.removeprefix(_LOPO)
        if name not in patients:
            raise UnknownNameError("patient", name, patients)
        return leave_one_patient_out(refs, validates=validates)[patients.index(name)]
    match = _FOLD.fullmatch(source)
    if match is None:
        raise UnknownNameError("split", source, PROTOCOLS)
    k, fold = int(match[2]), int(match[3])
    folds = patient_k_fold(refs, k, seed) if source.startswith(_OF_PATIENTS) else k_fold(refs, k, seed)
    if not 1 <= fold <= k:
        raise UserError(f"split {source}: expected a fold from 1 to {k}, found {fold}")
    return folds[fold - 1]


def split_by_slide(refs: Sequence[SlideRef], seed: int) -> Split:
    """The literature's protocol: slides at random, 7:2:1, whoever they belong to."""
    return Split(*_deal([ref.id for ref in refs], seed))


def split_by_patient(refs: Sequence[SlideRef], seed: int) -> Split:
    """Patients at random, 7:2:1; no patient on two sides.

    Raises:
        UserError: a patient is unknown, or there are fewer than three.
    """
    patients = _patients(refs)
    if len(patients) < 3:
        raise UserError(
            f"expected at least 3 patients for a split by patient, found {len(patients)}; use --split slide"
        )
    parts = _deal(list(patients), seed)
    return Split(*(tuple(slide for patient in part for slide in patients[patient]) for part in parts))


def k_fold(refs: Sequence[SlideRef], k: int, seed: int) -> list[Split]:
    """k splits whose test parts partition the slides; the next fold validates.

    Raises:
        UserError: k below 3 or above the number of slides.
    """
    if not 3 <= k <= len(refs):
        raise UserError(f"expected between 3 and {len(refs)} folds (the number of slides), found {k}")
    order = np.random.default_rng(seed).permutation(len(refs))
    folds = [tuple(refs[i].id for i in part) for part in np.array_split(order, k)]
    return [_fold(folds, test) for test in range(k)]


def patient_k_fold(refs: Sequence[SlideRef], k: int, seed: int) -> list[Split]:
    """k splits whose test parts partition the patients; those of the next fold validate.

    Raises:
        UserError: a patient is unknown, or k is below 3 or above the number of patients.
    """
    patients = _patients(refs)
    if not 3 <= k <= len(patients):
        raise UserError(f"expected between 3 and {len(patients)} folds (the number of patients), found {k}")
    names = list(patients)
    order = np.random.default_rng(seed).permutation(len(names))
    parts = [[names[i] for i in part] for part in np.array_split(order, k)]
    folds = [tuple(slide for name in part for slide in patients[name]) for part in parts]
    return [_fold(folds, test) for test in range(k)]


def leave_one_patient_out(refs: Sequence[SlideRef], *, validates: bool = True) -> list[Split]:
    """One split per patient, who is tested; the next patient validates, or trains if nobody is to validate.

    Of two patients, the last slide of the other one validates.

    Raises:
        UserError: a patient is unknown, there are fewer than two, or one of two has a single slide and is to validate.
    """
    patients = _two_patients(refs)
    folds = [tuple(slides) for slides in patients.values()]
    if not validates:
        return [WithoutValidation(_others(folds, test), (), folds[test]) for test in range(len(folds))]
    if len(folds) > 2:
        return [_fold(folds, test) for test in range(len(folds))]
    single = next((name for name, slides in patients.items() if len(slides) < 2), None)
    if single is not None:
        raise UserError(
            f"expected at least 2 slides of patient {single} to train and validate on, found 1; with two patients, one "
            "slide validates"
        )
    return [Split(other[:-1], other[-1:], test) for test, other in ((folds[0], folds[1]), (folds[1], folds[0]))]


def read_split(
    path: Path, refs: Sequence[SlideRef], left_out: Mapping[str, str] | None = None, *, validates: bool = True
) -> Split:
    """Read ``{"train": [...], "validation": [...], "test": [...]}``.

    Args:
        path: JSON file.
        refs: usable slides of the cohort.
        left_out: slides of the cohort that cannot be used, with the reason.
        validates: whether its validation slides validate; else they train, and there may be none.

    Raises:
        DataError: not such a file, or it names a slide that is left out.
        UnknownNameError: it names a slide the cohort does not have.
        UserError: an empty part, or a slide named twice.
    """
    content = _parts_in(path)
    known = {ref.id for ref in refs}
    for part in PARTS:
        for slide in content[part]:
            if slide in (left_out or {}):
                raise DataError(f"split {path}: {part} slide {slide} cannot be used: {(left_out or {})[slide]}")
            if slide not in known:
                raise UnknownNameError(f"slide (in {part} of {path})", str(slide), known)
    train, validation, test = (tuple(content[part]) for part in PARTS)
    return Split(train, validation, test) if validates else WithoutValidation((*train, *validation), (), test)


def _parts_in(path: Path) -> dict[str, list[str]]:
    """Part to names of slides, as a split file says it."""
    try:
        content = read_json(path, strict=True)
    except (OSError, ValueError) as error:
        raise DataError(f"expected a split as JSON in {path}, found: {first_line(error)}; write {_EXAMPLE}") from error
    if not isinstance(content, dict) or set(content) != set(PARTS):
        found = sorted(content)[:_MOST_KEYS] if isinstance(content, dict) else type(content).__name__
        raise DataError(f"split {path}: expected the keys train, validation and test, found {found}; write {_EXAMPLE}")
    for part, slides in content.items():
        if not isinstance(slides, list) or (wrong := [slide for slide in slides if not isinstance(slide, str)]):
            found = shorten(json.dumps(wrong[0] if isinstance(slides, list) else slides), _MOST_SHOWN)
            raise DataError(
                f"split {path}: expected a list of names of slides as {part}, found {found}; write {_EXAMPLE}"
            )
    return content


def leak_fraction(split: Split, refs: Sequence[SlideRef]) -> float | None:
    """Share of test slides whose patient also has a training slide; None when a patient is unknown or nobody tests."""
    if not split.test:
        return None
    patient = {ref.id: ref.patient for ref in refs}
    trained = {patient[slide] for slide in split.train}
    if None in trained or any(patient[slide] is None for slide in split.test):
        return None
    return sum(patient[slide] in trained for slide in split.test) / len(split.test)


def _deal(names: list[str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    train, validation, _ = split_sizes(len(names))
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts = shuffled[:train], shuffled[train : train + validation], shuffled[train + validation :]
    return tuple(tuple(sorted(part)) for part in parts)  # type: ignore[return-value]


def _fold(folds: list[tuple[str, ...]], test: int) -> Split:
    validation = (test + 1) % len(folds)
    train = [slide for k, fold in enumerate(folds) if k not in (test, validation) for slide in fold]
    return Split(tuple(train), folds[validation], folds[test])


def _others(folds: list[tuple[str, ...]], test: int) -> tuple[str, ...]:
    return tuple(slide for k, fold in enumerate(folds) if k != test for slide in fold)


def _two_patients(refs: Sequence[SlideRef], left_out: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    patients = _patients(refs)
    if len(patients) < 2:
        reasons = f"; left out: {_reasons(left_out)}" if left_out else ""
        raise UserError(
            f"expected at least 2 patients to leave one out, found {len(patients)}{reasons}; use --split slide"
        )
    return patients


def _patients(refs: Sequence[SlideRef]) -> dict[str, list[str]]:
    slides: dict[str, list[str]] = {}
    for ref in refs:
        if ref.patient is None:
            raise UserError(f"slide {ref.id}: its patient is unknown, so slides cannot be kept apart by patient")
        slides.setdefault(ref.patient, []).append(ref.id)
    return slides
