"""Which files of a cohort are wanted, which are missing here, and getting those."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stbench.errors import DataError, UserError
from stbench.files import FULL
from stbench.locks import sole
from stbench.reporting import SILENT, Reporter

_RESERVE_BYTES = 2**28  # left free on the disk
_LOCK = ".fetching.lock"


@dataclass(frozen=True)
class RemoteFile:
    """A file at its source.

    Args:
        path: relative path, the same at the source and under the cohort's folder.
        size: bytes.
        digest: what the source says of its content, in the source's own way; empty when it says nothing.
    """

    path: str
    size: int
    digest: str = ""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or PurePosixPath(self.path).is_absolute() or ".." in parts or "\\" in self.path:
            raise DataError(f"the source names a file outside its folder ({self.path!r}); nothing was downloaded")


class Source(ABC):
    """Where a cohort's files are."""

    name: str
    terms: str

    @abstractmethod
    def files(self, slides: Sequence[str], *, images: bool) -> list[RemoteFile]:
        """Exactly the files the slides need; ``images`` takes whole pictures in place of patches.

        Raises:
            UserError: no token, terms not accepted, no network, or a slide the source lacks; each told apart.
        """

    @abstractmethod
    def get(self, file: RemoteFile, folder: Path, reporter: Reporter) -> None:
        """Bring one file under ``folder``; an interrupted one goes on where it stopped, a whole one appears at once.

        Raises:
            UserError: as :meth:`files`, or the file that came is not the one promised.
            OSError: the disk is full or cannot be written.
        """


@dataclass(frozen=True)
class Download:
    """What would be downloaded.

    Args:
        source: from where.
        folder: to where.
        wanted: every file the slides need.
        missing: those not here yet.
    """

    source: Source
    folder: Path
    wanted: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes still to come."""
        return sum(file.size for file in self.missing)


def plan_download(source: Source, slides: Sequence[str], folder: Path, *, images: bool = False) -> Download:
    """Compare what the slides need with what is here; a file of another size counts as missing.

    Raises:
        UserError: the source cannot be asked, or the disk has no room for what is missing.
    """
    wanted = tuple(source.files(slides, images=images))
    missing = tuple(file for file in wanted if not _here(folder / file.path, file.size))
    plan = Download(source, folder, wanted, missing)
    free = shutil.disk_usage(_existing(folder)).free
    if plan.size + _RESERVE_BYTES > free:
        raise UserError(
            f"expected {size_text(plan.size)} of free disk at {folder}, found {size_text(free)}; "
            "free some space, choose another --data-root, or fetch fewer slides with --slide"
        )
    return plan


def _here(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def fetch(plan: Download, reporter: Reporter = SILENT) -> None:
    """Download what is missing. What is whole stays whatever happens; running it again goes on.

    Raises:
        UserError: the source refuses, the network fails, the disk is full or cannot be written, or another process
            fetches into the same folder.
    """
    if not plan.missing:
        return
    refusal = f"another process is fetching into {plan.folder}; wait for it, then repeat the command"
    with _told_apart(plan, plan.missing[0]):
        plan.folder.mkdir(parents=True, exist_ok=True)
        with sole(plan.folder / _LOCK, refusal):
            _fetch_all(plan, reporter)


def _fetch_all(plan: Download, reporter: Reporter) -> None:
    with reporter.track(f"fetching from {plan.source.name}", len(plan.missing)) as advance:
        for file in plan.missing:
            with _told_apart(plan, file):
                plan.source.get(file, plan.folder, reporter)
            advance(note=f"{file.path} ({size_text(file.size)})")


@contextmanager
def _told_apart(plan: Download, file: RemoteFile) -> Iterator[None]:
    """Errors of the disk in one line: it is full, or cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"the disk is full at {plan.folder} while fetching {file.path}; "
                "free some space and repeat the command, it goes on where it stopped"
            ) from error
        raise UserError(
            f"expected to write {plan.folder / file.path}, found: {error}; choose another --data-root"
        ) from error


def size_text(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
