"""What a sweep folder belongs to: ``sweep.json`` says everything that defines its cells."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stbench.errors import DataError, UserError
from stbench.evaluation.choices import Choices

FILE_NAME = "sweep.json"
SCHEMA_VERSION = 1
COMMAND = "sweep-genes"
_GROWS = {"genes", "seeds", "control_seed", "series", "ceilings"}  # cells are independent: a grid may grow
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
    """Everything that defines the cells of a sweep."""

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
        split = Path(self.split).stem if self.split.endswith(".json") else self.split
        return f"{self.cohort}-genes-{split}-{self.digest}"

    @property
    def digest(self) -> str:
        """Eight digits that differ whenever two sweeps may not share a folder for what all their cells share."""
        said = json.dumps(self._shared(), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    def _shared(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=_GROWS)

    def differences(self, asked: Manifest) -> list[str]:
        """``name found -> asked`` for every setting in which ``asked`` contradicts this sweep.

        What all cells share comes first; only where that agrees are the series compared.
        """
        mine, theirs = self._shared(), asked._shared()
        if any(mine[name] != theirs[name] for name in ("dataset", "simulate", "split", "split_seed")):
            mine, theirs = ({k: v for k, v in said.items() if k not in _FOLLOWS} for said in (mine, theirs))
        found = {series.name: series for series in self.series}
        pairs = [(found[one.name], one) for one in asked.series if one.name in found]
        of_series = [line for one, other in pairs for line in _differing(f"{one.name}: ", _said(one), _said(other))]
        return _differing("", mine, theirs) or of_series

    def joined(self, asked: Manifest) -> Manifest:
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
        words = ["stbench", COMMAND]
        words += ["--methods", ",".join(series.method for series in plain)] if plain else ["--methods", ""]
        for series in asked:
            if series.variant:
                said = [f"{series.name}={series.method}", *(f"{k}={v}" for k, v in series.overrides.items())]
                words += ["--variant", ",".join(said)]
        words += ["--dataset", self.dataset, "--genes", _listed(self.genes), "--seeds", _listed(self.seeds)]
        words += ["--preset", self.preset]
        for series in self.series:
            if not series.variant:
                words += [word for k, v in series.overrides.items() for word in ("--set", f"{series.name}.{k}={v}")]
        options = {
            "--split": (self.split, Choices.split),
            "--split-seed": (self.split_seed, Choices.split_seed),
            "--draws": (self.draws, Choices.draws),
            "--encoder": (self.encoder, Choices.encoder),
            "--weights": (self.weights, Choices.weights),
            "--patch": (self.patch, Choices.patch),
            "--normalize": (self.normalization, Choices.normalization),
        }
        words += [str(word) for option, (value, usual) in options.items() if value != usual for word in (option, value)]
        words += [word for text in self.simulate for word in ("--simulate", text)]
        has_controls = self.ceilings or any(series.control for series in self.series)
        return shlex.join(words if has_controls else [*words, "--no-controls"])


def _differing(place: str, mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    return [f"{place}{name} {mine.get(name)!r} -> {theirs.get(name)!r}" for name in names]


def _said(series: Series) -> dict[str, Any]:
    settings = {f"setting {name}": value for name, value in series.settings.items()}
    return {"method": series.method, **settings, "draws": series.draws}


def _listed(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


def read_manifest(out: Path) -> Manifest | None:
    """The sweep a folder belongs to, None where it belongs to none.

    Raises:
        DataError: its ``sweep.json`` is damaged or of another version.
    """
    path = out / FILE_NAME
    if not path.is_file():
        return None
    try:
        found = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"expected the settings of a sweep in {path}, found: {reason}; choose another --out") from error
    if found.schema_version != SCHEMA_VERSION:
        raise DataError(f"expected a sweep of schema {SCHEMA_VERSION} in {path}, found {found.schema_version}")
    return found


def join(out: Path, asked: Manifest) -> Manifest:
    """The sweep in a folder, grown by what is asked; nothing is written.

    Raises:
        UserError: the folder holds something else, or a sweep that contradicts what is asked.
        DataError: its ``sweep.json`` cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"expected a folder for the sweep at {out}, found a file; choose another --out")
    found = read_manifest(out)
    if found is None:
        inside = sorted(path.name for path in out.iterdir() if path.name[0] != ".") if out.is_dir() else []
        if inside:
            raise UserError(f"expected an empty or new folder at {out}, found {inside[0]}; choose another --out")
        return asked
    if differing := found.differences(asked):
        raise UserError(f"{out} belongs to another sweep: {'; '.join(differing)}; choose another --out")
    return found.joined(asked)


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Write ``sweep.json``, making the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    path = out / FILE_NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(FILE_NAME + ".part")
        temporary.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"expected to write the sweep to {out}, found: {error}; choose another --out") from error
