"""What is known of one method, for the command line and for its page in the manual: facts, settings, differences."""

from __future__ import annotations

from typing import Any

from stbench.catalogue import MethodCard
from stbench.catalogue.search import Search
from stbench.methods.registry import method_class, resolve_settings
from stbench.pages.tables import Table

_FACTS = ("name", "title", "kind", "summary", "paper", "original", "licence", "entry", "encoder", "pretrained")
_DIFFERENCES = ("topic", "paper", "original", "switch", "default", "why")


def facts(card: MethodCard) -> list[tuple[str, str]]:
    """Name and value of everything that a card says but for presets and differences; a name may come again."""
    lines = [(fact, str(getattr(card, fact))) for fact in _FACTS if getattr(card, fact)]
    lines += [(fact, ", ".join(getattr(card, fact))) for fact in ("needs", "optional") if getattr(card, fact)]
    lines += [("validation", _validation(card))] if card.validation else []
    lines += [("draws", str(card.draws)), *(("tuned", said) for said in _tuned(card))]
    lines += [("note", note) for note in card.notes]
    return lines + [("ablations", f"{one.table}: {one.title}") for one in card.ablations]


def _validation(card: MethodCard) -> str:
    return "needed" if isinstance(card.validation, bool) else f"needed unless {card.validation} is given"


def _tuned(card: MethodCard) -> list[str]:
    """Each preset that was chosen on some patients, and which."""
    return [
        f"preset {preset} on {cohort}: {', '.join(patients)}"
        for preset, cohorts in card.tuned.items()
        for cohort, patients in cohorts.items()
    ]


def settings(card: MethodCard) -> Table:
    """A row per setting: name, default, what it does, and what each preset changes it to.

    Raises:
        DataError: the class behind the card cannot be imported.
    """
    method = method_class(card)
    resolved = {preset: resolve_settings(card, method, preset, {}) for preset in card.presets}
    default = method.Settings()
    rows = []
    for key, field in method.Settings.model_fields.items():
        values = [_differing(getattr(settings, key), getattr(default, key)) for settings in resolved.values()]
        rows.append([key, str(getattr(default, key)), field.description or "", *values])
    head = ["--set", "default", "what", *resolved]
    return Table(head, rows, words=range(len(head)))


def _differing(value: Any, default: Any) -> str:
    return "" if value == default else str(value)


def space(search: Search) -> Table:
    """A row per knob that ``stbench tune`` tries: its range, and the reason for it."""
    rows = [[name, knob.text, knob.why] for name, knob in search.knobs.items()]
    return Table(["--set", "range", "why"], rows, words=range(3))


def differences(card: MethodCard) -> Table:
    """A row per place where paper and released code part ways."""
    rows = [[getattr(row, column) for column in _DIFFERENCES] for row in card.differences]
    return Table(_DIFFERENCES, rows, words=range(len(_DIFFERENCES)))
