"""Whether the data of a JPEG or PNG end before the picture does, which decoders pass over in silence."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # neither data nor a point to begin again at
_END, _START, _NO_LENGTH = 0xD9, 0xD8, 0x01
_PROGRESSIVE, _ARITHMETIC = {0xC2, 0xC6}, {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NOISE = bytes(byte for i in range(2) for byte in hashlib.sha256(bytes([i])).digest() if byte != 0xFF)
_FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type of a PNG
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 2**20


@lru_cache(maxsize=1024)
def ends_early(path: Path, size: int, mtime_ns: int, png: bool) -> bool:
    """Whether a picture's data end early; ``size`` and ``mtime_ns`` tell a file that was replaced."""
    return _png_ends_early(path) if png else jpeg_ends_early(path.read_bytes())


def jpeg_ends_early(data: bytes) -> bool:
    """Whether the pixels of a JPEG hang on what follows its last scan: then a decoder takes it for pixels that lack.

    Arithmetic coding may leave its end to the decoder, so that nothing is known of it.
    """
    found = _last_scan(data)
    if found is None or found.frame in _ARITHMETIC:
        return False
    quick = found.frame not in _PROGRESSIVE
    return _looks(data, quick) != _looks(data[: found.end] + _FILLER + data[found.end :], quick)


class _Scan(NamedTuple):
    end: int
    frame: int


def _last_scan(data: bytes) -> _Scan | None:
    """Where the marker of the end stands, and the kind of the frame; None without an end."""
    place, frame = 2, 0
    while (match := _MARKER.search(data, place)) is not None:
        code = match[1][0]
        if code == _END:
            return _Scan(match.start(), frame)
        frame = code if code in _FRAMES else frame
        bare = code in (_START, _NO_LENGTH)
        place = match.end() + (0 if bare else int.from_bytes(data[match.end() : match.end() + 2]))
    return None


def _looks(data: bytes, quick: bool) -> bytes:
    """Hash of the pixels; of means over 8 x 8 where nothing is left to later scans."""
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(io.BytesIO(data)) as file:
        if quick:
            file.draft(file.mode, (max(1, file.width // 8), max(1, file.height // 8)))
        return hashlib.blake2b(file.tobytes()).digest()


def _png_ends_early(path: Path) -> bool:
    """Whether a PNG unpacks to fewer bytes than its header says; raises zlib.error where it cannot be unpacked."""
    with path.open("rb") as file:
        file.seek(16)
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
        bits = depth * _SAMPLES.get(colour, 0)
        passes = _PASSES if interlaced else ((0, 0, 1, 1),)
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
        expected = sum(tall * (1 + (wide * bits + 7) // 8) for wide, tall in sizes if wide > 0 and tall > 0)
        return _unpacked(file, expected) < expected


def _unpacked(file: BinaryIO, most: int) -> int:
    """Bytes that the data of a PNG unpack to, counted up to ``most``."""
    unpacker, n = zlib.decompressobj(), 0
    for piece in _data(file):
        while piece and not unpacker.eof and n < most:
            n += len(unpacker.decompress(piece, _PIECE))
            piece = unpacker.unconsumed_tail
    return n


def _data(file: BinaryIO) -> Iterator[bytes]:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            yield file.read(length)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
