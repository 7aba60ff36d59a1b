"""The picture of Space Ranger's output: the preview in ``spatial/``, or the microscope's own beside the matrix."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from stbench.data.geometry import differ
from stbench.data.images import ImageFile
from stbench.data.readers.scales import Scales
from stbench.errors import DataError

_ROUNDING = 0.01


def choose_picture(
    previews: Sequence[tuple[Path, str]],
    candidates: Sequence[Path],
    place: Path,
    scales: Scales,
    um_per_px: float | None,
) -> tuple[ImageFile | None, list[str]]:
    """The picture of full resolution where one of that size lies in the folder, else the best preview; and notes.

    Args:
        previews: pictures of ``spatial/`` and the names of their scale factors, best first.
        candidates: pictures that may be the microscope's.
        place: where to put it, or what to call it, where none is.
        scales: scale factors; without any there is no picture.
        um_per_px: micrometres per full-resolution pixel.

    Raises:
        DataError: the scale factor of the best preview is missing, or the preview cannot be read.
    """
    if not previews or not scales.path.is_file():
        return None, []
    path, key = previews[0]
    preview = ImageFile(path, um_per_px, _scale(scales, key, path))
    notes = _sizes_agree(preview, previews[1:], scales)
    fitting, others = _full(candidates, preview)
    if len(fitting) == 1:
        return ImageFile(fitting[0], um_per_px), [*notes, f"picture {fitting[0].name} of full resolution is used"]
    if len(fitting) > 1:
        others = [f"{len(fitting)} pictures of full resolution beside the matrix, none is used: leave one there"]
    width, height = preview.size()
    preview.finer = f"put the microscope's picture of about {width} x {height} px into {place}"
    return preview, [*notes, *others]


def _scale(scales: Scales, key: str, path: Path) -> float:
    scale = scales.number(key)
    if scale is None:
        raise DataError(
            f"{scales.path}: expected a number under {key} for {path.name}, found none; obtain the file again"
        )
    return scale


def _sizes_agree(preview: ImageFile, others: Sequence[tuple[Path, str]], scales: Scales) -> list[str]:
    """Lines about previews whose scale factors say another size of the full picture."""
    notes = []
    size = preview.size()
    for path, key in others:
        scale = scales.number(key)
        other = size if scale is None else ImageFile(path, None, scale).size()
        least = _ROUNDING + (0 if scale is None else 2 / (min(size) * scale))
        if any(differ(one, two, least) for one, two in zip(size, other, strict=True)):
            notes.append(
                f"pictures and scale factors contradict each other: {preview.path.name} is of a picture of "
                f"{size[0]} x {size[1]} px, {path.name} of {other[0]} x {other[1]} px; patches may lie elsewhere"
            )
    return notes


def _full(candidates: Sequence[Path], preview: ImageFile) -> tuple[list[Path], list[str]]:
    """Pictures of the size that the preview was reduced from, and lines about the others."""
    fitting, others = [], []
    size = preview.size()
    for path in candidates:
        if path.suffix == ".gz":  # of gigabytes, and unpacked again whenever it is looked at
            others.append(f"picture {path.name} beside the matrix is not used: gunzip -k {shlex.quote(str(path))}")
            continue
        try:
            found = ImageFile(path).size()
        except DataError as error:
            others.append(f"picture {path.name} beside the matrix is not used: {error}")
            continue
        if all(abs(one - two) <= 2 + 1 / preview.scale for one, two in zip(size, found, strict=True)):
            fitting.append(path)
        else:
            others.append(
                f"picture {path.name} beside the matrix is not used: {found[0]} x {found[1]} px, expected about "
                f"{size[0]} x {size[1]} as scalefactors_json.json says"
            )
    return fitting, others
