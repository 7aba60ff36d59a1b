"""Links that lead out of a folder of slides: clusters and hub caches stage files by them."""

from __future__ import annotations

import os
from pathlib import Path


def links_out(folder: Path) -> dict[str, str]:
    """Symbolic links at or below a folder that lead out of it: path below it to target, in the order of paths.

    Folders behind a link are not looked into.
    """
    inside, found = folder.resolve(), {}
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() and not (target := _target(path)).is_relative_to(inside):
                found[str(path.relative_to(folder))] = str(target)
    return dict(sorted(found.items()))


def _target(path: Path) -> Path:
    """Where a chain of links ends; of one that ends nowhere, what its first link says."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.readlink()
