"""Features that were extracted elsewhere, by whatever encoder: a folder with one file per slide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stbench.data.hdf5 import check_header
from stbench.data.readers.counts import shown
from stbench.errors import DataError, SettingError
from stbench.features.calibration import is_same
from stbench.features.encoder import PRECOMPUTED, Encoder, FloatArray, PatchArray
from stbench.features.half import loses_nothing
from stbench.features.joining import Spots, Table, aligned
from stbench.features.saved import as_array, by_spot, how_to_save, in_other_formats, unreadable, without_batch_axis
from stbench.files import visible
from stbench.reading import check_arrays
from stbench.reporting import SILENT, Reporter

_VERSION = 1  # raise it when reading or aligning changes
_EXACT_VERSION = 2  # of files that version 1 joined by order though they have coordinates, or rounded to nothing
_FEATURES = ("embeddings", "features")
_BARCODES = ("barcodes", "barcode", "spots", "spot_ids", "obs_names")
_COORDS = ("coords", "coordinates", "coord", "xy", "spatial")
_TILE = ("calibration",)


class _Held(NamedTuple):
    """What a file holds, None for what it lacks: features, barcodes, coordinates, the vector of the tile, side of
    patches."""

    features: Any
    barcodes: Any = None
    coords: Any = None
    tile: Any = None
    side: float | None = None


class _Facts(NamedTuple):
    """What is remembered of a file.

    Args:
        digest: hash of its bytes.
        width: of a vector.
        broken: how many rows are not finite.
        exact: whether rows are joined on coordinates, or half precision would lose what tells spots apart.
        tile: what the encoder made of the calibration tile, None where the file does not say it.
    """

    digest: str
    width: int
    broken: int
    exact: bool
    tile: tuple[float, ...] | None = None


class Precomputed(Encoder):
    """Hands out features read from files; made for some slides by :meth:`of`.

    Args:
        folder: holds ``<slide>.h5`` (HEST-1k's ``embeddings`` and ``barcodes``), ``.npz`` or ``.pt`` with the same
            names, ``.csv`` whose first column holds barcodes, or a bare array (``.npy``, ``.pt``, ``.safetensors``).

    Raises:
        SettingError: there is no such folder.

    Attributes:
        exact: whether the vectors are kept in single precision.
    """

    dim = 0
    exact = False

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SettingError(f"encoder {PRECOMPUTED!r} expected a folder of feature files, found no folder {folder}")
        self.folder, self.key = folder, f"{PRECOMPUTED}/{_VERSION}"
        self._files: dict[str, Path] = {}

    def of(self, slide_ids: Sequence[str]) -> Precomputed:
        """The features of some slides; the key tells their contents and their width, whatever else lies beside them.

        Raises:
            DataError: names every slide without file, with two, with an unreadable one, with values that are not
                finite, or of another width.
        """
        found = _listing(self.folder)
        files = {id_: paths[0] for id_ in sorted(slide_ids) if len(paths := found.get(id_, [])) == 1}
        facts, unread = _looked_at(files)
        absent = {id_: in_other_formats(self.folder, id_, READERS) for id_ in sorted(slide_ids) if id_ not in found}
        problems = {
            "found no file for": [f"{id_} (but {others[0].name})" if others else id_ for id_, others in absent.items()],
            "found several files for": [id_ for id_ in sorted(slide_ids) if len(found.get(id_, [])) > 1],
            "found rows that are not finite in": [f"{id_} ({one.broken})" for id_, one in facts.items() if one.broken],
            "found several widths:": _widths(facts),
            "found more than one encoder, by their vectors of the calibration tile:": _encoders(facts),
            "could not read": [*list(unread)[1:], *list(unread.values())[:1]],
        }
        if said := "; ".join(f"{what} {', '.join(names)}" for what, names in problems.items() if names):
            raise DataError(
                f"{self.folder}: expected a file for each of {len(slide_ids)} slides (<slide>{'|'.join(READERS)}), "
                f"{said}{_remedy(unread, [id_ for id_, others in absent.items() if others])}"
            )
        return self._with(files, facts)

    def _with(self, files: dict[str, Path], facts: Mapping[str, _Facts]) -> Precomputed:
        chosen = Precomputed(self.folder)
        chosen._files = files
        chosen.sources = {id_: one.digest for id_, one in facts.items()}
        chosen.dim = next((one.width for one in facts.values()), 0)
        chosen.exact = any(one.exact for one in facts.values())
        chosen.key = f"{PRECOMPUTED}/{_EXACT_VERSION if chosen.exact else _VERSION}"
        said = json.dumps(sorted(chosen.sources.items()))
        chosen.key += f"/{hashlib.sha256(said.encode()).hexdigest()}/{chosen.dim}"
        return chosen

    def features(self, slide_id: str, spots: Spots, reporter: Reporter = SILENT) -> FloatArray:
        """(n_spots, dim) in the order of the spots, joined on barcodes, else on coordinates, where the file has them.

        Args:
            slide_id: one of those of :meth:`of`.
            spots: the slide's spots.
            reporter: is told of rows that belong to no spot.

        Raises:
            DataError: see :func:`stbench.features.joining.aligned`.
        """
        path = self._files[slide_id]
        return aligned(read_table(path), spots, path, reporter)

    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        raise NotImplementedError("precomputed features are not computed from patches")


def _listing(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(visible(folder.iterdir())):
        if path.suffix in READERS:
            found.setdefault(path.stem, []).append(path)
    return found


def _remedy(unread: Mapping[str, str], elsewise: Sequence[str]) -> str:
    """What helps where files are missing; of those that cannot be read each message says it."""
    if unread:
        return ""
    if elsewise:
        return f"; {how_to_save(Path(f'{elsewise[0]}.npz'))}"
    return "; mend those files, or name other slides in a --split file"


def _looked_at(files: Mapping[str, Path]) -> tuple[dict[str, _Facts], dict[str, str]]:
    """Facts of the files that can be read, and the complaints about the others."""
    facts, unreadable = {}, {}
    for id_, path in files.items():
        try:
            stat = path.stat()
            facts[id_] = _facts(path, stat.st_size, stat.st_mtime_ns)
        except (OSError, DataError) as error:
            unreadable[id_] = str(error)
    return facts, unreadable


@lru_cache(maxsize=4096)
def _facts(path: Path, size: int, mtime_ns: int) -> _Facts:
    """Size and time of writing are part of the key, so a file that was replaced is read anew."""
    table = read_table(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    broken = int((~np.isfinite(table.features).all(axis=1)).sum())
    joined_on_place = table.barcodes is None and table.coords is not None
    exact = joined_on_place or not (broken or loses_nothing(table.features))
    return _Facts(digest, table.features.shape[1], broken, exact, table.tile)


def _widths(facts: Mapping[str, _Facts]) -> list[str]:
    """Widths with the slides that have them, when there is more than one."""
    slides: dict[int, list[str]] = {}
    for id_, one in facts.items():
        slides.setdefault(one.width, []).append(id_)
    return [f"{width} ({shown(ids)})" for width, ids in slides.items()] if len(slides) > 1 else []


def _encoders(facts: Mapping[str, _Facts]) -> list[str]:
    """Slides whose vector of the calibration tile is unlike that of the first slide that has one, beside that slide."""
    said = {id_: list(one.tile) for id_, one in facts.items() if one.tile is not None}
    first = next(iter(said), "")
    other = [id_ for id_, vector in said.items() if not is_same(said[first], vector)]
    return [first, shown(other)] if other else []


def read_table(path: Path) -> Table:
    """Read a file of features. Nothing in it is executed.

    Raises:
        DataError: not one of the formats, or the file does not hold what its format promises.
    """
    try:
        check_arrays(path)
        features, barcodes, coords, tile, side = READERS[path.suffix](path)
        if barcodes is not None:
            barcodes = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(barcodes)]
        features = without_batch_axis(np.asarray(features))
    except Exception as error:  # every reader fails in its own way on a damaged file
        raise unreadable(path, error) from error
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected numbers of shape (n_spots, width), found {features.shape} {features.dtype}; "
            f"{how_to_save(path)}"
        )
    if barcodes is not None and len(barcodes) != len(features):
        raise DataError(f"{path}: expected a barcode per row, found {len(barcodes)} for {len(features)} rows")
    with np.errstate(over="ignore"):  # what is beyond float32 is reported as not finite
        single = features.astype(np.float32, copy=False)
    return Table(single, barcodes, _places(coords, len(features), path), side, _tile(tile, features.shape[1], path))


def _tile(found: Any, width: int, path: Path) -> tuple[float, ...] | None:
    if found is None:
        return None
    vector = np.ravel(np.asarray(found))
    if len(vector) != width or vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
        raise DataError(f"{path}: expected {_TILE[0]} to be one finite vector as wide as the features, {width}")
    return tuple(float(value) for value in vector)


def _places(coords: Any, n_rows: int, path: Path) -> NDArray[np.float64] | None:
    """(n_rows, 2) coordinates, None without any or where all rows have the same, which nobody filled in."""
    if coords is None:
        return None
    found = np.asarray(coords)
    if found.shape != (n_rows, 2) or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise DataError(
            f"{path}: expected coords of shape ({n_rows}, 2), found {found.shape} {found.dtype} or not finite"
        )
    same = n_rows > 1 and not np.ptp(found, axis=0).any()
    return None if same else found.astype(np.float64)


def _from_hdf5(path: Path) -> _Held:
    import h5py

    check_header(path)
    with h5py.File(path) as file:
        held = _picked(file)
        barcodes, coords, tile = (None if part is None else part[:] for part in (held.barcodes, held.coords, held.tile))
        said = {} if held.coords is None else held.coords.attrs
        return _Held(held.features[:], barcodes, coords, tile, _side({**file.attrs, **said}))


def _side(said: Mapping[str, Any]) -> float | None:
    """Side of a patch in full-resolution pixels, as TRIDENT, HEST-1k or CLAM write it; None where nobody does."""
    numbers = {name: float(np.ravel(value)[0]) for name, value in said.items() if _is_number(value)}
    whole = next((numbers[name] for name in ("patch_size_level0", "patch_size_src") if name in numbers), None)
    if whole is None and "patch_size" in numbers and "downsample" in numbers:
        whole = numbers["patch_size"] * numbers["downsample"]
    return whole if whole is not None and 0 < whole < np.inf else None


def _is_number(value: Any) -> bool:
    found = np.asarray(value)
    return bool(found.size) and found.dtype.kind in "fiu"


def _from_npz(path: Path) -> _Held:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged one open
        return _picked(file)


def _from_npy(path: Path) -> _Held:
    return _Held(np.load(path, allow_pickle=False))


def _from_torch(path: Path) -> _Held:
    import torch

    held = torch.load(path, map_location="cpu", weights_only=True)
    return _in_numpy(_picked(held) if isinstance(held, Mapping) else _Held(held))


def _from_safetensors(path: Path) -> _Held:
    from safetensors.torch import load_file

    return _in_numpy(_picked(load_file(str(path))))


def _in_numpy(held: _Held) -> _Held:
    """Tensors as arrays, bfloat16 too."""
    places = (part.double().numpy() if hasattr(part, "double") else part for part in (held.coords, held.tile))
    return held._replace(features=as_array(held.features), **dict(zip(("coords", "tile"), places, strict=True)))


def _from_csv(path: Path) -> _Held:
    import pandas as pd

    names = pd.read_csv(path, usecols=[0], dtype=str, keep_default_na=False).iloc[:, 0]
    return _Held(pd.read_csv(path).iloc[:, 1:].to_numpy(), names.to_numpy())


def _picked(held: Mapping[str, Any]) -> _Held:
    """Features and what names their rows; a sole array is the features whatever it is called."""
    named = [name for name in _FEATURES if name in held] or (list(held) if len(held) == 1 else [])
    if not named and (rows := by_spot(held)) is not None:
        return _Held(*rows)
    if not named:
        raise DataError(f"expected {' or '.join(_FEATURES)}, it holds {shown(list(held))}")
    rest = (next((held[name] for name in names if name in held), None) for names in (_BARCODES, _COORDS, _TILE))
    return _Held(held[named[0]], *rest)


READERS: dict[str, Callable[[Path], _Held]] = {
    ".h5": _from_hdf5,
    ".npz": _from_npz,
    ".npy": _from_npy,
    ".pt": _from_torch,
    ".safetensors": _from_safetensors,
    ".csv": _from_csv,
}
