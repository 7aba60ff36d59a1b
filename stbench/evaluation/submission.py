"""A submission: runs as somebody hands them in, every file named with its size and its hash."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stbench.catalogue import problem_of
from stbench.errors import DataError
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.files import read_sealed, sha256_of
from stbench.text import NAME, first_line, misnamed, printable

FILE_NAME = "submission.json"
_MOST_FILES, _MOST_STEPS, _LONGEST = 100_000, 12, 1000
_AGAIN = "have it sent again"


def licence_of(text: str) -> str:
    """An SPDX expression as SPDX spells it; raises ValueError for anything else."""
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        raise ValueError(f"expected an SPDX expression such as CC-BY-4.0, found {text!r}") from None


def _place(text: str) -> str:
    """A path within the folder, whose steps are names and go down."""
    steps = text.split("/")
    if len(text) > _LONGEST or len(steps) > _MOST_STEPS or not all(re.fullmatch(NAME, step) for step in steps):
        raise ValueError(f"expected a file within the folder, found {text[:80]!r}")
    return text


def _line(text: str) -> str:
    if printable(text) != text:
        raise ValueError("expected one line that can be printed")
    return text


Place = Annotated[str, AfterValidator(_place)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_line)]


class SentFile(BaseModel):
    """What a file is."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(ge=0, description="bytes")
    sha256: Sha256


class Submission(BaseModel):
    """What ``submission.json`` says."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    stbench: Line = Field(description="version that wrote it")
    licence: Annotated[Line, AfterValidator(licence_of)] = Field(description="of the predictions, SPDX")
    contact: Line = Field(default="", description="whom to ask; may be empty")
    models: dict[Place, Sha256] = Field(
        default={}, description="cell to SHA-256 of its fitted method, which stays away"
    )
    files: dict[Place, SentFile] = Field(description="every other file of the folder, by its path in it")

    @property
    def cells(self) -> list[str]:
        """Folders of the runs, by their paths in it."""
        ending = f"/{RECORD}"
        return sorted(name.removesuffix(ending) for name in self.files if name.endswith(ending))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def sent_files(folder: Path) -> dict[str, SentFile]:
    """Every file of a folder but the list of them, by its path in it.

    Raises:
        DataError: a link or a device lies in it, or more than files and folders of runs.
    """
    paths = {name: path for name, path in _files(folder) if name != FILE_NAME}
    return {name: SentFile(size=path.stat().st_size, sha256=sha256_of(path)) for name, path in sorted(paths.items())}


def read_submission(folder: Path) -> Submission:
    """What a folder that was handed in says it is, once each of its files has been found to be what was sent.

    Raises:
        DataError: it is no submission; a file is missing, changed or not named in it; or a link lies in it.
    """
    paths = dict(_files(folder))
    try:
        submission = Submission.model_validate(read_sealed(folder / FILE_NAME))
    except ValidationError as error:
        raise _no_submission(folder, problem_of(error)) from error
    except DataError as error:
        raise _no_submission(folder, first_line(error)) from error
    if extra := sorted(paths.keys() - submission.files.keys() - {FILE_NAME}):
        raise DataError(f"{folder}: expected the files that {FILE_NAME} names, found {extra[0]!r} too; remove it")
    for name, sent in submission.files.items():
        _check(folder, name, paths.get(name), sent)
    return submission


def _no_submission(folder: Path, found: str) -> DataError:
    return DataError(f"expected what stbench submit wrote in {folder / FILE_NAME}, found {first_line(found)}; {_AGAIN}")


def _check(folder: Path, name: str, path: Path | None, sent: SentFile) -> None:
    if path is None:
        raise DataError(f"{folder}: expected {name}, found no such file; {_AGAIN}")
    if (size := path.stat().st_size) != sent.size:
        raise DataError(f"{folder}: expected {sent.size} bytes in {name}, found {size}; {_AGAIN}")
    if sha256_of(path) != sent.sha256:
        raise DataError(f"{folder}: expected {name} as it was sent, found another by its SHA-256; {_AGAIN}")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Regular files by their paths in a folder; no link is followed, and neither depth nor number is without end."""
    left, n = [("", folder)], 0
    while left:
        above, here = left.pop()
        for entry in _entries(here):
            name, n = f"{above}{entry.name}", n + 1
            if misnamed(entry.name) or n > _MOST_FILES or name.count("/") >= _MOST_STEPS:
                raise DataError(
                    f"{folder}: expected runs as stbench submit writes them, found {name[:80]!r}; remove it"
                )
            if entry.is_dir(follow_symlinks=False):
                left.append((f"{name}/", Path(entry.path)))
            elif entry.is_file(follow_symlinks=False):
                yield name, Path(entry.path)
            else:
                kind = "a link" if entry.is_symlink() else "no file"
                raise DataError(f"{folder}: expected files and folders alone, found {kind} at {name}; remove it")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"expected a folder that stbench submit wrote, found {first_line(error)}") from error
