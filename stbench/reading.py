"""Files of others: how much of one is read at most, and what is no file at all. Nothing in one is ever executed."""

from __future__ import annotations

import gzip
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from stbench.errors import SettingError

_GB = 1e9
_PIECE = 2**20
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # UTF-16, every other byte of which may be zero
UNREADABLE = (OSError, EOFError, zlib.error, ValueError)
"""What reading a text ends in, gzipped or not, that is missing, damaged or of another encoding."""
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True)
class Limit:
    """How much a file may unpack to; a variable of the environment sets another number.

    Args:
        variable: its name.
        usual_gb: limit in 10^9 bytes where it is not set.
    """

    variable: str
    usual_gb: float

    @property
    def gb(self) -> float:
        """The limit that holds; raises SettingError where the variable is no positive number."""
        text = os.environ.get(self.variable, "").strip()
        try:
            found = float(text) if text else self.usual_gb
        except ValueError:
            found = 0.0
        if not 0 < found < float("inf"):
            raise SettingError(
                f"{self.variable}: expected a positive number of GB, found {text!r}; correct or unset it"
            )
        return found

    def check(self, n_bytes: int, what: str) -> None:
        """Raise OSError where ``what`` would take more bytes than this."""
        if n_bytes > self.gb * _GB:
            raise OSError(
                f"{what} of {n_bytes / _GB:.3g} GB or more, where at most {self.gb:g} GB are read (if that is right, "
                f"set {self.variable})"
            )


TABLE = Limit("STBENCH_MAX_TABLE_GB", 0.5)
"""Text of one table, unpacked."""
ARRAYS = Limit("STBENCH_MAX_ARRAYS_GB", 16)
"""Arrays of one file that are held in memory together."""
JSON = Limit("STBENCH_MAX_JSON_GB", 0.1)
"""One JSON file."""


def check_regular(path: Path) -> None:
    """Raise OSError for what is missing, or is a pipe, a folder or a device: opening one can wait forever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(f"{next((kind for is_kind, kind in _KINDS if is_kind(mode)), 'something else')}, no file")


def check_own(path: Path, folder: Path) -> None:
    """Raise OSError for a file of a folder that is a link out of it: what lies there was not handed in."""
    inside, place = folder.resolve(), path.resolve()
    if not place.is_relative_to(inside):
        raise OSError(f"a link out of the folder, to {place}; put the file itself there")


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """A file's bytes, unpacked where its name ends in .gz; raises OSError for what is no file."""
    check_regular(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _pieces(path: Path, limit: Limit, what: str) -> Iterator[tuple[int, bytes]]:
    """A file's bytes piece by piece, each with where it ends."""
    end = 0
    with opened(path) as file:
        while piece := file.read(_PIECE):
            end += len(piece)
            limit.check(end, what)
            yield end, piece


def check_packed(path: Path, limit: Limit) -> None:
    """Go through a file, gzipped where its name ends in .gz, before it is unpacked.

    Raises:
        OSError: it is no file, or unpacks to more than the limit.
        EOFError: (or zlib.error) a gzipped one is damaged.
    """
    for _ in _pieces(path, limit, "a file"):
        pass


def check_table(path: Path, limit: Limit = TABLE) -> int:
    """Go through a text, gzipped where its name ends in .gz, before it is parsed.

    Returns:
        How many bytes it unpacks to.

    Raises:
        OSError: it is no file, unpacks to more than the limit, or holds a zero byte, at which parsers end a field.
        EOFError: (or zlib.error) a gzipped one is damaged.
    """
    end, wide = 0, False
    for end, piece in _pieces(path, limit, "text"):
        wide = wide or (end == len(piece) and piece.startswith(_WIDE))
        if b"\0" in piece and not wide:
            raise OSError(f"a zero byte near byte {end - len(piece) + piece.index(0)}, which no text holds")
    return end


def check_arrays(path: Path) -> None:
    """Raise OSError for a file of arrays of more than :data:`ARRAYS`: a zip, as .npz and .pt are, unpacked."""
    check_regular(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            ARRAYS.check(sum(entry.file_size for entry in file.infolist()), "arrays")
    else:
        ARRAYS.check(path.stat().st_size, "a file")


def read_json(path: Path, *, strict: bool = False) -> Any:
    """What a JSON file holds, UTF-8 with or without a byte order mark, gzipped where its name ends in .gz.

    Args:
        path: the file.
        strict: refuse what JSON leaves open or does not know: a key twice in one object, NaN and Infinity.

    Raises:
        OSError: it cannot be read, is no file, or is larger than :data:`JSON`.
        EOFError: (or zlib.error) a gzipped one is damaged.
        ValueError: not UTF-8, not JSON, or nested too deeply.
    """
    check_regular(path)
    JSON.check(path.stat().st_size, "JSON")
    if path.suffix == ".gz":
        check_table(path, JSON)
    with opened(path) as file:
        return parse_json(file.read(), strict=strict)


def parse_json(content: bytes, *, strict: bool = False) -> Any:
    """As :func:`read_json`, of bytes."""
    hooks: dict[str, Any] = {"object_pairs_hook": _once, "parse_constant": _no_number} if strict else {}
    try:
        return json.loads(content.decode("utf-8-sig"), **hooks)
    except RecursionError:
        raise ValueError("brackets nested too deeply") from None


def _once(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in members:
        if key in found:
            raise ValueError(f"the key {key!r} twice in one object")
        found[key] = value
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name}, which is no number of JSON")
