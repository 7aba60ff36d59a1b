"""Two cohorts in one task: the slides of one train and validate, all slides of another test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stbench.catalogue import DatasetCard, dataset_cards
from stbench.data.cohort import Cohort
from stbench.data.opening import open_dataset
from stbench.data.parts import Split, WithoutValidation
from stbench.data.patients import one_spelling
from stbench.data.readers.layout import entry_of, missing_slides
from stbench.data.slide import Slide, SlideRef
from stbench.data.splits import split_without_test
from stbench.errors import SettingError, UserError
from stbench.reporting import SILENT, Reporter

RULES = ("slide", "patient")
"""Splits of a cohort whose test slides come from another one."""
_STUDY = ": "  # readers that know the study put it before the patient, with this between


def crossed(
    cohort: Cohort,
    card: DatasetCard,
    name: str,
    test_name: str | None,
    data_root: Path | None,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
    *,
    require_image: bool = True,
    genes_table: Path | None = None,
) -> Cohort:
    """A cohort joined with the one whose slides test, where there is one.

    Args:
        cohort: slides that train and validate.
        card: its card.
        name: what it was opened by.
        test_name: registered name or folder of what tests; None where the cohort tests itself.
        data_root: folder that holds one folder per registered cohort.
        cache_dir: where generated slides are kept.
        reporter: is told of slides that are made.
        require_image: leave out slides without a picture.
        genes_table: table of genes, for what tests.

    Raises:
        UnknownNameError: neither a registered name nor a folder.
        UserError: the data are not there, the two are one cohort, or one of them is generated and the other is not.
    """
    if test_name is None:
        return cohort
    if _place(name, data_root) == _place(test_name, data_root):
        raise SettingError(f"--test-dataset {test_name}: expected another cohort than --dataset, found the same one")
    asked = (test_name, data_root, (), cache_dir, reporter)
    other, its_card = open_dataset(*asked, require_image=require_image, genes_table=genes_table)
    _check_one_kind(card, its_card, test_name)
    return joined(cohort, _filled(other, its_card), _shared_patients(cohort, card, other, its_card))


def _place(name: str, data_root: Path | None) -> str:
    """Where a cohort lies: one folder may have several names."""
    registered = dataset_cards().get(name)
    if registered is None:
        return str(Path(name).resolve())
    return str((data_root / name).resolve()) if registered.entry is None and data_root is not None else name


def _check_one_kind(card: DatasetCard, other: DatasetCard, asked: str) -> None:
    kinds = [_kind(one) for one in (card, other)]
    if kinds[0] != kinds[1]:
        raise SettingError(
            f"--test-dataset {asked}: expected {kinds[0]} data as of {card.name}, found {kinds[1]} data; a task never "
            "mixes them, choose another cohort"
        )


def _kind(card: DatasetCard) -> str:
    return "simulated" if card.simulated else "semi-synthetic" if card.semi_synthetic else "real"


def _filled(other: Cohort, card: DatasetCard) -> Cohort:
    """A test cohort with what its card alone knows: spots of its slides, and which of them are not there."""
    known = {ref.id: entry_of(card.slides, ref.id) for ref in other.refs}
    sizes = {id_: None if entry is None else entry.n_spots for id_, entry in known.items()}
    refs = tuple(replace(ref, n_spots=ref.n_spots or sizes[ref.id]) for ref in other.refs)
    reason = f"not there, of the {len(card.slides)} slides of the {other.name} card"
    missing = dict.fromkeys(missing_slides(other, card.slides), reason)
    return replace(other, refs=refs, left_out={**other.left_out, **missing})


def _shared_patients(cohort: Cohort, card: DatasetCard, other: Cohort, its_card: DatasetCard) -> dict[str, str]:
    """Test slide to the patient as the training cohort names it, where a card knows one study in two layouts."""
    by_id = {entry.id: entry.patient for entry in card.slides}
    found = {ref.id: by_id[ref.id] for ref in other.refs if ref.id in by_id}
    mine = {ref.id: ref.patient for ref in cohort.refs if ref.patient is not None}
    same = {entry.patient: mine[entry.id] for entry in its_card.slides if entry.id in mine}
    entries = {ref.id: entry_of(its_card.slides, ref.id) for ref in other.refs}
    return found | {id_: same[one.patient] for id_, one in entries.items() if one is not None and one.patient in same}


def joined(cohort: Cohort, other: Cohort, patients: Mapping[str, str] | None = None) -> Cohort:
    """One cohort of two: ``<name>-to-<other>``, whose slides of ``other`` test and do nothing else.

    These have the name of their cohort before their own, ``dlpfc-151673``, so that no two slides share an id. So do
    their patients: two studies number theirs alike. A patient keeps the name where the two cohorts have one name, or
    where it begins with that of its study.

    Args:
        cohort: slides that train and validate.
        other: slides that test.
        patients: slide of ``other`` to its patient as ``cohort`` names it, where that is known.

    Raises:
        UserError: ``other`` has no usable slide, or a slide of both is called the same in spite of all.
    """
    if not other.refs:
        why = "; ".join(dict.fromkeys(other.left_out.values())) or "an empty cohort"
        raise UserError(f"expected a slide of {other.name} to test on, found none; left out: {why}")
    there = {f"{other.name}-{ref.id}": ref for ref in other.refs}
    known = {ref.id: _patient(ref, cohort, other) for ref in other.refs} | dict(patients or {})
    refs = {id_: SlideRef(id_, known[ref.id], ref.n_spots) for id_, ref in there.items()}
    if twice := sorted(set(there) & set(cohort.ids)):
        raise UserError(f"expected names of slides that {other.name} alone has, found {twice[0]} in {cohort.name} too")

    def read(slide_id: str) -> Slide:
        if slide_id not in there:
            return cohort.reader(slide_id)
        slide = other.reader(there[slide_id].id)
        return replace(slide, id=slide_id, patient=refs[slide_id].patient)

    both = Cohort(
        name=f"{cohort.name}-to-{other.name}",
        layout=", ".join(dict.fromkeys((cohort.layout, other.layout))),
        refs=(*cohort.refs, *refs.values()),
        reader=read,
        left_out={**cohort.left_out, **{f"{other.name}-{id_}": why for id_, why in other.left_out.items()}},
        about="; ".join(dict.fromkeys(about for about in (cohort.about, other.about) if about)),
        simulated=cohort.simulated or other.simulated,
        tested=tuple(refs),
        test_name=other.name,
        notes=tuple(dict.fromkeys((*cohort.notes, *other.notes))),
    )
    return one_spelling(both)


def _patient(ref: SlideRef, cohort: Cohort, other: Cohort) -> str | None:
    if ref.patient is None or cohort.name == other.name or _STUDY in ref.patient:
        return ref.patient
    return f"{other.name}-{ref.patient}"


def split_across(cohort: Cohort, rule: str, seed: int, *, validates: bool = True) -> Split:
    """The slides of one cohort train and validate, about 8:2, those of the other one test.

    Args:
        cohort: what :func:`joined` made.
        rule: ``slide`` deals slides, whoever they belong to; ``patient`` keeps patients apart.
        seed: seed of what is dealt at random.
        validates: whether some slides validate; else all train.

    Raises:
        SettingError: another rule.
        UserError: too few slides, or ``patient`` where one is unknown or there are fewer than two.
    """
    check_rule(rule)
    refs = [ref for ref in cohort.refs if ref.id not in cohort.tested]
    if rule == "patient":
        _check_patients(refs)
    if not validates:
        return WithoutValidation(tuple(ref.id for ref in refs), (), cohort.tested)
    left_out = {id_: why for id_, why in cohort.left_out.items() if not id_.startswith(f"{cohort.test_name}-")}
    dealt = split_without_test(refs, seed, left_out, by_slide=rule == "slide")
    return Split(dealt.train, dealt.validation, cohort.tested)


def check_rule(rule: str) -> None:
    """Raise SettingError for a split that says who tests."""
    if rule not in RULES:
        raise SettingError(
            f"--split {rule}: expected slide or patient with --test-dataset, which says who tests; use one of them"
        )


def _check_patients(refs: Sequence[SlideRef]) -> None:
    if unknown := [ref.id for ref in refs if ref.patient is None]:
        raise UserError(f"slide {unknown[0]}: its patient is unknown, so slides cannot be kept apart by patient")
    if len(found := {ref.patient for ref in refs}) < 2:
        raise UserError(f"expected at least 2 patients for train and validation, found {len(found)}; use --split slide")
