"""Names of pictures: which are looked for, which OpenSlide reads, and the files that belong to one."""

from __future__ import annotations

from pathlib import Path

from stbench.files import visible
from stbench.reading import check_regular

OWN = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".btf", ".svs")
"""Endings of pictures that are read here."""
_INDEXED = (".vms", ".vmu")  # a text that names its pictures
_MIRAX, _DICOM = ".mrxs", ".dcm"
OPENSLIDE = (".ndpi", _MIRAX, ".scn", *_INDEXED, ".bif", ".svslide", ".czi", _DICOM)
"""Endings of whole slides that OpenSlide reads."""
ENDINGS = (*OWN, *(ending for ending in OPENSLIDE if ending != _DICOM))
"""Endings of pictures that are looked for in a folder: a file of DICOM is one of many of one slide."""
_LONGEST_INDEX = 2**20  # bytes


def is_openslide(path: Path) -> bool:
    """Whether a file is one for OpenSlide by its name."""
    return path.suffix.lower() in OPENSLIDE


def pictures_in(folder: Path, *, packed: bool = False) -> list[Path]:
    """Files of a folder that are pictures by their names, sorted, without the parts of others.

    Args:
        folder: where to look.
        packed: whether those with a further .gz count.
    """
    endings = (*ENDINGS, *(f"{ending}.gz" for ending in OWN)) if packed else ENDINGS
    found = sorted(path for path in visible(folder.glob("*")) if path.name.lower().endswith(endings))
    inner = {part for path in found if is_openslide(path) for part in parts(path)}
    return [path for path in found if path not in inner]


def parts(path: Path) -> list[Path]:
    """Further files that hold the pixels of a slide, sorted: of MIRAX a folder, of VMS and VMU those that it names.

    Of DICOM they are all such files of the folder, for any of them may hold a level of the slide.
    """
    ending = path.suffix.lower()
    if ending == _MIRAX:
        return sorted(part for part in path.with_suffix("").rglob("*") if part.is_file())
    if ending == _DICOM:
        return sorted(part for part in path.parent.glob("*") if part.suffix.lower() == _DICOM and part != path)
    named = _named(path) if ending in _INDEXED else set()
    return sorted(part for part in path.parent.iterdir() if part.name in named) if named else []


def _named(path: Path) -> set[str]:
    """Values of keys such as ``ImageFile`` and ``MapFile``; none of what cannot be read, as opening it will say."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            lines = file.read(_LONGEST_INDEX).decode("latin-1").splitlines()
    except OSError:
        return set()
    pairs = [line.partition("=") for line in lines]
    return {value.strip() for key, _, value in pairs if "File" in key}
