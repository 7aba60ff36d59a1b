"""Hand in runs: copies of their records and predictions in a folder of their own, and what that folder is."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from stbench import __version__
from stbench.catalogue import problem_of
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.evaluation.admission import check_admissible
from stbench.evaluation.fit_request import bare
from stbench.evaluation.folder import CHECKPOINT, KEY, read_key
from stbench.evaluation.kept_draws import check_kept
from stbench.evaluation.predictions import prediction_path
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import Record, find_records, read_record, write_record
from stbench.evaluation.rescore import scored_prediction
from stbench.evaluation.seals import check_file, seal_file
from stbench.evaluation.submission import FILE_NAME, Submission, sent_files
from stbench.files import new_folder, sha256_of, write_sealed

_Cells = dict[str, tuple[Path, Record]]  # by their paths in the submission


def submit(run: Path, out: Path, *, licence: str, contact: str = "", methods: Sequence[str] = ()) -> Submission:
    """Write a folder that others can score again: records, predictions, and the hash of every file and model.

    Predictions of validation slides go along where there are any: the CRPS of a point prediction takes its width from
    them. Of absolute paths in the records the last step is left.

    Args:
        run: folder of a run, of one cell or of many.
        out: new or empty folder; it appears only when complete.
        licence: of the predictions, an SPDX expression.
        contact: whom to ask, one line.
        methods: names of those to hand in; empty takes those that the run was asked for, without the usual controls.

    Returns:
        What ``submission.json`` in ``out`` says.

    Raises:
        SettingError: no SPDX expression, or a contact that is not one line.
        UnknownNameError: a method that the run does not hold.
        DataError: a run is not finished, failed, cannot be scored again by others, or its predictions are not there or
            not those that were scored.
        UserError: ``out`` is in use or cannot be written.
    """
    try:
        said = Submission(stbench=__version__, licence=licence, contact=contact, files={})
    except ValidationError as error:
        raise SettingError(f"--{problem_of(error)}") from error
    cells = _chosen(run.parent if run.is_file() else run, methods)
    with new_folder(out) as part:
        for place, (folder, record) in cells.items():
            _copy(folder, record, part / place)
            if (model := _model(folder)) is not None:
                said.models[place] = model
        said.files.update(sent_files(part))
        write_sealed(part / FILE_NAME, said.model_dump())
    return said


def beside(run: Path) -> Path:
    """Where a submission lies unless somebody says another place: beside the run."""
    folder = run.resolve()
    return run.with_name(f"{run.name}-submission") if run.name else folder.with_name(f"{folder.name}-submission")


def _chosen(run: Path, methods: Sequence[str]) -> _Cells:
    records = {path.parent: read_record(path) for path in find_records([run])}
    known = {record.method for record in records.values()}
    if unknown := [name for name in methods if name not in known]:
        raise UnknownNameError(f"method in {run}", unknown[0], known)
    chosen = {
        folder: record
        for folder, record in records.items()
        if (record.method in methods if methods else _is_asked(record))
    }
    if not chosen:
        raise DataError(f"expected a run of a method in {run}, found usual controls alone; name one with --method")
    _check_finished(run, records, {record.method for record in chosen.values()})
    for folder, record in chosen.items():
        check_admissible(record, str(folder))
    return {_place(folder, run, record): (folder, record) for folder, record in chosen.items()}


def _is_asked(record: Record) -> bool:
    """Whether the user named the method, in contrast to the usual controls."""
    named = record.request.get("methods", ())
    return record.method in named or record.entry in named


def _check_finished(run: Path, records: dict[Path, Record], methods: set[str]) -> None:
    for folder in sorted({path.parent for path in run.rglob(KEY)} - records.keys()):
        if read_key(folder).method in methods:
            raise DataError(f"{folder}: expected a finished run, found no {RECORD}; repeat the command, it continues")


def _place(folder: Path, run: Path, record: Record) -> str:
    place = folder.relative_to(run).as_posix()
    return record.method if place == "." else place


def _copy(folder: Path, record: Record, target: Path) -> None:
    check_kept(record, folder)
    target.mkdir(parents=True)
    for slide_id in record.predictions:
        scored_prediction(folder, record, slide_id)
        path = prediction_path(target, slide_id)
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(prediction_path(folder, slide_id), path)
        seal_file(target, path)
    write_record(_portable(record), target)


def _portable(record: Record) -> Record:
    try:
        command = shlex.join(bare(shlex.split(record.command)))
    except ValueError:  # not one that stbench wrote
        command = ""
    said = {name: bare(getattr(record, name)) for name in ("entry", "settings", "request")}
    return record.model_copy(update={**said, "command": command, "rescored": False})


def _model(folder: Path) -> str | None:
    """SHA-256 of the fitted method, None where none was kept."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        check_file(folder, path)
    except DataError as error:
        raise DataError(f"expected the fitted method in {path}, found {error}; run it again") from error
    return sha256_of(path)
