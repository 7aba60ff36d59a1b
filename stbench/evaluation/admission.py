"""What a record that is handed in may claim: a finished run of a method, on a registered cohort, scored as today."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from stbench.catalogue import dataset_cards, is_foreign, method_cards, problem_of
from stbench.errors import DataError
from stbench.evaluation.record import SCHEMA_VERSION, Record
from stbench.metrics.score import RULES
from stbench.text import listed, one_line

OWN = ("generative", "discriminative")
"""Kinds of methods that stbench does not bring; a control of somebody's own would move the bar for all."""
SENT = (*OWN, "control")
_SHOWN = 100
_AGAIN = "mend it and let stbench submit write it again"


class Asked(BaseModel):
    """What a request must say of the data for a task to be made from it again; the rest of it is not looked at."""

    dataset: str
    test_dataset: str | None = None
    split_seed: int = Field(default=0, ge=0, strict=True)
    patch: str | None = None
    simulate: list[str] = Field(default=[], max_length=100)
    patients: None = Field(default=None, description="a table of the sender's own, of no registered cohort")
    genes_table: None = Field(default=None, description="the same, of names of genes")

    @property
    def cohorts(self) -> list[str]:
        """Names of the cohorts."""
        return [self.dataset] if self.test_dataset is None else [self.dataset, self.test_dataset]


def check_admissible(record: Record, where: str) -> Asked:
    """Refuse what nobody else could score again, or what says of itself more than a row may.

    Args:
        record: that is handed in.
        where: its folder, for messages.

    Returns:
        What it asked of the data.

    Raises:
        DataError: one of its claims; the message says which.
    """
    for expected, found, is_so in _claims(record):
        if not is_so:
            raise DataError(f"{where}: expected {expected}, found {one_line(str(found))[:_SHOWN]}; {_AGAIN}")
    try:
        asked = Asked.model_validate(record.request)
    except ValidationError as error:
        raise DataError(
            f"{where}: expected the request of a run on a registered cohort, found {one_line(problem_of(error))}"
        ) from error
    for name in asked.cohorts:
        if name not in dataset_cards():
            raise DataError(
                f"{where}: expected a cohort that others can have, of stbench datasets list, found "
                f"{one_line(name)[:_SHOWN]!r}; {_AGAIN}"
            )
    return asked


def _claims(record: Record) -> list[tuple[str, Any, bool]]:
    task, tested = record.task, {*record.task.test, *record.task.validation}
    return [
        ("a finished run", f"one that is {record.status}: {record.reason}", record.status == "done"),
        (f"a record of schema {SCHEMA_VERSION}", record.schema_version, record.schema_version == SCHEMA_VERSION),
        (f"scores under rules {RULES} (stbench rescore)", f"rules {record.rules}", record.follows == RULES),
        ("a slide that tests", "none", bool(task.test)),
        (
            "predictions of its test and validation slides",
            f"those of {listed(record.predictions) or 'none'}",
            record.predictions.keys() == tested,
        ),
        _of_method(record),
    ]


def _of_method(record: Record) -> tuple[str, Any, bool]:
    """A method of stbench is what its card says, and any other one is none of its names and kinds."""
    card = method_cards().get(record.method)
    if card is None or is_foreign(card):
        is_own = record.kind in OWN and not record.entry.startswith("stbench.")
        return f"a method of your own to be {listed(OWN, ' or ')}", f"{record.kind} {record.entry}", is_own
    is_card = (record.kind, record.entry) == (card.kind, card.entry) and record.kind in SENT
    return f"{card.name} as stbench has it ({listed(SENT, ', ')})", f"{record.kind} {record.entry}", is_card
