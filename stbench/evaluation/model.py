"""A fitted method on disk: the model file, and beside it all that applying it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stbench.catalogue import MethodCard, problem_of
from stbench.errors import DataError
from stbench.evaluation.folder import FACTS
from stbench.evaluation.record import Origin
from stbench.files import read_sealed, sha256_of
from stbench.methods.base import Method
from stbench.methods.calibration import calibrated
from stbench.methods.registry import find_method, method_class
from stbench.reading import check_own, check_regular
from stbench.text import first_line

MODEL: Literal["model.safetensors"] = "model.safetensors"


class Seen(BaseModel):
    """What the slides looked like that a method was fitted on; others are held against it."""

    model_config = ConfigDict(extra="forbid")

    um_per_px: list[float] = Field(default=[], description="of every slide where it is known")
    pitch_um: float | None = Field(default=None, description="distance of neighbouring spots, micrometres")
    hexagonal: bool = Field(default=False, description="whether a spot has six neighbours, as on Visium; else four")
    mean: list[float] = Field(default=[], description="of every feature: mean of the slides' means")
    sd: list[float] = Field(default=[], description="of every feature: standard deviation within slides")
    apart: float | None = Field(
        default=None, description="farthest slide from the others: root mean square over features, in their sd"
    )
    calibration: list[float] = Field(default=[], description="what the encoder makes of one fixed tile")


class GeneWorth(BaseModel):
    """What predictions of a gene are worth, measured on patients that had not been seen."""

    model_config = ConfigDict(extra="forbid")

    gene: str
    patients: int = Field(description="on whom it was measured")
    pcc: float | None = Field(default=None, description="mean over patients, each with the same weight")
    low: float | None = Field(default=None, description="lower end of its 95 % t interval, None below four patients")
    high: float | None = None
    control: str = Field(default="", description="the control that does best in this gene")
    control_pcc: float | None = None
    ceiling: float | None = Field(default=None, description="PCC that the noise of the counts allows")
    trusted: bool = Field(default=False, description="the interval lies above 0 and the mean above the best control's")


class ModelFacts(BaseModel):
    """What ``model.json`` says of the fitted method beside it; no path of the machine it was fitted on."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    method: str
    title: str
    kind: str
    entry: str = Field(
        pattern=r"^[^/\\]+$", description="where the class is; of a file its name alone: no model says what file to run"
    )
    preset: str
    settings: dict[str, Any] = Field(description="every resolved setting, as the model file holds them")
    seed: int
    draws: int = Field(description="samples the method draws per slide unless asked otherwise")
    dataset: str
    origin: Origin
    about: str = Field(description="how generated data were made; empty for data as they were measured")
    genes: list[str] = Field(description="panel, in column order")
    normalization: str = Field(description="scale of the predictions: log1p, log2p1 or cp10k-log1p")
    encoder_name: str = Field(description="encoder of the features the method was given; none where it sees none")
    encoder: str = Field(description="its key: equal keys, equal features")
    weights: str | None = Field(description="sha256 of the encoder's weights or feature files, None for one without")
    patch: dict[str, float | int | None] = Field(description="side of a patch: um or px, and out_px it is brought to")
    train: list[str]
    validation: list[str]
    patients: dict[str, str | None]
    n_spots: dict[str, int]
    left_out: dict[str, str]
    licence: str = Field(default="", description="of the data it was fitted on, as the cohort's card gives it")
    seen: Seen = Seen()
    worth: list[GeneWorth] = Field(default=[], description="of every gene, empty where it was not measured")
    data_digest: str = Field(description="hash of counts, positions and pictures used")
    file: Literal["model.safetensors", "checkpoint.safetensors"] = Field(
        default=MODEL, description="name of the model file"
    )
    model: str = Field(description="sha256 of it")
    seconds: float = Field(description="wall time of fitting")
    hardware: dict[str, Any]
    versions: dict[str, str]
    created: str
    command: str
    request: dict[str, Any]

    @property
    def card(self) -> MethodCard:
        """Card of the method; raises UnknownNameError where it is not registered here, nor its file in this folder."""
        return find_method(self.entry if ".py:" in self.entry else self.method)


def read_facts(folder: Path) -> ModelFacts:
    """What ``model.json`` says.

    Raises:
        DataError: it is missing, damaged, or a link out of the folder; the message is what was found.
    """
    try:
        check_own(folder / FACTS, folder)
        return ModelFacts.model_validate(read_sealed(folder / FACTS))
    except ValidationError as error:
        raise DataError(problem_of(error)) from error
    except OSError as error:
        raise DataError(first_line(error)) from error


def is_damaged(folder: Path) -> bool:
    """Whether there is a ``model.json`` that cannot be read."""
    if not (folder / FACTS).is_file():
        return False
    try:
        read_facts(folder)
    except DataError:
        return True
    return False


def load_model(folder: Path) -> tuple[ModelFacts, Method]:
    """Read what :func:`fit_model` wrote; the method predicts what it predicted when it was fitted.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
        UnknownNameError: the method is not registered here.
    """
    try:
        facts = read_facts(folder)
        check_own(folder / facts.file, folder)
        check_regular(folder / facts.file)
        found = sha256_of(folder / facts.file)
    except (OSError, DataError, ValueError) as error:
        raise DataError(f"expected a model in {folder}, found: {first_line(error)}; fit it again") from error
    if found != facts.model:
        raise DataError(f"expected in {folder} the model that {FACTS} describes, found another; fit it again")
    return facts, calibrated(method_class(facts.card).load(folder / facts.file))
