"""From the rows of a card to runs: what each row sets, and which rows are one run."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from stbench.catalogue import MethodCard, find_metric, load_entry
from stbench.catalogue.ablations import Ablation, AblationRow
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.methods.registry import method_class, resolve_settings
from stbench.studies.ablation.manifest import Row, Table
from stbench.studies.sweep.request import Variant

FULL = "full"
_FILE = "file:"
_ODD = re.compile(r"[^A-Za-z0-9.=,_-]+")


@dataclass(frozen=True)
class Base:
    """The method before a row changes some of it.

    Args:
        card: the method.
        typed: what the user typed for it.
        preset: name of the preset.
        overrides: setting to text, over the preset.
        vectors: name of a gene model to the file or folder of its vectors.
        ask: how to get the vectors of a gene model, by its name.
    """

    card: MethodCard
    typed: str
    preset: str
    overrides: Mapping[str, str]
    vectors: Mapping[str, str]
    ask: Callable[[str], str] = "give --prior {}=PATH".format

    def resolve(self, overrides: Mapping[str, str]) -> BaseModel:
        """Settings with some changed; raises UserError where they are none."""
        return resolve_settings(self.card, method_class(self.card), self.preset, {**self.overrides, **dict(overrides)})


class Resolver:
    """Turns rows into runs; rows with the same settings are one.

    Args:
        base: the method before a row changes some of it.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._settings = base.resolve({})
        self._runs: dict[str, dict[str, Any]] = {}
        self.variants: dict[str, Variant] = {}

    def table(self, place: int, ablation: Ablation) -> Table:
        """A table with the run of every row, or why there is none."""
        said = ablation.model_dump(include={"table", "title", "source", "note", "reference"})
        rows = [self._row(ablation, row) for row in ablation.rows]
        return Table(**said, place=place, conditions=ablation.conditions, rows=rows)

    def _row(self, ablation: Ablation, row: AblationRow) -> Row:
        facts: dict[str, Any] = {"label": row.label, "metrics": row.metrics, "reported": row.reported}
        try:
            check_metrics([*row.reported, *row.metrics], row.metrics)
            overrides, said = self._overrides(ablation, row)
            return Row(run=self._run(overrides), said=said, **facts)
        except UserError as error:
            return Row(run=None, said=[], refused=str(error), **facts)

    def _overrides(self, ablation: Ablation, row: AblationRow) -> tuple[dict[str, str], list[str]]:
        """Setting to text, and the same in words."""
        found = {key: text_of(value) for key, value in {**ablation.settings, **row.settings}.items()}
        said = [f"{key}={value}" for key, value in found.items()]
        for key, factor in row.times.items():
            value = self._number(key)
            found[key] = text_of(factor * value)
            said.append(f"{key}={factor * value:g} ({factor:g} x {value:g})")
        for key, depth in row.depth.items():
            blocks = int(self._number(depth.of))
            found[key] = str(depth.block(blocks))
            stands = f" (block {found[key]} of {blocks} stands for {depth.at} of {depth.among})"
            said.append(f"{key}={found[key]}{stands if blocks != depth.among else ''}")
        for key, name in row.vectors.items():
            found[key] = _FILE + self._vectors(name)
            said.append(f"{key}={name}")
        said += [f"{metric} with {key}={value}" for metric, more in row.metrics.items() for key, value in more.items()]
        return found, said

    def _number(self, key: str) -> float:
        value = getattr(self._settings, key, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingError(
                f"{self._base.card.name}: expected a number as setting {key!r} of a row, found {value!r}"
            )
        return value

    def _vectors(self, name: str) -> str:
        if name not in self._base.vectors:
            raise SettingError(f"no vectors given; {self._base.ask(name)}")
        return self._base.vectors[name]

    def _run(self, overrides: dict[str, str]) -> str:
        """Name of the run with these settings, a new one or one that another row has."""
        settings = self._base.resolve(overrides).model_dump(mode="json")
        for name, known in self._runs.items():
            if known == settings:
                return name
        name = self._name(settings)
        self._runs[name] = settings
        self.variants[name] = Variant(name, self._base.typed, overrides)
        return name

    def _name(self, settings: dict[str, Any]) -> str:
        """What differs from the base: the same whichever tables are asked for, so that a folder can grow."""
        base = self._settings.model_dump(mode="json")
        names = {_FILE + path: name for name, path in self._base.vectors.items()}
        changed = {key: value for key, value in settings.items() if value != base[key]}
        said = [f"{key}={names.get(str(value), text_of(value))}" for key, value in changed.items()]
        name = wanted = _ODD.sub("-", ",".join(said)) or FULL
        while name in self._runs:
            name = f"{wanted}-{len(self._runs)}"
        return name


def text_of(value: Any) -> str:
    """A value as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def check_metrics(names: list[str], parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UnknownNameError for a metric that is not registered, or a parameter it does not have."""
    for name in names:
        find_metric(name)
    for name, said in parameters.items():
        known = inspect.signature(load_entry(find_metric(name).entry)).parameters
        for key in said:
            if key not in known:
                raise UnknownNameError(f"parameter of {name}", key, known)
