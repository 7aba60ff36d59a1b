"""The folder of a run: whom it belongs to, what happened in it, and whether a new run may use it."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from stbench.catalogue import Coded, changed_code
from stbench.errors import DataError, UserError
from stbench.evaluation.predictions import FOLDER as PREDICTIONS
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import Record, read_record
from stbench.evaluation.seals import FILE_NAME as SEALS
from stbench.files import is_part, read_sealed, remove, remove_parts, write_sealed
from stbench.reading import check_own
from stbench.reporting import SILENT, Reporter
from stbench.text import first_line

KEY = "run.json"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.csv"
FACTS = "model.json"
WORK = "work"
_OWN = (KEY, LOG, CHECKPOINT, RECORD, HISTORY, SEALS, FACTS)


class RunKey(Coded):
    """What makes two runs the same run.

    Args:
        task: hash of the task.
        method: name of the method.
        entry: where its class is.
        settings: every resolved setting.
        seed: seed of fitting and sampling.
        draws: samples drawn per slide.
        code: hash of the code of a third-party method, None for methods of this repository.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    method: str
    entry: str
    settings: dict[str, Any]
    seed: int
    draws: int

    def differences(self, other: RunKey) -> list[str]:
        """``name found -> asked`` for everything in which ``other``, what is asked, differs."""
        mine, theirs = _flat(self), _flat(other)
        names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        lines = [f"{name} {mine.get(name)!r} -> {theirs.get(name)!r}" for name in names]
        return lines + changed_code(self.method, self.code, other.code)


def _flat(key: RunKey) -> dict[str, Any]:
    """Everything but the code, whose hash says nothing to a reader."""
    said = json.loads(key.model_dump_json(exclude={"code"}))
    settings = {f"setting {name}": value for name, value in said.pop("settings").items()}
    return {**said, **settings}


@dataclass
class RunFolder:
    """A folder claimed by one run.

    Args:
        path: the folder.
        key: the run it belongs to.
        continues: whether an earlier attempt of the same run left something in it.
    """

    path: Path
    key: RunKey
    continues: bool = False
    _made: bool = False
    _start: float = field(default_factory=time.time)  # of the wall: a worker in another process logs too

    @property
    def checkpoint(self) -> Path:
        """File of the fitted method."""
        return self.path / CHECKPOINT

    @property
    def work(self) -> Path:
        """Folder of training checkpoints, gone when the run is done."""
        return self.path / WORK

    def log(self, event: str, **facts: Any) -> None:
        """Append one line of JSON to ``log.jsonl``, with the seconds since this attempt began.

        No result depends on it: where it cannot be written, it is left out.
        """
        line = json.dumps({"event": event, "at_s": round(time.time() - self._start, 3), **facts}, default=str)
        with suppress(OSError), (self.path / LOG).open("ab") as file:
            torn = file.tell() and not _ends_with_newline(self.path / LOG)
            file.write(f"{chr(10) * bool(torn)}{line}\n".encode())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Every line of the log with this event, oldest first; what is no object in JSON is passed over."""
        found = [_object(line) for line in _lines(self.path / LOG)]
        return [said for said in found if said is not None and said.get("event") == event]

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.work, ignore_errors=True)

    def abandon(self) -> None:
        """Remove everything of this run, unless there is work in it that a later attempt can go on with."""
        if self.continues or self.checkpoint.is_file() or (self.work.is_dir() and any(self.work.iterdir())):
            return
        self.clear()
        if self._made and not any(self.path.iterdir()):
            self.path.rmdir()

    def clear(self) -> None:
        """Remove everything of this run."""
        for name in (*_OWN, WORK, PREDICTIONS):
            remove(self.path / name)

    def settle(self) -> None:
        """Remove what an attempt that was killed left half written."""
        for folder in (self.path, self.work, self.path / PREDICTIONS):
            remove_parts(folder)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError:
        return []


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):  # an attempt was killed while it wrote, or the disk is damaged
        return None
    return said if isinstance(said, dict) else None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def claim(path: Path, key: RunKey, *, resume: bool, reporter: Reporter = SILENT) -> RunFolder:
    """Take a folder for a run.

    Args:
        path: the folder; made when absent.
        key: the run.
        resume: whether the folder may hold an earlier attempt of the same run.
        reporter: is told where ``run.json`` is damaged: the log says in its place which run the folder belongs to, and
            where neither can be read the run begins anew.

    Raises:
        UserError: the folder holds another run (the message names what differs), the same run while ``resume`` is
            off, or files that are no run.
        DataError: it is not known which run it holds, but that it is a finished one.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"expected a folder for the run at {path}, found a file; choose another --out")
    place = RunFolder(path, key, _made=not path.exists())
    if (path / KEY).is_file():
        place.continues = _belongs(place, resume, reporter)
    elif found := _foreign(path):
        raise UserError(f"expected an empty or new folder at {path}, found {found[0]}; choose another --out")
    place.settle()
    if not place.continues:
        _write_key(place)
    return place


def _foreign(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir() if not is_part(child)) if path.is_dir() else []


def _write_key(place: RunFolder) -> None:
    write_sealed(place.path / KEY, json.loads(place.key.model_dump_json()), hint="choose another --out")


def _belongs(place: RunFolder, resume: bool, reporter: Reporter) -> bool:
    """Whether an earlier attempt of the run can be gone on with; False where what it left had to be removed."""
    try:
        _check_same(place.path, read_key(place.path), place.key, resume)
    except DataError as error:
        logged = _logged_key(place)
        if logged is not None:
            _check_same(place.path, logged, place.key, resume)
            reporter.info(f"{first_line(error)}; {LOG} says the same and takes its place")
            _write_key(place)
            return True
        if not resume or finished_record(place.path) is not None:
            raise DataError(f"{first_line(error)}; choose another --out") from error
        reporter.info(f"{first_line(error)}; the run begins anew")
        place.clear()
        return False
    return True


def _logged_key(place: RunFolder) -> RunKey | None:
    """The run that a folder belongs to by its log, None where that does not say it."""
    for said in reversed(place.logged("start")):
        with suppress(ValidationError):
            return RunKey.model_validate({name: said[name] for name in RunKey.model_fields if name in said})
    return None


def finished_record(folder: Path, reporter: Reporter = SILENT) -> Record | None:
    """The record of a run that is done or was refused, None where it has not ended so; a damaged one is none."""
    if not (folder / RECORD).is_file():
        return None
    try:
        record = read_record(folder)
    except DataError as error:
        reporter.info(f"{first_line(error)}; what is there of it is scored again")
        return None
    return None if record.status == "failed" else record


def _check_same(path: Path, found: RunKey, asked: RunKey, resume: bool) -> None:
    differing = found.differences(asked)
    if differing:
        raise UserError(f"{path} belongs to another run: {'; '.join(differing)}; choose another --out")
    if not resume:
        raise UserError(f"{path} already holds this run; --resume continues it, or choose another --out")


def read_key(path: Path) -> RunKey:
    """The run a folder belongs to; raises DataError when its ``run.json`` is damaged."""
    try:
        check_own(path / KEY, path)
        return RunKey.model_validate(read_sealed(path / KEY))
    except (OSError, DataError, ValidationError) as error:
        raise DataError(f"expected the key of a run in {path / KEY}, found: {first_line(error)}") from error
