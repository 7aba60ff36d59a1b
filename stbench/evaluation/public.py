"""Runs whose answers anybody can generate: a cohort made from a public seed, or from one that was published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stbench.data.secret import Secret, read_secret
from stbench.errors import DataError, UserError
from stbench.evaluation.record import Record
from stbench.files import write_text
from stbench.reading import check_regular

FILE_NAME = "published-seeds.txt"  # beside the pages of boards; a seed per line, below it the runs of its board
_RUN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Published:
    """A seed that everybody knows, and the runs made before that.

    Args:
        seed: 64 hexadecimal digits.
        runs: :func:`run_hash` of every run of the boards that were closed with it.
    """

    seed: str
    runs: frozenset[str] = frozenset()


def is_public(record: Record) -> bool:
    """Whether a method could have generated the truth of a run: no secret seed, or one published before the run.

    Never so for real data, whatever else is known of them. Whether the seed has been published, and whether the run
    stood on the board that was closed then, is what the record says; :func:`marked` fills that in.
    """
    facts = record.task
    late = facts.published is not None and not record.closed_with
    return facts.origin != "real" and (facts.secret is None or late)


def run_hash(record: Record) -> str:
    """Sixteen hexadecimal digits of what was run on what and of what it predicted."""
    named = [record.task.hash, record.entry, record.code, record.preset, record.settings, record.seed, record.draws]
    text = json.dumps([*named, record.predictions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_published(folder: Path) -> dict[str, Published]:
    """SHA-256 of every seed published beside the boards of a folder to the seed; empty where there is no such file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        check_regular(path)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected published seeds in {path}, found: {error}; restore it") from error
    runs: dict[str, set[str]] = {}
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if Secret.is_seed(word):
            runs.setdefault(word, set())
        elif word and runs and _RUN.fullmatch(word):
            runs[list(runs)[-1]].add(word)
        elif word:
            raise DataError(
                f"expected a seed of 64 hexadecimal digits, or below it a run of 16, in line {number} of {path}, found "
                f"{word[:80]!r}; restore it"
            )
    return {Secret(seed).sha256: Published(seed, frozenset(found)) for seed, found in runs.items()}


def publish(file: Path, folder: Path, records: Iterable[Record]) -> dict[str, Published]:
    """Publish the seed in a file, with the runs made until then, in the list beside the boards of a folder.

    A seed that stands there is known: no run is added to it any more.

    Args:
        file: of the secret seed.
        folder: of the boards.
        records: what the boards are made of.

    Returns:
        What :func:`read_published` says from now on.

    Raises:
        UserError: the file holds no seed, no record was made with it, or the list cannot be written.
    """
    secret = read_secret(file, "--publish-secret")
    runs = frozenset(run_hash(record) for record in records if record.task.secret == secret.sha256)
    if not runs:
        raise UserError(
            f"--publish-secret: expected a run made with the seed in {file}, of SHA-256 {secret.sha256}, found none; "
            "nothing was published"
        )
    published = {secret.sha256: Published(secret.seed, runs), **read_published(folder)}
    write_text(folder / FILE_NAME, "".join(map(_lines, sorted(published.values(), key=lambda one: one.seed))))
    return published


def _lines(one: Published) -> str:
    return "".join(f"{line}\n" for line in (one.seed, *(f"  {run}" for run in sorted(one.runs))))


def marked(records: Iterable[Record], published: Mapping[str, Published]) -> list[Record]:
    """Records that say the seed they were made with, where it has been published; pages repeat it."""
    return [_marked(record, published.get(record.task.secret or "")) for record in records]


def _marked(record: Record, known: Published | None) -> Record:
    if known is None or record.task.published is not None:
        return record
    about = f"{record.task.about}; the board is closed, its seed is published: `{known.seed}`"
    task = record.task.model_copy(update={"published": known.seed, "about": about})
    return record.model_copy(update={"task": task, "closed_with": run_hash(record) in known.runs})
