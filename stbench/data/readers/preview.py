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
    known = [(path, scales.number(key)) for path, key in previews[1:]]
    reduced = [(path.name, ImageFile(path, None, scale)) for path, scale in known if scale is not None]
    notes = sizes_agree(path.name, preview, reduced)
    full, about = full_resolution(candidates, preview, "the matrix", "scalefactors_json.json")
    if full is None:
        width, height = preview.size()
        preview.finer = f"put the microscope's picture of about {width} x {height} px into {place}"
    return full or preview, notes + about


def _scale(scales: Scales, key: str, path: Path) -> float:
    scale = scales.number(key)
    if scale is None:
        raise DataError(
            f"{scales.path}: expected a number under {key} for {path.name}, found none; obtain the file again"
        )
    return scale


def sizes_agree(name: str, preview: ImageFile, others: Sequence[tuple[str, ImageFile]]) -> list[str]:
    """Lines about named pictures of one slide whose scale factors say another size of the full picture."""
    notes = []
    size = preview.size()
    for other_name, picture in others:
        other = picture.size()
        least = _ROUNDING + 2 / (min(size) * picture.scale)
        if any(differ(one, two, least) for one, two in zip(size, other, strict=True)):
            notes.append(
                f"pictures and scale factors contradict each other: {name} is of a picture of {size[0]} x {size[1]} "
                f"px, {other_name} of {other[0]} x {other[1]} px; patches may lie elsewhere"
            )
    return notes


def full_resolution(
    paths: Sequence[Path], preview: ImageFile, beside: str, said: str
) -> tuple[ImageFile | None, list[str]]:
    """The picture of the size that the preview was reduced from, and lines about it and the others.

    Args:
        paths: pictures.
        preview: the reduced one, with its scale.
        beside: what they lie beside, for messages.
        said: what gives the scale, for messages.
    """
    fitting, others = _fitting(paths, preview, beside, said)
    if len(fitting) > 1:
        return None, [f"{len(fitting)} pictures of full resolution beside {beside}, none is used: leave one there"]
    if not fitting:
        return None, others
    return ImageFile(fitting[0], preview.um_per_px), [f"picture {fitting[0].name} of full resolution is used"]


def _fitting(paths: Sequence[Path], preview: ImageFile, beside: str, said: str) -> tuple[list[Path], list[str]]:
    fitting, others = [], []
    size = preview.size()
    for path in paths:
        if path.suffix == ".gz":  # of gigabytes, and unpacked again whenever it is looked at
            others.append(f"picture {path.name} beside {beside} is not used: gunzip -k {shlex.quote(str(path))}")
            continue
        try:
            found = ImageFile(path).size()
        except DataError as error:
            others.append(f"picture {path.name} beside {beside} is not used: {error}")
            continue
        if all(abs(one - two) <= 2 + 1 / preview.scale for one, two in zip(size, found, strict=True)):
            fitting.append(path)
        else:
            others.append(
                f"picture {path.name} beside {beside} is not used: {found[0]} x {found[1]} px, expected about "
                f"{size[0]} x {size[1]} as {said} says"
            )
    return fitting, others
