"""What lies in the cache folder, and how to be rid of it: what stbench made is known by its names, the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stbench.errors import UserError
from stbench.files import remove
from stbench.locks import taken

OTHER = "other"
_HASH16 = "[0-9a-f]" * 16
_PART = r"(?:(?:\.\d+)+\.part)?"  # what a process that was killed left half written
_LAYOUT = {
    "features": ("*", rf"\.?([0-9a-f]{{64}}){_PART}\.(?:safetensors|lock)"),
    "patches": ("patches/*", rf"\.?([0-9a-f]{{64}}){_PART}\.(?:npy|lock)"),
    "parsed": ("parsed/*", rf"\.?([0-9a-f]{{64}}){_PART}\.(?:npz|lock)"),
    "simulated": (f"simulated/{_HASH16}/*", rf"\.?(P\d+S\d+)(?:\.sha256)?{_PART}\.(?:h5ad|png|json|lock)"),
    "semisynthetic": ("semisynthetic/*", rf"\.?({_HASH16}){_PART}(?:\.lock)?"),
}
"""Kind to where its files lie and how they are called; the first group is the name of the entry."""
KINDS = tuple(_LAYOUT)


@dataclass(frozen=True)
class Entry:
    """What is made, and removed, together: one slide's features or patches, one simulated slide, one cohort.

    Args:
        kind: one of :data:`KINDS`, or ``other`` for a file that stbench did not make.
        name: its hash, or the slide's name.
        lock: held by a process that makes or reads the entry.
        paths: its files, or its folder; the lock is not among them.
    """

    kind: str
    name: str
    lock: Path
    paths: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Every file, those in folders too."""
        return [file for path in self.paths for file in (_files(path) if path.is_dir() else [path])]


@dataclass(frozen=True)
class Usage:
    """All entries of a kind.

    Args:
        kind: one of :data:`KINDS`, or ``other``.
        entries: how many; of ``other``, how many files.
        size: bytes.
        used: when one was last read or written, seconds since the epoch; None without any. Systems note reading once
            a day at best.
    """

    kind: str
    entries: int
    size: int
    used: float | None


def usage(cache_dir: Path) -> list[Usage]:
    """What lies in a cache folder, by kind; nothing where there is no such folder."""
    found = list(entries(cache_dir))
    known = {path for entry in found for path in [*entry.paths, entry.lock]}
    rest = Entry(OTHER, "", cache_dir, [path for path in _files(cache_dir) if not known & {path, *path.parents}])
    return [*(_sum(kind, [entry for entry in found if entry.kind == kind]) for kind in KINDS), _sum(OTHER, [rest])]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def _sum(kind: str, found: Sequence[Entry]) -> Usage:
    stats = []
    for file in (file for entry in found for file in entry.files):
        with suppress(OSError):  # another process removed it
            stats.append(file.lstat())
    n_entries = len(stats) if kind == OTHER else sum(bool(entry.paths) for entry in found)
    used = max((max(stat.st_atime, stat.st_mtime) for stat in stats), default=None)
    return Usage(kind, n_entries, sum(stat.st_size for stat in stats), used)


def entries(cache_dir: Path) -> Iterator[Entry]:
    """Every entry that stbench made, locks without anything beside them included."""
    for kind, (places, names) in _LAYOUT.items():
        found: dict[Path, Entry] = {}
        for path in sorted(cache_dir.glob(places)):
            if (match := re.fullmatch(names, path.name)) is None:
                continue
            lock = path.with_name(f"{match[1]}.lock")
            entry = found.setdefault(lock, Entry(kind, match[1], lock))
            entry.paths.extend([] if path == lock else [path])
        yield from found.values()


def clear(cache_dir: Path, kinds: Iterable[str]) -> tuple[list[Entry], list[Entry]]:
    """Remove all entries of some kinds.

    Returns:
        Entries that are gone, and those left alone because another process holds their lock.

    Raises:
        UserError: a file cannot be removed.
    """
    gone: list[Entry] = []
    held: list[Entry] = []
    for entry in [entry for entry in entries(cache_dir) if entry.kind in kinds]:
        (gone if _removed(entry) else held).append(entry)
    for folder in {entry.lock.parent for entry in gone}:
        for empty in (folder, folder.parent):
            if cache_dir in empty.parents:
                with suppress(OSError):  # something is left in it
                    empty.rmdir()
    return [entry for entry in gone if entry.paths], held


def _removed(entry: Entry) -> bool:
    try:
        lock = taken(entry.lock, 0)
    except OSError as error:
        raise _stays(entry.lock, str(error)) from error
    if lock is None:
        return False
    try:
        for path in [*entry.paths, entry.lock]:
            remove(path)
            if path.exists():
                raise _stays(path, "it is still there")
    finally:
        lock.release()
    return True


def _stays(path: Path, found: str) -> UserError:
    return UserError(f"expected to remove {path}, found: {found}; ask its owner, or remove it by hand")
