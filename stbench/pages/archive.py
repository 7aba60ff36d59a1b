"""Records of one board in one compressed file: a JSON line per record, xz, the same bytes from the same records."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stbench.errors import DataError
from stbench.evaluation.record import FILE_NAME, Record, find_records, read_record, record_of
from stbench.files import HINT, visible, whole
from stbench.grids.manifest import STUDY
from stbench.reading import check_own, check_regular, parse_json
from stbench.text import first_line

ENDING = ".records.jsonl.xz"
_PRESET = 6  # reads back in 9 MB of memory; a board is far smaller than its window of 8 MiB
_MOST_MEMORY = 64 * 2**20  # of the decompressor, bytes
_MOST_BYTES = 512 * 2**20  # of records in one archive
_MOST_LINE = 64 * 2**20
_CHUNK = 2**20
_OF_BOARDS = {"rescored": False, "closed_with": False}  # the word of a board, never that of a run of its own
_AGAIN = "write it again with stbench leaderboard"


def write_archive(path: Path, records: Iterable[Record], *, hint: str = HINT) -> None:
    """Write records as one file, in an order that does not depend on theirs.

    Args:
        path: file to make or replace, with :data:`ENDING`.
        records: what it holds.
        hint: what the user can do when it cannot be written.

    Raises:
        UserError: it cannot be written.
    """
    lines = {json.dumps(record.model_dump(), separators=(",", ":"), allow_nan=False) for record in records}
    text = "".join(f"{line}\n" for line in sorted(lines))
    with whole(path, hint=hint) as part:
        part.write_bytes(lzma.compress(text.encode(), preset=_PRESET))


def read_records(places: Sequence[Path]) -> Iterator[Record]:
    """Every record at or below the given places, each place a ``record.json``, an archive, or a folder of both.

    Trials of studies are left out, unless a study is the place.

    Raises:
        DataError: a place holds none, or one cannot be read.
    """
    yield from (record for _, record in read_runs(places))


def read_runs(places: Sequence[Path]) -> Iterator[tuple[Path | None, Record]]:
    """As :func:`read_records`, each record with the folder of its run, None for those of an archive."""
    for path in sorted({path for place in places for path in _found(place)}):
        if path.name.endswith(ENDING):
            yield from ((None, record) for record in read_archive(path))
        else:
            yield path.parent, read_record(path).model_copy(update=_OF_BOARDS)


def _found(place: Path) -> list[Path]:
    if place.name.endswith(ENDING):
        return [place]
    archives = sorted(visible(place.rglob(f"*{ENDING}")))
    for path in archives:
        _check_own(path, place)
    found = [*archives, *place.rglob(FILE_NAME)] if archives else find_records([place])
    kept = [path for path in found if not _is_trial(path, place)]
    if not kept:
        raise DataError(f"expected records of runs in {place}, found only trials of studies; give a study to see them")
    return kept


def _is_trial(path: Path, place: Path) -> bool:
    """Whether a record belongs to a study below the place: its folds are inner ones, and no board's."""
    between = path.relative_to(place).parents if path != place else []
    return any((place / folder / STUDY).is_file() for folder in between if folder != Path())


def _check_own(path: Path, place: Path) -> None:
    try:
        check_own(path, place)
    except OSError as error:
        raise DataError(f"expected an archive of records in {path}, found {first_line(error)}") from error


def read_archive(path: Path) -> Iterator[Record]:
    """The records of an archive; never more than 512 MiB are unpacked, nor 64 MiB of one record.

    Raises:
        DataError: missing, damaged, too large, or a line is no record.
    """
    for number, line in enumerate(_lines(path), start=1):
        yield _record(line, f"line {number} of {path}")


def _lines(path: Path) -> Iterator[bytes]:
    rest = b""
    for chunk in _chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _MOST_LINE:
            raise DataError(f"expected records of at most {_MOST_LINE >> 20} MiB in {path}, found a longer one")
    if rest:
        raise DataError(f"expected whole records in {path}, found part of one at its end; {_AGAIN}")


def _chunks(path: Path) -> Iterator[bytes]:
    """What an archive holds, in pieces of at most 1 MiB."""
    unpack, left = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY), _MOST_BYTES
    try:
        check_regular(path)
        with path.open("rb") as file:
            while not unpack.eof:
                packed = file.read(_CHUNK) if unpack.needs_input else b""
                if unpack.needs_input and not packed:
                    raise EOFError("its end is missing")
                chunk = unpack.decompress(packed, max_length=_CHUNK)
                left -= len(chunk)
                if left < 0:
                    raise EOFError(f"more than {_MOST_BYTES >> 20} MiB in it")
                yield chunk
            if unpack.unused_data or file.read(1):
                raise EOFError("something behind its end")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"expected an archive of records in {path}, found: {first_line(error)}; {_AGAIN}") from error


def _record(line: bytes, where: str) -> Record:
    try:
        return record_of(parse_json(line, strict=True))
    except ValueError as error:
        raise DataError(f"expected a record in {where}, found {first_line(error)}; {_AGAIN}") from error
