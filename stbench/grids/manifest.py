"""What the folder of a grid belongs to: one file says what was asked for and which cells follow from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stbench.catalogue import Coded, changed_code
from stbench.catalogue.entries import problem_of
from stbench.data.opening import find_card
from stbench.errors import DataError, UserError
from stbench.evaluation.plan import ceilings_of, origin_of
from stbench.evaluation.record import Name, Tuned
from stbench.evaluation.request import Request
from stbench.files import read_sealed, write_sealed
from stbench.methods.registry import method_class
from stbench.reading import check_own
from stbench.text import first_line

SCHEMA_VERSION = 2
STUDY = "tuning.json"
MANIFESTS = ("grid.json", "sweep.json", "ablation.json", STUDY)
_FOLLOWS = {"cohort", "train", "validation", "test", "folds"}  # from the dataset and the split
ODD = re.compile(r"[^A-Za-z0-9.=_-]+")  # what a file name does without
_OF_RUNS = {"failures.json", "errors.log"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Series(_Part, Coded):
    """One method under one set of settings: a row of a table, a curve, or a reference line."""

    name: Name = Field(description="label, and name of the folder of its runs")
    method: str = Field(description="registered name, or path/to/file.py:Class")
    kind: str
    variant: bool = Field(description="whether the user named it with --variant")
    control: bool = Field(description="whether it is one of the usual controls or ceilings, run with one seed")
    overrides: dict[str, str] = Field(description="setting to text, over the preset")
    settings: dict[str, Any] = Field(description="every resolved setting")
    draws: int
    tuned: dict[str, Tuned] = Field(default={}, description="fold to how its settings over the preset's were chosen")

    @property
    def title(self) -> str:
        """The label; in brackets where it sees the truth, as in leaderboards."""
        return f"[{self.name}]" if self.kind == "oracle" else self.name

    @property
    def ceiling(self) -> bool:
        """Whether it bounds what is possible."""
        return self.kind == "ceiling"


class FoldSlides(_Part):
    """A fold by name, with the slides of its parts."""

    name: str
    train: list[str]
    validation: list[str]
    test: list[str]


class Manifest(_Part):
    """Everything that defines the cells of a grid, and the base of what particular grids say of theirs."""

    FILE: ClassVar[str] = "grid.json"
    KIND: ClassVar[str] = "run"
    A_KIND: ClassVar[str] = "a run"
    COMMAND: ClassVar[str] = "run"
    REQUEST: ClassVar[type[Request]] = Request

    schema_version: int = SCHEMA_VERSION
    request: dict[str, Any] = Field(description="what was asked for, by option; grown by later commands")
    cohort: Name = Field(description="name of the cohort in its records")
    secret: str | None = Field(default=None, description="SHA-256 of the cohort's secret seed; its file is not kept")
    folds: list[FoldSlides]
    series: list[Series]
    single: bool = Field(default=False, description="whether every method has one cell, in a folder of its name")

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, said: Any) -> Any:
        return _upgraded(cls, said) if isinstance(said, dict) and said.get("schema_version") == 1 else said

    @property
    def asked(self) -> Request:
        """What was asked for."""
        return self.REQUEST.read(_known(self.request))

    @property
    def genes(self) -> list[int]:
        """Panel sizes, ascending."""
        return list(self.asked.genes)

    @property
    def seeds(self) -> list[int]:
        """Seeds of fitting and sampling, ascending."""
        return list(self.asked.seeds)

    @property
    def control_seed(self) -> int:
        """The seed of controls: the first that was ever asked for, so that they are run once."""
        return int(self.request.get("control_seed", min(self.seeds)))

    @property
    def preset(self) -> str:
        """Name of the preset of every method."""
        return self.asked.preset

    @property
    def test(self) -> list[str]:
        """Test slides of all folds."""
        return [slide for fold in self.folds for slide in fold.test]

    @property
    def name(self) -> str:
        """Name of a folder or page: cohort, panel size, split, digits of the settings that all cells share."""
        seed = f"-seed{self.seeds[0]}" if self.single else ""
        return f"{self.cohort}-g{self.genes[0]}-{ODD.sub('-', self.split_name)}{seed}-{self.digest}"

    @property
    def curves(self) -> list[Series]:
        """What the user named, in contrast to controls and ceilings."""
        return [series for series in self.series if not series.control]

    @property
    def split_name(self) -> str:
        """The split in short: a file's name for a file."""
        split = self.asked.split
        return Path(split).stem if split.endswith(".json") else split

    @property
    def digest(self) -> str:
        """Eight digits that differ whenever two grids may not share a folder for what all their cells share."""
        said = json.dumps(self._identity(), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    def _identity(self) -> dict[str, Any]:
        return self._shared()

    def _shared(self) -> dict[str, Any]:
        """What no cell may differ in; cells are independent, so the rest of a grid may grow."""
        shared = self.asked.shared()
        if self.KIND == "sweep":
            shared.pop("genes", None)
        secret = {} if self.secret is None else {"secret": self.secret}
        said = {"schema_version": 1, "cohort": self.cohort, **secret, **shared, **self._slides()}
        return {**said, "single": True, "seeds": self.seeds} if self.single else said

    def _slides(self) -> dict[str, Any]:
        if len(self.folds) == 1:
            return self.folds[0].model_dump(exclude={"name"})
        return {"folds": [fold.model_dump() for fold in self.folds]}

    def differences(self, asked: Self) -> list[str]:
        """``name found -> asked`` for every setting in which ``asked`` contradicts this grid.

        What all cells share comes first; only where that agrees are the series compared.
        """
        mine, theirs = self._shared(), asked._shared()
        if any(mine.get(name) != theirs.get(name) for name in ("dataset", "simulate", "split", "split_seed")):
            mine, theirs = ({k: v for k, v in said.items() if k not in _FOLLOWS} for said in (mine, theirs))
        return differing("", mine, theirs) or self._differences_of_series(asked)

    def _differences_of_series(self, asked: Self) -> list[str]:
        found = {series.name: series for series in self.series}
        pairs = [(found[one.name], one) for one in asked.series if one.name in found]
        lines = [line for one, other in pairs for line in differing(f"{one.name}: ", _said(one), _said(other))]
        changed = [line for one, other in pairs for line in changed_code(one.name, one.code, other.code)]
        return lines + list(dict.fromkeys(changed))

    def joined(self, asked: Self) -> Self:
        """This grid with the panel sizes, seeds and series of ``asked`` added."""
        series = {one.name: one for one in self.series}
        for one in asked.series:
            known = series.get(one.name, one)
            series[one.name] = known.model_copy(update={"control": known.control and one.control})
        genes, seeds = ({*getattr(self, name), *getattr(asked, name)} for name in ("genes", "seeds"))
        request = {
            **self.request,
            "genes": sorted(genes),
            "seeds": sorted(seeds),
            "control_seed": self.control_seed,
            "controls": self.request["controls"] or asked.request["controls"],
            "tuned": asked.request.get("tuned") or self.request.get("tuned"),
            "data_root": asked.request["data_root"],
            "device": asked.request["device"],
        }
        return self.model_copy(update={"request": request, "series": [*series.values()]})

    def command(self) -> str:
        """The command that repeats the grid. Where data and results lie, workers and device are left open."""
        return replace(self.whole_request(), secret=None if self.secret is None else Path("FILE")).command()

    def whole_request(self) -> Request:
        """What asks for all that the folder holds, whatever commands it grew by."""
        plain = [series for series in self.series if not series.control and not series.variant]
        overrides = [
            f"{series.name}.{key}={value}"
            for series in self.series
            if not series.variant
            for key, value in series.overrides.items()
        ]
        said = {
            **self.request,
            "methods": [series.method for series in plain],
            "overrides": overrides,
            "controls": any(series.control for series in self.series),
            **self._own(),
        }
        return self.REQUEST.read(_known(said))

    def _own(self) -> dict[str, Any]:
        """Options that a kind of grid has besides, as its series and tables say them."""
        return {}


M = TypeVar("M", bound=Manifest)


def _known(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "control_seed"}


def _upgraded(kind: type[Manifest], said: dict[str, Any]) -> dict[str, Any]:
    """A manifest of schema 1, which spelled the options of a run among its own fields."""
    known = dict(said)
    spelled = [name for name in known if name in kind.REQUEST.options() and name not in kind.model_fields]
    request = kind.REQUEST().dump() | {name: known.pop(name) for name in spelled}
    request["normalization"] = [request["normalization"]]
    request["control_seed"] = known.pop("control_seed")
    parts = {part: known.pop(part) for part in ("train", "validation", "test")}
    series = [*known.pop("series"), *(_old_ceilings(said) if known.pop("ceilings") else [])]
    fold = {"name": request["split"], **parts}
    return {**known, "schema_version": SCHEMA_VERSION, "request": request, "folds": [fold], "series": series}


def _old_ceilings(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ceilings as series; schema 1 said only that there were some."""
    cards = [card for card in ceilings_of(origin_of(find_card(str(said["dataset"])))) if method_class(card).predicts]
    facts = {"variant": False, "control": True, "overrides": {}, "settings": {}, "draws": 1}
    return [{"name": card.name, "method": card.name, "kind": "ceiling", **facts} for card in cards]


def differing(place: str, mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """``name found -> asked`` for every name with two values."""
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    return [f"{place}{name} {mine.get(name)!r} -> {theirs.get(name)!r}" for name in names]


def _said(series: Series) -> dict[str, Any]:
    settings = {f"setting {name}": value for name, value in series.settings.items()}
    tuned = {f"tuned in {fold}": one.settings for fold, one in series.tuned.items()}
    return {"method": series.method, **settings, **tuned, "draws": series.draws}


def read_manifest(out: Path, kind: type[M]) -> M | None:
    """What a folder belongs to, None where it belongs to no grid of this kind.

    Raises:
        DataError: its file and the copy of it are damaged, or it is of another version.
    """
    path = out / kind.FILE
    if not path.is_file():
        return None
    copy = _copy(out, kind.FILE)
    try:
        check_own(path, out)
        found = kind.model_validate(read_sealed(copy if damage_of(path) and copy.is_file() else path))
    except (OSError, DataError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = problem_of(error) if isinstance(error, ValidationError) else first_line(error)
        raise DataError(
            f"expected the settings of {kind.A_KIND} in {path}, found: {reason}; choose another --out"
        ) from error
    if found.schema_version != SCHEMA_VERSION:
        raise DataError(f"expected {kind.A_KIND} of schema {SCHEMA_VERSION} in {path}, found {found.schema_version}")
    return found


def join(out: Path, asked: M) -> M:
    """The grid in a folder, grown by what is asked; nothing is written.

    Raises:
        UserError: the folder holds something else, or a grid that contradicts what is asked.
        DataError: the file that says what it holds cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"expected a folder for the {asked.KIND} at {out}, found a file; choose another --out")
    found = read_manifest(out, type(asked))
    if found is None:
        if inside := _foreign(out, asked):
            raise UserError(f"expected an empty or new folder at {out}, found {inside[0]}; choose another --out")
        return asked
    if contradictions := found.differences(asked):
        raise UserError(f"{out} belongs to another {asked.KIND}: {'; '.join(contradictions)}; choose another --out")
    return found.joined(asked)


def _foreign(out: Path, asked: Manifest) -> list[str]:
    """What lies in a folder without a manifest and is no run that could be gone on with."""
    if not out.is_dir():
        return []
    ours = {series.name for series in asked.series} | _OF_RUNS if asked.single else set()
    names = [path.name for path in out.iterdir() if path.name[0] != "." and path.name not in ours]
    return sorted(names, key=lambda name: (name not in MANIFESTS, name))


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Write the file that says what a folder holds, making the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    for path in (_copy(out, manifest.FILE), out / manifest.FILE):
        write_sealed(path, json.loads(manifest.model_dump_json()), hint="choose another --out")


def _copy(out: Path, name: str) -> Path:
    """A second file of the same content, for the day that the first is damaged: nobody could go on with the folder."""
    return out / f".{name}"


def damage_of(path: Path) -> str | None:
    """Why a file that says what a folder holds is not what was written, None where it is, or where there is none."""
    try:
        if path.is_file():
            read_sealed(path)
    except DataError as error:
        return str(error)
    return None
