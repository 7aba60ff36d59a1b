"""Runs whose answers anybody can generate: a cohort made from a public seed, or from one that was published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stbench.data.secret import Secret, read_secret
from stbench.errors import DataError, UserError
from stbench.evaluation.record import Record
from stbench.files import write_text

FILE_NAME = "published-seeds.txt"  # beside the pages of boards; one seed per line


def is_public(record: Record) -> bool:
    """Whether a method could have generated the truth of a run: there was no secret seed, or it has been published.

    Never so for real data, whatever else is known of them. Whether the seed has been published is what the record says;
    :func:`marked` fills that in.
    """
    facts = record.task
    return facts.origin != "real" and (facts.secret is None or facts.published is not None)


def read_published(folder: Path) -> dict[str, str]:
    """SHA-256 of every seed published beside the boards of a folder to the seed; empty where there is no such file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected published seeds in {path}, found: {error}; restore it") from error
    return dict(_pair(path, number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip())


def _pair(path: Path, number: int, seed: str) -> tuple[str, str]:
    if not Secret.is_seed(seed):
        raise DataError(f"expected a seed of 64 hexadecimal digits in line {number} of {path}, found {seed[:80]!r}")
    return Secret(seed).sha256, seed


def publish(file: Path, folder: Path, records: Iterable[Record]) -> dict[str, str]:
    """Publish the seed in a file: add it to the list beside the boards of a folder.

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
    if all(record.task.secret != secret.sha256 for record in records):
        raise UserError(
            f"--publish-secret: expected a run made with the seed in {file}, of SHA-256 {secret.sha256}, found none; "
            "nothing was published"
        )
    published = {**read_published(folder), secret.sha256: secret.seed}
    write_text(folder / FILE_NAME, "".join(f"{seed}\n" for seed in sorted(published.values())))
    return published


def marked(records: Iterable[Record], published: Mapping[str, str]) -> list[Record]:
    """Records that say the seed they were made with, where it has been published; pages repeat it."""
    return [_marked(record, published.get(record.task.secret or "")) for record in records]


def _marked(record: Record, seed: str | None) -> Record:
    if seed is None or record.task.published is not None:
        return record
    about = f"{record.task.about}; the board is closed, its seed is published: `{seed}`"
    task = record.task.model_copy(update={"published": seed, "about": about})
    return record.model_copy(update={"task": task})
