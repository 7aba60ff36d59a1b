"""What the folder of a grid belongs to: ``sweep.json`` says everything that defines the cells of a sweep."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stbench.errors import DataError, UserError
from stbench.evaluation.choices import Choices
from stbench.files import write_text
from stbench.text import first_line

SCHEMA_VERSION = 1
MANIFESTS = ("sweep.json", "ablation.json")
_FOLLOWS = {"cohort", "train", "validation", "test"}  # from the dataset and the split


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Series(_Part):
    """One method under one set of settings: a curve, or a reference line."""

    name: str = Field(description="label, and name of the folder of its runs")
    method: str = Field(description="registered name, or path/to/file.py:Class")
    kind: str
    variant: bool = Field(description="whether the user named it with --variant")
    control: bool = Field(description="whether it is one of the usual controls, run with one seed")
    overrides: dict[str, str] = Field(description="setting to text, over the preset")
    settings: dict[str, Any] = Field(description="every resolved setting")
    draws: int

    @property
    def title(self) -> str:
        """The label; in brackets where it sees the truth, as in leaderboards."""
        return f"[{self.name}]" if self.kind == "oracle" else self.name


class Manifest(_Part):
    """Everything that defines the cells of a sweep, and the base of what other grids say of theirs."""

    FILE: ClassVar[str] = "sweep.json"
    COMMAND: ClassVar[str] = "sweep-genes"
    KIND: ClassVar[str] = "sweep"
    A_KIND: ClassVar[str] = "a sweep"
    GROWS: ClassVar[frozenset[str]] = frozenset({"genes", "seeds", "control_seed", "series", "ceilings"})

    schema_version: int = SCHEMA_VERSION
    dataset: str
    cohort: str = Field(description="name of the cohort in its records")
    simulate: list[str]
    split: str
    split_seed: int
    train: list[str]
    validation: list[str]
    test: list[str]
    normalization: str
    encoder: str | None
    weights: str | None
    patch: str | None
    preset: str
    draws: int | None
    genes: list[int]
    seeds: list[int]
    control_seed: int
    series: list[Series]
    ceilings: bool

    @property
    def name(self) -> str:
        """File name of the page: cohort, split, digits of the settings that all cells share."""
        return f"{self.cohort}-genes-{self.split_name}-{self.digest}"

    @property
    def split_name(self) -> str:
        """The split in short: a file's name for a file."""
        return Path(self.split).stem if self.split.endswith(".json") else self.split

    @property
    def digest(self) -> str:
        """Eight digits that differ whenever two sweeps may not share a folder for what all their cells share."""
        said = json.dumps(self._identity(), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    def _identity(self) -> dict[str, Any]:
        return self._shared()

    def _shared(self) -> dict[str, Any]:
        """What no cell may differ in; cells are independent, so the rest of a grid may grow."""
        return self.model_dump(mode="json", exclude=set(self.GROWS))

    def differences(self, asked: Self) -> list[str]:
        """``name found -> asked`` for every setting in which ``asked`` contradicts this sweep.

        What all cells share comes first; only where that agrees are the series compared.
        """
        mine, theirs = self._shared(), asked._shared()
        if any(mine[name] != theirs[name] for name in ("dataset", "simulate", "split", "split_seed")):
            mine, theirs = ({k: v for k, v in said.items() if k not in _FOLLOWS} for said in (mine, theirs))
        return differing("", mine, theirs) or self._differences_of_series(asked)

    def _differences_of_series(self, asked: Self) -> list[str]:
        found = {series.name: series for series in self.series}
        pairs = [(found[one.name], one) for one in asked.series if one.name in found]
        return [line for one, other in pairs for line in differing(f"{one.name}: ", _said(one), _said(other))]

    def joined(self, asked: Self) -> Self:
        """This sweep with the panel sizes, seeds and series of ``asked`` added."""
        series = {one.name: one for one in self.series}
        for one in asked.series:
            known = series.get(one.name, one)
            series[one.name] = known.model_copy(update={"control": known.control and one.control})
        changes = {
            "genes": sorted({*self.genes, *asked.genes}),
            "seeds": sorted({*self.seeds, *asked.seeds}),
            "series": [*series.values()],
            "ceilings": self.ceilings or asked.ceilings,
        }
        return self.model_copy(update=changes)

    def command(self) -> str:
        """The command that repeats the sweep. Where data and results lie, workers and device are left open."""
        asked = [series for series in self.series if not series.control]
        plain = [series for series in asked if not series.variant]
        words = ["stbench", self.COMMAND]
        words += ["--methods", ",".join(series.method for series in plain)] if plain else ["--methods", ""]
        for series in asked:
            if series.variant:
                said = [f"{series.name}={series.method}", *(f"{k}={v}" for k, v in series.overrides.items())]
                words += ["--variant", ",".join(said)]
        words += ["--dataset", self.dataset, "--genes", listed(self.genes), "--seeds", listed(self.seeds)]
        words += ["--preset", self.preset]
        for series in self.series:
            if not series.variant:
                words += [word for k, v in series.overrides.items() for word in ("--set", f"{series.name}.{k}={v}")]
        words += self._options()
        has_controls = self.ceilings or any(series.control for series in self.series)
        return shlex.join(words if has_controls else [*words, "--no-controls"])

    def _options(self) -> list[str]:
        """Words of what differs from the defaults of a run."""
        options = {
            "--split": (self.split, Choices.split),
            "--split-seed": (self.split_seed, Choices.split_seed),
            "--draws": (self.draws, Choices.draws),
            "--encoder": (self.encoder, Choices.encoder),
            "--weights": (self.weights, Choices.weights),
            "--patch": (self.patch, Choices.patch),
            "--normalize": (self.normalization, Choices.normalization),
        }
        said = [str(word) for option, (value, usual) in options.items() if value != usual for word in (option, value)]
        return [*said, *(word for text in self.simulate for word in ("--simulate", text))]


M = TypeVar("M", bound=Manifest)


def differing(place: str, mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """``name found -> asked`` for every name with two values."""
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    return [f"{place}{name} {mine.get(name)!r} -> {theirs.get(name)!r}" for name in names]


def _said(series: Series) -> dict[str, Any]:
    settings = {f"setting {name}": value for name, value in series.settings.items()}
    return {"method": series.method, **settings, "draws": series.draws}


def listed(numbers: list[int]) -> str:
    """Numbers as an option takes them."""
    return ",".join(str(number) for number in numbers)


def read_manifest(out: Path, kind: type[M]) -> M | None:
    """What a folder belongs to, None where it belongs to no grid of this kind.

    Raises:
        DataError: its file is damaged or of another version.
    """
    path = out / kind.FILE
    if not path.is_file():
        return None
    try:
        found = kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        reason = first_line(error)
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
        names = [path.name for path in out.iterdir() if path.name[0] != "."] if out.is_dir() else []
        inside = sorted(names, key=lambda name: (name not in MANIFESTS, name))
        if inside:
            raise UserError(f"expected an empty or new folder at {out}, found {inside[0]}; choose another --out")
        return asked
    if contradictions := found.differences(asked):
        raise UserError(f"{out} belongs to another {asked.KIND}: {'; '.join(contradictions)}; choose another --out")
    return found.joined(asked)


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Write the file that says what a folder holds, making the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    write_text(out / manifest.FILE, manifest.model_dump_json(indent=1) + "\n", hint="choose another --out")
