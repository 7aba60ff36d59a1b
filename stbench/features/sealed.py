"""Files that end in the hash of what stands before it, so that one that was cut, zeroed or changed is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

NOT_THERE = "it is not there"
_SEAL = hashlib.sha256().digest_size
_PIECE = 2**20


class Sealing:
    """Writes to a stream, and its hash behind it.

    Args:
        stream: open for writing in binary.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write some bytes; returns their number."""
        self._hash.update(data)
        return self._stream.write(data)

    def seal(self) -> None:
        """Write the hash; nothing may follow."""
        self._stream.write(self._hash.digest())


def flaw(path: Path) -> str:
    """What is wrong with a sealed file, empty where nothing is: it is read once from end to end."""
    try:
        with path.open("rb") as stream:
            left = path.stat().st_size - _SEAL
            found = hashlib.sha256()
            while left > 0 and (piece := stream.read(min(_PIECE, left))):
                found.update(piece)
                left -= len(piece)
            return "" if stream.read(_SEAL) == found.digest() else "its checksum differs"
    except FileNotFoundError:
        return NOT_THERE
    except OSError as error:
        return str(error)
