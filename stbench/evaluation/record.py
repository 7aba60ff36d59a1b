"""What a run leaves behind: one JSON file with a versioned schema, documented by the models of this file."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stbench.errors import DataError
from stbench.files import read_sealed, write_sealed
from stbench.reading import check_own
from stbench.text import NAME, first_line

Origin = Literal["real", "semi-synthetic", "simulated"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)

SCHEMA_VERSION = 2
READABLE = (1, 2)  # version 2 only adds fields
FILE_NAME = "record.json"
_SHOWN = 100
_OF_WORDS = ("overrides", "simulate")  # of a request
PRIMARY = "pcc"  # rows are ordered by it, and a grid shows it while it runs


def _storable(said: dict[str, Any]) -> dict[str, Any]:
    """What can be written again: no NaN, no Infinity, no depth that ends the writer."""
    try:
        json.dumps(said, allow_nan=False).encode()
    except (RecursionError, TypeError) as error:
        raise ValueError(f"not to be written as JSON: {type(error).__name__}") from None
    return said


def _asked(said: dict[str, Any]) -> dict[str, Any]:
    """Options of several words are lists of words: pages and a second scoring go through them."""
    for option in _OF_WORDS:
        words = said.get(option, [])
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"expected {option} as a list of words")
    return said


Name = Annotated[str, StringConstraints(pattern=NAME, max_length=600)]
"""Of a cohort or a slide: anything a folder may be called, without slashes and characters that control a terminal."""
CardName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=200)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]
Said = Annotated[dict[str, Any], AfterValidator(_storable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TaskFacts(_Part):
    """What was predicted from what: everything that decides whether two numbers may be compared."""

    hash: Hash = Field(description="identity of the task; rows of one leaderboard share it")
    dataset: Name = Field(description="name of the cohort; <trains>-to-<tests> where another one tests")
    test_dataset: Name | Literal[""] = Field(
        default="", description="cohort whose slides test, where it is another one"
    )
    simulated: bool
    semi_synthetic: bool = Field(default=False, description="real counts with features made from them, no picture")
    about: str = Field(default="", description="how generated data were made; empty for data as they were measured")
    secret: Hash | None = Field(
        default=None, description="SHA-256 of the secret seed that generated data were made with, None without one"
    )
    published: Hash | None = Field(
        default=None, description="that seed, 64 hexadecimal digits, once its board is closed; None before"
    )
    n_genes: int = Field(ge=0)
    genes: list[str] = Field(description="panel, in column order")
    lacking: list[str] = Field(
        default=[], description="genes chosen for the panel that the test cohort does not name, left out of it"
    )
    normalization: str = Field(description="scale of expression and predictions, e.g. log1p of raw counts, natural log")
    encoder: str = Field(description="key of the image encoder")
    feature_files: dict[str, str] = Field(default={}, description="slide to sha256 of its file of precomputed features")
    patch: str = Field(description="patch geometry, e.g. 224 px")
    protocol: str = Field(
        description="how slides were split: slide, patient, kfold-..., lopo-... or the split file's name"
    )
    rule: str = Field(default="", description="rule whose fold this is, e.g. lopo of lopo-P01; empty before schema 2")
    protocol_hash: Hash | Literal[""] = Field(
        default="", description="identity of all folds of the rule on both scales; rows of one protocol may be compared"
    )
    train: list[Name]
    validation: list[Name]
    validates: bool = Field(default=True, description="whether the split has validation slides; else these train")
    test: list[Name]
    patients: dict[Name, str | None] = Field(description="patient of every slide used")
    leak_fraction: float | None = Field(description="share of test slides with a training patient; None when unknown")
    left_out: dict[str, str] = Field(default={}, description="slides of the cohort not used, with the reason")
    n_spots: dict[Name, int] = Field(description="spots of every slide used")
    data_digest: str = Field(description="hash of counts, positions and pictures used")

    @property
    def scale(self) -> str:
        """Name of the scale of expression."""
        return self.normalization.partition(":")[0]

    @property
    def origin(self) -> Origin:
        """Where the numbers come from; tables of one origin never show another."""
        return "simulated" if self.simulated else "semi-synthetic" if self.semi_synthetic else "real"


class Summary(_Part):
    """One metric over the test slides."""

    mean: float | None = Field(description="mean over slides where it is defined; None when it is defined on none")
    std: float | None = Field(description="sample standard deviation over slides; None below two")
    per_slide: dict[Name, float | None]
    n_undefined: dict[str, int] = Field(default={}, description="genes left out per slide, where any")
    n_constant: dict[str, int] = Field(
        default={},
        description="genes predicted constant though the truth varies, per slide (empty if pooled), where any",
    )
    dressed: bool = Field(
        default=False,
        description="whether it is of a normal law around a point, as wide as its residuals on validation slides",
    )


class GeneSetFacts(_Part):
    """Which gene sets were scored."""

    sha256: Hash = Field(description="of the file that was given")
    n_sets: int = Field(ge=0, description="sets in it")
    n_used: int = Field(ge=0, description="those with enough genes in the panel; the others are left out")


class DrawSummary(_Part):
    """One metric of single draws."""

    mean: float | None = Field(description="mean over draws of the mean over slides")
    std_draws: float | None = Field(description="sample standard deviation over draws of the mean over slides")
    std_slides: float | None = Field(description="sample standard deviation over slides of the mean over draws")
    per_slide: dict[Name, list[float | None]] = Field(description="slide to one value per draw")
    per_draw: list[float | None] = Field(default=[], description="mean over slides of each draw")
    n_constant: dict[str, int] = Field(
        default={}, description="genes predicted constant though the truth varies, per slide, the most of any draw"
    )


class Tuned(_Part):
    """How the settings of a run were chosen, on slides that its task trains and validates on."""

    study: Hash = Field(description="identity of the study: what was tried, on what, and what came out")
    trial: int = Field(ge=0, description="the trial that was chosen; 0 is the preset's own settings")
    trials: int = Field(ge=1, description="how many there were")
    objective: CardName = Field(description="metric held against the best control's on every inner fold")
    value: float = Field(description="mean over inner folds of what the trial gains on the best control")
    default: float | None = Field(
        default=None, description="the same of the preset's own settings, None where they failed"
    )
    slides: list[Name] = Field(description="slides whose counts the inner folds held, to fit or to score")
    settings: Said = Field(description="settings over the preset's")


class Record(_Part):
    """One method on one task."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["done", "refused", "failed"]
    reason: str | None = Field(default=None, description="why the run was refused or failed")
    task: TaskFacts
    method: CardName
    title: str
    kind: Literal["generative", "discriminative", "control", "oracle", "ceiling", "reference"]
    entry: str
    code: str | None = Field(
        default=None, description="sha256 of the source file of a third-party method; None for methods of stbench"
    )
    preset: str
    settings: Said
    seed: int
    draws: int
    encoder: str = Field(description="key of the encoder this method was given; differs from the task's for bound ones")
    pretrained: dict[str, str] = Field(
        default={},
        description="setting that names pretrained weights to their name and the sha256 of their file, name/sha256; "
        "method: those it comes with; the encoder's stand in its key",
    )
    tuned: Tuned | None = Field(
        default=None, description="how its settings were chosen in a study; None: they are the preset's and the user's"
    )
    preset_saw: dict[str, list[str]] | None = Field(
        default=None, description="cohort to patients that its preset was chosen on, as the card said when it ran"
    )
    command: str = Field(description="command that repeats the run")
    request: Annotated[Said, AfterValidator(_asked)] = Field(
        default={}, description="everything the user asked for, by option"
    )
    metrics: dict[CardName, Summary] = Field(
        default={}, description="of the declared prediction: the mean of the draws"
    )
    metrics_single_draw: dict[CardName, DrawSummary] = Field(
        default={}, description="of one draw; empty for point predictions"
    )
    metrics_posterior_mean: dict[CardName, Summary] = Field(
        default={}, description="of the direct posterior mean, if offered"
    )
    references: dict[str, dict[CardName, Summary]] = Field(
        default={}, description="of kind reference: row to what is known of domains without a prediction"
    )
    per_gene: dict[str, dict[str, list[float | None]]] = Field(
        default={}, description="metric to slide to one value per gene of the panel, of the declared prediction"
    )
    gene_sets: GeneSetFacts | None = Field(default=None, description="of metrics of gene sets; None without them")
    per_set: dict[str, dict[str, dict[str, float]]] = Field(
        default={}, description="metric to slide to gene set to its value, of the declared prediction, where defined"
    )
    rules: int = Field(default=1, description="stbench.metrics.score.RULES under which the scores were made")
    calibration: float | None = Field(
        default=None, ge=0, description="of calibrated draws: squared error of their mean over the variance of a draw"
    )
    predictions: dict[Name, str] = Field(
        default={}, description="validation and test slide to the hash of what was predicted of it"
    )
    closed_with: bool = Field(
        default=False, description="whether it stood on the board that the secret seed was published with"
    )
    rescored: bool = Field(
        default=False, description="whether it was sent in and its predictions were scored here, with the same result"
    )
    seconds: dict[str, float] = Field(
        default={}, description="wall time of fit, predict, write and score; read and features of the task"
    )
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    hardware: Said = {}
    versions: dict[str, str] = {}
    created: str = ""
    notes: list[str] = []

    @property
    def calibrated(self) -> bool:
        """Whether its draws were scaled around their mean."""
        return bool(self.settings.get("calibrate")) and self.draws > 1

    @property
    def follows(self) -> int:
        """The newest rules its scores follow; 3 changed 2 for calibrated draws alone."""
        return 3 if self.rules == 2 and not self.calibrated else self.rules


