"""A submission scored again: task and truth are made from the cohort, and what it claims is held against them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.cohort import Cohort
from stbench.data.parts import Split, WithoutValidation
from stbench.data.slide import Slide
from stbench.data.splits import is_protocol
from stbench.errors import DataError, UserError
from stbench.evaluation.admission import Asked, check_admissible
from stbench.evaluation.agreement import Contradiction, contradictions
from stbench.evaluation.build import build_task, make_split
from stbench.evaluation.predictions import AGAIN, prediction_path
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import PRIMARY, Record, TaskFacts, read_record
from stbench.evaluation.request import parse_patch
from stbench.evaluation.rescore import Truths, rescored_record
from stbench.evaluation.seals import FILE_NAME as SEALS
from stbench.evaluation.submission import Submission, read_submission
from stbench.evaluation.task import TaskSettings
from stbench.features.encoder import Encoder
from stbench.metrics.summary import of_domains
from stbench.reporting import SILENT, Reporter
from stbench.text import count, listed, named, one_line

_UNCHECKED = ("left_out", "published")  # of a task: what lies on a disk, and what boards say later
_LAST = ("data_digest", "protocol_hash", "hash")  # follow from the rest, which is named first
_CLUSTERED = "domain-"  # begins the names of metrics that cluster a prediction
_SEND = "have it sent again"  # in place of what whoever made a run is told
_SHOWN = 80


@dataclass(frozen=True)
class Checked:
    """A run that was handed in, scored again with the same result.

    Args:
        place: its folder in the submission.
        record: what is scored here; what it says of training and hardware is the sender's.
        moved: metrics of domains that are another here: clusterings differ between machines.
        without: metrics that are claimed and not scored here.
    """

    place: str
    record: Record
    moved: list[str]
    without: list[str]

    def __str__(self) -> str:
        scores = self.record.metrics
        said = f"{self.place}: {count(len(scores), 'metric')} scored again, as claimed"
        if PRIMARY in scores and (mean := scores[PRIMARY].mean) is not None:
            said += f" ({PRIMARY} {mean:.4f})"
        said += f"; another here, as clusterings may be: {listed(self.moved)}" if self.moved else ""
        return said + (f"; not scored here and left out: {listed(self.without)}" if self.without else "")


class _Claimed(Encoder):
    """Stands for the encoder that a record names: a task needs its name, scores need no features."""

    def __init__(self, facts: TaskFacts) -> None:
        self.key, self.dim, self.sources = facts.encoder, 0, facts.feature_files

    def encode(
        self, patches: NDArray[np.uint8], *, white_point: NDArray[np.float64], um_per_px: float | None
    ) -> NDArray[np.float32]:
        raise NotImplementedError("what was encoded stays with the sender")


class Rebuilt(Truths):
    """Slides of tasks that are made again: split, panel and hashes from the cohort, none of them from the record."""

    def _key(self, record: Record) -> Any:
        return record.task, Asked.model_validate(record.request)

    def _read(self, record: Record) -> dict[str, Slide]:
        claimed, asked = record.task, Asked.model_validate(record.request)
        cohort, card = self.opened(record)
        if gone := sorted(claimed.n_spots.keys() - set(cohort.ids)):
            raise DataError(
                f"expected slide {gone[0]} of {cohort.name}, found no such slide in it; get it, as stbench datasets "
                f"show {asked.cohorts[-1]} says"
            )
        settings = TaskSettings(
            genes=claimed.n_genes + len(claimed.lacking), split=claimed.protocol, seed=asked.split_seed,
            normalization=claimed.scale, patch=parse_patch(asked.patch), validates=claimed.validates,
        )  # fmt: skip
        split = _split(cohort, claimed, settings)
        task = build_task(cohort, card, settings, self.cache_dir, self.reporter, encoder=_Claimed(claimed), split=split)
        _check_task(claimed, task.facts)
        return {id_: task.kept(id_) for id_ in task.facts.n_spots}


def _split(cohort: Cohort, claimed: TaskFacts, settings: TaskSettings) -> Split:
    """What the rule gives on the slides that the sender had; of a split file, what the record says."""
    if is_protocol(settings.split):
        refs = tuple(ref for ref in cohort.refs if ref.id in claimed.n_spots)
        tested = tuple(id_ for id_ in cohort.tested if id_ in claimed.n_spots)
        return make_split(replace(cohort, refs=refs, tested=tested), settings)
    train, validation, test = (tuple(part) for part in (claimed.train, claimed.validation, claimed.test))
    return Split(train, validation, test) if claimed.validates else WithoutValidation(train, validation, test)


def _check_task(claimed: TaskFacts, found: TaskFacts) -> None:
    names = [name for name in TaskFacts.model_fields if name not in (*_UNCHECKED, *_LAST)]
    for name in (*names, *_LAST):
        mine, theirs = getattr(found, name), getattr(claimed, name)
        if mine != theirs:
            raise DataError(
                f"expected the task that {found.dataset} gives, found another {name}: claimed {_brief(theirs)}, "
                f"computed {_brief(mine)}; it is of other data or of another task than it says"
            )


def _brief(value: Any) -> str:
    said = one_line(str(value))
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]} ..."


def checked(
    folder: Path, data_root: Path | None, cache_dir: Path, reporter: Reporter = SILENT, secret: Path | None = None
) -> tuple[Submission, list[Checked]]:
    """Score what somebody handed in again; nothing of it is executed, and nothing is written but to the cache.

    Args:
        folder: what :func:`stbench.evaluation.submit.submit` wrote.
        data_root: folder that holds one folder per cohort.
        cache_dir: where generated slides lie.
        reporter: where progress goes.
        secret: file of the seed of generated slides that were made with one.

    Returns:
        What was handed in, and every run of it with the scores that were computed.

    Raises:
        DataError: a file is not what was sent, a record claims what it may not, its task is not what the cohort gives,
            or a score is another one: the message says the metric, what was claimed and what was computed.
        UserError: a cohort is not there.
    """
    submission = read_submission(folder)
    records = {place: read_record(folder / place) for place in submission.cells}
    _check_files(folder, submission, records)
    for place, record in records.items():
        check_admissible(record, f"{folder / place}")
    truths = Rebuilt(data_root, cache_dir, reporter, secret)
    in_order = sorted(records.items(), key=lambda item: (item[1].task.hash, item[0]))
    with reporter.track("scoring again", len(in_order)) as advance:
        found = []
        for place, record in in_order:
            found.append(_scored(folder / place, record, place, truths))
            advance(note=place)
    return submission, sorted(found, key=lambda run: run.place)


def _check_files(folder: Path, submission: Submission, records: dict[str, Record]) -> None:
    expected = {name for place, record in records.items() for name in _names(place, record)}
    if not records or (odd := sorted(submission.files.keys() ^ expected)):
        found = f"{odd[0]} {'beside them' if odd[0] in submission.files else 'missing'}" if records else "none"
        raise DataError(f"{folder}: expected records with their predictions, found {found}; {_SEND}")


def _names(place: str, record: Record) -> Iterator[str]:
    yield from (f"{place}/{name}" for name in (RECORD, SEALS))
    yield from (prediction_path(Path(place), slide_id).as_posix() for slide_id in record.predictions)


def _scored(folder: Path, record: Record, place: str, truths: Truths) -> Checked:
    nothing: dict[str, Any] = {
        "references": {}, "per_set": {}, "gene_sets": None, "closed_with": False,
        "preset_saw": None,  # the card of whoever checks says it
    }  # fmt: skip
    task = record.task.model_copy(update={"published": None})
    claimed = record.model_copy(update={**nothing, "task": task})
    with _of(folder):
        truths.of(claimed)  # a task that is another one is told before what was predicted for it
        computed = rescored_record(claimed, folder, truths)
    apart = {one.metric: one for one in contradictions(claimed, computed)}
    clustered = {name for name in of_domains() if name.startswith(_CLUSTERED)}
    if wrong := [one for name, one in apart.items() if name not in clustered]:
        raise DataError(_refusal(folder, wrong[0]))
    without = sorted(claimed.metrics.keys() - computed.metrics.keys())
    return Checked(place, computed.model_copy(update={"rescored": True}), list(apart), without)


@contextmanager
def _of(folder: Path) -> Iterator[None]:
    """Whatever what lies in a folder leads to is one line that names the folder."""
    try:
        yield
    except UserError as error:
        said = str(error) if str(folder) in str(error) else f"{folder}: {error}"
        raise DataError(said.replace(AGAIN, _SEND).replace("run it again", _SEND)) from error
    except Exception as error:
        raise DataError(f"{folder}: expected a run that can be scored, found {named(error)}; {_SEND}") from error


def _refusal(folder: Path, one: Contradiction) -> str:
    where = f" of {one_line(one.place)[:_SHOWN]}" if one.place else ""
    way = {"metrics_single_draw": " of single draws", "metrics_posterior_mean": " of the posterior mean"}
    values = ["undefined" if value is None else f"{value:.6g}" for value in (one.first, one.second)]
    return (
        f"{folder}: expected the scores of its predictions, found another {one.metric}{way.get(one.way, '')}{where}: "
        f"claimed {values[0]}, computed {values[1]}; refused"
    )
