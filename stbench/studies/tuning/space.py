"""The space a method is tuned in: the knobs of its card, held against its settings."""

from __future__ import annotations

from collections.abc import Mapping

from stbench.catalogue import MethodCard, find_metric, method_cards
from stbench.catalogue.search import Knob
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.methods.registry import as_text, method_class, resolve_settings
from stbench.text import listed


def space_of(card: MethodCard, preset: str, overrides: Mapping[str, str]) -> dict[str, Knob]:
    """Knobs of a method; those that ``--set`` gives a value stay where that puts them.

    Raises:
        UserError: the card has no table ``search``, or all its knobs are set by hand.
        UnknownNameError: the method has no setting of a knob's name, or there is no metric of the objective's.
        SettingError: the method does not accept an end of a range.
    """
    if card.search is None:
        have = listed(name for name, other in method_cards().items() if other.search is not None)
        raise UserError(
            f"expected a table [search] on the card of {card.name}, found none; a class says it in its attribute card; "
            f"methods with one: {have}"
        )
    find_metric(card.search.objective)
    for name, knob in card.search.knobs.items():
        _check(card, preset, overrides, name, knob)
    found = {name: knob for name, knob in card.search.knobs.items() if name not in overrides}
    if not found:
        raise UserError(f"expected a knob of {card.name} to try, found all set by --set; leave one of them out")
    return found


def _check(card: MethodCard, preset: str, overrides: Mapping[str, str], name: str, knob: Knob) -> None:
    method = method_class(card)
    if name not in method.Settings.model_fields:
        hint = f"mend [search] on the card of {card.name}"
        raise UnknownNameError(f"knob, no setting of {card.name},", name, method.Settings.model_fields, hint=hint)
    for value in knob.ends:
        try:
            resolve_settings(card, method, preset, {**overrides, name: as_text(value)})
        except SettingError as error:
            said = str(error).partition(";")[0]
            raise SettingError(
                f"[search] of {card.name}: expected a range of {name} that preset {preset} accepts, found {value}: "
                f"{said}; choose another --preset, or mend the card"
            ) from error