def write_record(record: Record, folder: Path) -> Path:
    """Write ``record.json`` into ``folder``; it appears only when complete, and holds the hash of what it says."""
    path = folder / FILE_NAME
    write_sealed(path, record.model_dump())
    return path


def read_record(path: Path) -> Record:
    """Read a record from its file or its run folder.

    Raises:
        DataError: missing, not JSON, of another schema version, not a record, changed after it was written, or a link
            out of its folder.
    """
    path = path / FILE_NAME if path.is_dir() else path
    try:
        check_own(path, path.parent)
        return record_of(read_sealed(path))
    except (OSError, DataError, ValueError) as error:
        raise DataError(f"expected a record in {path}, found {first_line(error)}; run it again") from error


def record_of(content: Any) -> Record:
    """The record that JSON holds; raises ValueError, in one line, where it is none or of another schema version."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE:
        raise ValueError(f"schema {version!r} in place of {SCHEMA_VERSION}")
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        is_name = problem["type"] in ("string_pattern_mismatch", "string_too_long")
        said = "no name that a file may bear" if is_name else problem["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place} {shorten(ascii(problem['input']), _SHOWN)}: {said}") from None


def find_records(places: list[Path]) -> list[Path]:
    """Every ``record.json`` at or below the given files and folders, sorted.

    Raises:
        DataError: a place holds none.
    """
    found: list[Path] = []
    for place in places:
        here = [place] if place.is_file() else sorted(place.rglob(FILE_NAME))
        if not here:
            raise DataError(f"expected {FILE_NAME} in {place}, found none; give the folder that stbench run wrote")
        found += here
    return sorted(set(found))
