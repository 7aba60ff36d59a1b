"""Inner folds: the slides an outer fold trains and validates on, split again; its test slides are not among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.parts import Split, WithoutValidation
from stbench.data.slide import SlideRef
from stbench.data.splits import k_fold, leave_one_patient_out
from stbench.errors import DataError, UserError
from stbench.text import count, listed


@dataclass(frozen=True)
class Inner:
    """The inner folds of an outer one.

    Args:
        splits: who trains, validates and is tested in each.
        said: how they were made, in words.
    """

    splits: tuple[Split, ...]
    said: str


def without_test(cohort: Cohort, outer: Split) -> Cohort:
    """The cohort of those slides alone that an outer fold trains and validates on: no other one can be read from it."""
    mine = {*outer.train, *outer.validation}
    return replace(cohort, refs=tuple(ref for ref in cohort.refs if ref.id in mine), tested=(), test_name="")


def inner_folds(refs: Sequence[SlideRef], most: int, seed: int, *, validates: bool = True) -> Inner:
    """Leave one patient out at a time, the next one validates; one slide at a time where patients do not allow that.

    Args:
        refs: slides that the outer fold trains and validates on.
        most: of how many patients or slides; some are drawn where there are more.
        seed: of the draw, and of the order of slides.
        validates: whether the outer fold has validation slides, and so an inner one.

    Raises:
        UserError: too few slides.
    """
    patients = dict.fromkeys(ref.patient for ref in refs)
    if None in patients or len(patients) < 2:
        why = "patients are unknown" if None in patients else f"one patient alone, {listed(patients)}, is left"
        return _drawn(_by_slide(refs, seed, validates), most, seed, "slide", f" (not by patient: {why})")
    if len(patients) == 2 and validates:
        return _drawn(_of_two(refs), most, seed, "patient")
    return _drawn(leave_one_patient_out(refs, validates=validates), most, seed, "patient")


def _drawn(splits: Sequence[Split], most: int, seed: int, unit: str, more: str = "") -> Inner:
    order = np.random.default_rng(seed).permutation(len(splits))[:most]
    said = f"{count(len(order), 'inner fold')} of {len(splits)}, one {unit} left out in each{more}"
    return Inner(tuple(splits[place] for place in order), said)


def _by_slide(refs: Sequence[SlideRef], seed: int, validates: bool) -> list[Split]:
    least = 3 if validates else 2
    if len(refs) < least:
        raise _too_few(refs, f"at least {least} slides")
    if validates:
        return k_fold(refs, len(refs), seed)
    ids = [ref.id for ref in refs]
    return [WithoutValidation(tuple(other for other in ids if other != test), (), (test,)) for test in ids]


def _of_two(refs: Sequence[SlideRef]) -> list[Split]:
    """Of two patients, one is tested and the last slide of the other validates, where that one has two or more."""
    slides: dict[str | None, list[str]] = {}
    for ref in refs:
        slides.setdefault(ref.patient, []).append(ref.id)
    one, two = (tuple(ids) for ids in slides.values())
    splits = [Split(most[:-1], most[-1:], test) for test, most in ((one, two), (two, one)) if len(most) > 1]
    if not splits:
        raise _too_few(refs, "a third patient or a second slide of one of two")
    return splits


def _too_few(refs: Sequence[SlideRef], wanted: str) -> UserError:
    found = listed(ref.id for ref in refs)
    return DataError(f"inner folds: expected {wanted} to train, validate and be tested, found {found}; add slides")
